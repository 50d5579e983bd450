"""The machine and the versions that a result was made with: what a time means nothing without."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """Versions, the processor, its cores, and torch's threads."""
    import torch

    try:
        ours = version("pnp-restoration")
    except PackageNotFoundError:
        ours = "not installed"
    return {
        "pnp": ours,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scipy", "scikit-image")},
        "machine": platform.machine(),
        **processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """{"cpu": its name, "amx": whether it has matrix units for bfloat16, None where it does not say}."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    first: dict[str, str] = {}
    for key, _, value in (line.partition(":") for line in lines):
        first.setdefault(key.strip(), value.strip())
    name = first.get("model name") or platform.processor() or platform.machine() or "unknown"
    amx = {"amx_tile", "amx_bf16"} <= set(first["flags"].split()) if "flags" in first else None
    return {"cpu": name, "amx": amx}
