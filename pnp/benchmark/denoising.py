"""The denoising benchmark: every denoiser on a folder of clean pictures, by the protocol of the published tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..files import pictures
from ..priors.base import Denoiser
from ..priors.network import ByChannels
from ..registry import DENOISERS
from ..samples import photograph

DEFAULT = ("tv", "wavelet", "nlm", "unet", "dncnn", "trd", "trd:size=7", "deepinv:DRUNet", "deepinv:DnCNN")
# PSNR in dB at sigma 15, 25, 50: BM3D, TNRD, DnCNN, FFDNet and DRUNet as reported by Zhang et al. 2017, 2018 and 2021
PUBLISHED: dict[str, dict[str, tuple[float, float, float]]] = {
    "bsd68": {
        "BM3D": (31.07, 28.57, 25.62),
        "TRD 5×5, 5 stages": (31.30, 28.78, 25.80),
        "TRD 7×7, 5 stages": (31.42, 28.92, 25.97),
        "DnCNN, one model per sigma": (31.73, 29.23, 26.23),
        "FFDNet": (31.63, 29.19, 26.29),
        "DRUNet": (31.91, 29.48, 26.59),
    },
    "cbsd68": {"FFDNet": (33.87, 31.21, 27.96), "DRUNet": (34.30, 31.69, 28.51)},
}


@dataclass(frozen=True)
class Row:
    """One denoiser at one noise level, averaged over the pictures."""

    denoiser: str
    sigma: float  # of 255
    psnr: float | None = None  # dB
    ssim: float | None = None
    seconds: float | None = None  # median per picture
    parameters: int | None = None
    pictures: int = 0
    skipped: str | None = None  # why there is no result


def noisy(clean: Tensor, sigma: float) -> Tensor:
    """clean + sigma n, drawn picture by picture from seed 0 in the order (H, W, C), neither clipped nor rounded."""
    c, h, w = clean.shape[1:]
    noise = np.random.RandomState(0).normal(0, sigma, (h, w, c))
    return clean + torch.from_numpy(noise).permute(2, 0, 1)[None].to(clean)


def finished(x: Tensor) -> Tensor:
    """Clipped to [0, 1] and rounded to 8 bits, as the published tables were."""
    return (255 * x.clamp(0, 1)).round() / 255


def load(paths: list[Path], grey: bool = False) -> list[Tensor]:
    """Clean pictures (1, C, H, W); none: photographs that come with scikit-image.  grey: colour becomes BT.601 luma."""
    if paths:
        clean = [pictures.read(path).pixels for path in paths]
    else:
        clean = [photograph(name) for name in ("camera", "brick", "grass")]
    clean = [finished(pictures.luma(x)) if grey and x.shape[1] == 3 else x for x in clean]
    if len({x.shape[1] for x in clean}) > 1:
        raise ValueError("some pictures are grey and some in colour; --grey takes all as grey.")
    return [page for x in clean for page in x.split(1)]


def compare(
    clean: list[Tensor],
    specs: list[str],
    sigmas: list[float],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Row]:
    """A Row for each denoiser and noise level (of 255); a denoiser that cannot be had is a row that says why."""
    for spec in specs:
        try:
            denoiser = DENOISERS.build(spec, shape=tuple(clean[0].shape[1:]))
            denoiser(noisy(clean[0][..., :64, :64], 0.1), 0.1)  # untimed: the first call pays for much that comes once
        except Exception as error:  # whatever keeps it from running is the answer
            yield Row(spec, 0.0, skipped=" ".join(str(error).split())[:200])
            continue
        for sigma in sigmas:
            say(f"{spec}, sigma {sigma:g}")
            try:
                yield _row(spec, denoiser, clean, sigma)
            except Exception as error:  # one that fails on a picture costs no other its row
                yield Row(spec, sigma, skipped=" ".join(str(error).split())[:200])


def _row(spec: str, denoiser: Denoiser, clean: list[Tensor], sigma: float) -> Row:
    scores, similarities, seconds = [], [], []
    for x in clean:
        y = noisy(x, sigma / 255)
        begun = time.perf_counter()
        restored = denoiser(y, sigma / 255)
        seconds.append(time.perf_counter() - begun)
        restored = finished(restored)
        scores.append(float(metrics.psnr(restored, x)))
        similarities.append(float(metrics.ssim(restored, x)))
    count = parameters(denoiser, clean[0].shape[1])
    return Row(spec, sigma, mean(scores), mean(similarities), median(seconds), count, len(clean))


def parameters(denoiser: Any, channels: int = 1) -> int | None:
    """How many numbers were learned of what denoises a picture of so many channels; None for an algorithm."""
    if isinstance(denoiser, ByChannels):
        denoiser = denoiser.network(channels)
    net = getattr(denoiser, "net", getattr(denoiser, "model", None))
    if net is None and hasattr(denoiser, "members"):
        return sum(parameters(member) or 0 for member in denoiser.members.values())
    return sum(p.numel() for p in net.parameters()) or None if net is not None else None


def lines(rows: list[Row], data: str) -> Iterator[tuple[str, list[str]]]:
    """(name, PSNR and SSIM at each level, milliseconds, parameters) of what ran, then the published rows."""
    sigmas = levels(rows)
    for name in dict.fromkeys(row.denoiser for row in rows if row.skipped is None):
        mine = {row.sigma: row for row in rows if row.denoiser == name and row.skipped is None}
        scores = [f"{mine[s].psnr:.2f}" if s in mine else "" for s in sigmas]
        scores += [f"{mine[s].ssim:.4f}" if s in mine else "" for s in sigmas]
        first = next(iter(mine.values()))
        count = "" if first.parameters is None else f"{first.parameters / 1000:,.0f} k"
        yield name, [*scores, f"{1000 * (first.seconds or 0):.0f}", count]
    for name, values in PUBLISHED.get(data, {}).items() if sigmas == [15, 25, 50] else ():
        yield f"{name}, published", [*(f"{v:.2f}" for v in values), *[""] * (len(sigmas) + 2)]


def levels(rows: list[Row]) -> list[float]:
    """The noise levels at which anything ran."""
    return sorted({row.sigma for row in rows if row.skipped is None})


def columns(rows: list[Row]) -> list[str]:
    """The heads of what `lines` gives."""
    return [*(f"PSNR {s:g}" for s in levels(rows)), *(f"SSIM {s:g}" for s in levels(rows)), "ms", "parameters"]


def table(rows: list[Row], data: str) -> Any:
    """A rich Table of `lines`, and why what did not run did not."""
    from rich.table import Table

    found = Table(title=f"denoising, {data}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("denoiser", *columns(rows)):
        found.add_column(column, justify="left" if column == "denoiser" else "right")
    for name, cells in lines(rows, data):
        found.add_row(name, *cells, style="dim" if name.endswith(", published") else None)
    for row in rows:
        if row.skipped:
            found.add_row(f"[dim]{row.denoiser}: {row.skipped}")
    return found


def markdown(rows: list[Row], data: str) -> str:
    """The same lines for a README."""
    heads = columns(rows)
    head = [f"| denoising {data} | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    return "\n".join([*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in lines(rows, data))])


def record(rows: list[Row], **settings: Any) -> dict[str, Any]:
    """What is written: settings, machine, and a row for each pair, floats to four digits after the point."""
    from ..machine import environment

    plain = [{k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows]
    return {"settings": settings, "environment": environment(), "rows": plain}
