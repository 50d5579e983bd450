"""What a restoration leaves beside the picture: result.json, a page to open, a figure, maps."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import atomic
from ..files.pictures import PictureError
from ..files.pictures import write as write_picture
from . import page
from .page import Pictures
from .restore import Restoration

NAME = "result.json"
RESIDUAL = "residual.png"
WIDEST = 3.0  # times the noise: what is black and white in a picture of a residual


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Replace `path` by the record; NaN and infinity become null, so that every reader understands it."""
    text = json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False)
    atomic.write(path, text + "\n")


def fingerprints(folder: Path, written: atomic.Group) -> dict[str, str]:
    """SHA-256 of each file that was written with the record in `folder`, by its path from there."""
    return {way(path, folder): digest for path, digest in written.digests.items()}


def load(folder: Path) -> dict[str, Any]:
    """The record in a folder.  Raises PictureError where there is none."""
    path = folder / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files, _ = record["files"], record["input"]
        if not isinstance(files, dict) or not files:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PictureError(f"{path} is not a record of a restoration ({type(error).__name__}).") from error
    return record


def check(folder: Path) -> None:
    """PictureError unless the files beside result.json in `folder`, the restored picture first, are of its run."""
    for line in changed(folder, load(folder)):
        raise PictureError(line)


def changed(folder: Path, record: dict[str, Any], besides: str = "") -> Iterator[str]:
    """A line for each file of a record that is not the one of its run; `besides` one that does not matter."""
    path = folder / NAME
    for name, digest in record["files"].items():
        file = beside(folder, name)
        if name == besides:
            continue
        try:
            with file.open("rb") as content:
                same = hashlib.file_digest(content, "sha256").hexdigest() == digest
        except OSError as error:
            yield f"cannot read {file}, which {path} names: {error.strerror}. Run it again."
            continue
        if not same:
            yield (
                f"{file.name} is not the one of {path}: a run was killed while it wrote, or the file was changed "
                "since. Run it again."
            )


def beside(folder: Path, name: str) -> Path:
    """The file that a record in `folder` names by its path from there."""
    return Path(os.path.normpath(folder.resolve() / name))


def way(path: Path, folder: Path) -> str:
    """The path as seen from the folder, behind links; the whole path where there is no way (another drive)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return str(path.resolve())


def write_page(folder: Path, record: dict[str, Any], seen: Pictures, notes: Sequence[str] = ()) -> Path:
    """The page of a record and its pictures, to open in a browser."""
    path = folder / page.NAME
    atomic.write(path, page.page(_finite(record), seen, notes))
    return path


def of(done: Restoration, measured: Tensor | None = None) -> Pictures:
    """What the page of a restoration shows.  measured: the picture of the file; the plain guess where it is of another
    shape than the restored one."""
    before = done.initial if measured is None or measured.shape != done.restored.shape else measured
    maps = {name: seen(values.detach().cpu()).movedim(-1, 0) for name, values in done.result.maps.items()}
    return Pictures(done.restored, before, done.truth, maps, residual(done))


def residual(done: Restoration) -> Tensor | None:
    """What the first picture leaves of its measurement, (C, H, W): 0.5 is none, 0 and 1 are WIDEST times the noise.

    None where the measurement is not a picture, or its noise is not known.
    """
    end = done.result.convergence
    if end.whiteness is None or done.record.residual_over_noise is None or end.problem.y.shape[1] not in (1, 3):
        return None
    with torch.no_grad():
        left = end.problem.misfit(end.x)[0]
    noise = float(torch.as_tensor(end.problem.noise_norm()).flatten()[0]) / end.problem.measurements() ** 0.5
    return (0.5 - left.detach().cpu() / (2 * WIDEST * max(noise, 1e-12))).clamp(0, 1)


def write_maps(folder: Path, maps: dict[str, Tensor]) -> None:
    """Each as NAME.npy, as it is, and as NAME.png, as `seen`."""
    for name, values in maps.items():
        values = values.detach().cpu()
        with atomic.atomic(folder / f"{name}.npy") as file:
            np.save(file, values.numpy())
        write_picture(folder / f"{name}.png", seen(values).movedim(-1, 0)[None])


def seen(values: Tensor) -> Tensor:
    """A map as a picture (H, W, 1 or 3) in [0, 1]: its largest value is white; of a field (H, W, 2) of motions to the
    right and down the brightness is the length and the hue the direction, the same for a motion and its opposite."""
    if values.ndim == 2:
        return (values / values.max())[..., None]
    from matplotlib.colors import hsv_to_rgb

    length, angle = values.norm(dim=-1), torch.atan2(-values[..., 1], values[..., 0])
    colours = torch.stack([angle / math.pi % 1, torch.ones_like(length), length / length.max().clamp_min(1e-12)], -1)
    return torch.from_numpy(hsv_to_rgb(colours.numpy()))


def write_figure(path: Path, done: Restoration, title: str) -> None:
    """Input, restored, difference (from the truth where it is known) and convergence, of the first picture; maps."""
    from matplotlib.figure import Figure

    maps = done.result.maps
    figure = Figure(figsize=(13 + 3 * len(maps), 3.8), layout="constrained")
    axes = figure.subplots(1, 4 + len(maps))
    for axis, (name, values) in zip(axes[4:], maps.items(), strict=True):
        axis.imshow(seen(values.detach().cpu()).squeeze(-1).numpy(), cmap="magma")
        axis.set_title(f"{name}, {values.shape[0]}×{values.shape[1]}", fontsize=9)
        axis.set_axis_off()
    scores = done.record.metrics
    _picture(axes[0], done.initial, "input" + (f", {scores['psnr_initial'][0]:.2f} dB" if scores else ""))
    _picture(axes[1], done.restored, "restored" + (f", {scores['psnr'][0]:.2f} dB" if scores else ""))
    reference, name = (done.initial, "input") if done.truth is None else (done.truth, "truth")
    _difference(axes[2], done.restored - reference, f"restored − {name}")
    _convergence(axes[3], done)
    figure.suptitle(title.replace("$", r"\$"), fontsize=10)  # else it is a formula
    with atomic.atomic(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter of the title that no font here has is an empty box
        figure.savefig(file, format="png", dpi=110)


def _picture(axis: Any, x: Tensor, title: str) -> None:
    shown = x[0].detach().cpu().clamp(0, 1)
    axis.imshow((shown[0] if len(shown) == 1 else shown.permute(1, 2, 0)).numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def _difference(axis: Any, d: Tensor, title: str) -> None:
    shown = d[0].detach().cpu().mean(0)
    limit = max(1e-6, float(torch.quantile(shown.abs().flatten()[:: max(1, shown.numel() // 1_000_000)], 0.995)))
    image = axis.imshow(shown.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.figure.colorbar(image, ax=axis, shrink=0.75)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def _convergence(axis: Any, done: Restoration) -> None:
    history = done.result.history
    if not len(history["seconds"]):  # interrupted before the first step
        axis.set_title("no iteration", fontsize=9)
        axis.set_axis_off()
        return
    iterations = range(1, len(history["change"]) + 1)
    marker = "." if len(iterations) == 1 else ""  # a line through one point is nothing
    noise = torch.as_tensor(done.result.problem.noise_norm()).flatten()[0].item()
    change, residual = history["change"][:, 0], history["residual"][:, 0] / noise
    axis.plot(iterations, change.tolist(), color="C0", marker=marker, label="relative change")
    axis.plot(iterations, residual.tolist(), color="C1", marker=marker, label="residual / noise")
    if bool((change > 0).any() or (residual > 0).any()):
        axis.set_yscale("log")
    axis.set_xlabel("iteration", fontsize=8)
    axis.tick_params(labelsize=7)
    if "psnr" in history:
        twin = axis.twinx()
        twin.plot(iterations, history["psnr"][:, 0].tolist(), color="C2", label="PSNR")
        twin.set_ylabel("PSNR, dB", fontsize=8)
        twin.tick_params(labelsize=7)
    axis.legend(fontsize=7)
    axis.set_title("convergence", fontsize=9)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
