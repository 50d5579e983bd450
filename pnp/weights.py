"""Trained weights: shipped files with their records, checked by sha256, and the export of new ones.

A folder of weights holds NAME.safetensors files and manifest.json: NAME -> record (architecture, config, sigma range,
data, licence, steps, date, sha256, validation PSNR).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .registry import unknown

SHIPPED = Path(__file__).parent / "priors" / "weights"


class WeightsError(ValueError):
    """Weights that are unknown, damaged, or made for another architecture."""


def manifest(folder: Path = SHIPPED) -> dict[str, dict[str, Any]]:
    """The records of a folder of weights; empty where there is no manifest."""
    path = folder / "manifest.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def load(name: str, folder: Path = SHIPPED) -> nn.Module:
    """The network `name` with its weights, in evaluation mode, float32.

    Raises WeightsError for an unknown name, a file whose sha256 differs from its record, or one that does not fit.
    """
    from safetensors.torch import load as parse

    from .priors.nets import ARCHITECTURES

    records = manifest(folder)
    if name not in records:
        raise WeightsError(unknown("weights", name, list(records)))
    record = records[name]
    path = folder / f"{name}.safetensors"
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise WeightsError(f"{path} is damaged or missing: its sha256 is not the manifest's. Install pnp again.")
    net = ARCHITECTURES[record["architecture"]](**record["config"])
    state = {key: value.float() for key, value in parse(data).items()}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit {record['architecture']}: {error}") from None
    return net.eval().requires_grad_(False)


def export(net: nn.Module, name: str, record: dict[str, Any], folder: Path) -> None:
    """Write NAME.safetensors (float16: half the size, and finer than bfloat16, which runs it) and its record."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    data = save({key: value.detach().to("cpu", torch.float16).contiguous() for key, value in net.state_dict().items()})
    _replace(folder / f"{name}.safetensors", data)
    config = net.config()  # type: ignore[operator]
    records = manifest(folder) | {name: {"config": config, **record, "sha256": hashlib.sha256(data).hexdigest()}}
    _replace(folder / "manifest.json", (json.dumps(records, indent=1) + "\n").encode())


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(path.suffix + ".part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
