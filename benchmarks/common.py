"""What the benchmark scripts share: the machine, interleaved timings, pictures in, results out."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

RESULTS = Path(__file__).parent / "results"
LUMA = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255  # BT.601, as in rgb2ycbcr


def machine() -> dict[str, Any]:
    """The processor and its load, torch's threads, the versions, and the precision of networks where none is given."""
    from pnp.machine import environment
    from pnp.precision import choose

    return {
        **environment(),
        "precision": str(choose("auto", torch.device("cpu"))),
        "load": round(os.getloadavg()[0], 2),
        "date": date.today().isoformat(),
    }


def median_time(calls: Mapping[str, Callable[[], object]], repeats: int = 5, warmup: int = 1) -> dict[str, dict]:
    """Seconds of each call, {name: {median, low, high}}: `warmup` rounds unmeasured, then every round runs all in turn.

    Interleaving lets a busy or throttled machine slow every competitor alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(warmup + repeats):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            if k >= warmup:
                seconds[name].append(time.perf_counter() - begun)
    return {n: {"median": median(s), "low": min(s), "high": max(s)} for n, s in seconds.items()}


def save(name: str, results: object, **settings: object) -> Path:
    """Write benchmarks/results/<name>.json: the machine, the settings, the results (floats to six digits)."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps(_rounded({"machine": machine(), "settings": settings, "results": results}), indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def arguments(doc: str | None, *, data: bool = False) -> argparse.ArgumentParser:
    """A parser with --quick and --threads, and --data for scripts that read pictures."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small run that shows that it works; writes nothing")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    if data:
        parser.add_argument("--data", type=Path, default=os.environ.get("PNP_DATA"), help="folder of eval/ and train/")
    return parser


def load(path: Path) -> Tensor:
    """A picture as float64 (1, C, H, W) in [0, 1]."""
    from pnp.files.pictures import read

    return read(path).pixels.double()


def luma(x: Tensor) -> Tensor:
    """Y of an RGB picture, (16 + 65.481 R + 128.553 G + 24.966 B)/255; a grey one as it is."""
    if x.shape[1] == 1:
        return x
    return (x * LUMA.to(x).view(3, 1, 1)).sum(1, keepdim=True) + 16 / 255


def load_grey(path: Path) -> Tensor:
    """The luma of a picture, float64 (1, 1, H, W)."""
    return luma(load(path))


def set5(folder: Path | None, inputs: str) -> list[tuple[str, Tensor, Tensor]]:
    """(name, y, x) of Set5 with one kind of the inputs of Cascarano et al. (2022): folder/eval/dip/<inputs>."""
    from pnp.files.pictures import read

    if folder is None:
        raise SystemExit("give the folder of pictures with --data or PNP_DATA, or --quick.")
    found = sorted(Path(folder, "eval", "dip", "truth").glob("*.png"))
    if not found:
        raise SystemExit(f"{Path(folder, 'eval', 'dip', 'truth')} holds no picture: give the folder with --data.")
    return [(p.stem, read(p.parents[1] / inputs / p.name).pixels, read(p).pixels) for p in found]


def camera(size: int = 512) -> Tensor:
    """scikit-image's photograph of a cameraman, float64 (1, 1, size, size): 512 whole, less by averaging blocks."""
    from pnp.samples import photograph

    return torch.nn.functional.avg_pool2d(photograph("camera", torch.float64), 512 // size)


def noisy_camera(level: int) -> list[tuple[str, Tensor, Tensor]]:
    """(name, y, x) as `set5` has them, without a folder: 64², noise of level/255, clipped."""
    x = camera(64).float()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return [("camera", (x + level / 255 * noise).clamp(0, 1), x)]
