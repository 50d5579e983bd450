"""What a solve has learned, in a file: `pnp solve --resume` goes on from it."""

from __future__ import annotations

import io
import time
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.loop import Callback
from ..core.recording import Snapshot
from ..core.result import Memory
from ..files import atomic
from ..files.pictures import PictureError
from .job import Job

NAME = "checkpoint.pt"
EVERY = 60.0  # seconds between two checkpoints of a running solve: more than a kill costs nobody
OPTIONS = (
    "operator", "prior", "sigma", "floor", "hidden", "lam", "simulate", "noise", "seed", "size", "light",
)  # fmt: skip  # of a Job: what makes the problem


def write(path: Path, memory: Memory, job: Job, pixels: Tensor) -> None:
    """The memory, with the job and the picture that it belongs to; nothing where a solve could not go on from it."""
    if memory.learned and memory.solver:
        stored = io.BytesIO()  # torch raises RuntimeError where a file cannot take all of it
        torch.save({"of": _of(job), "picture": _digest(pixels), "memory": vars(memory)}, stored)
        atomic.make_folder(path.parent)
        atomic.write(path, stored.getvalue())


def keeper(path: Path, job: Job, pixels: Tensor) -> Callback:
    """A callback that writes the checkpoint every minute; a failure is a warning, and the solve goes on."""
    last, failed = time.monotonic(), False

    def keep(now: Snapshot) -> None:
        nonlocal last, failed
        if time.monotonic() - last < EVERY:
            return
        try:
            write(path, now.memory(), job, pixels)
        except OSError as error:
            if not failed:
                warnings.warn(f"no checkpoint: {error}  The solve goes on.", stacklevel=2)
            failed = True
        last = time.monotonic()

    return keep


def read(path: Path, job: Job, pixels: Tensor) -> Memory:
    """The memory in `path`.  Raises PictureError if there is none, or if it is of another problem or picture."""
    if not path.is_file():
        raise PictureError(f"{path}: there is no checkpoint. Run once without --resume, with a prior that learns.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        of, picture, memory = found["of"], found["picture"], Memory(**found["memory"])
    except Exception as error:  # torch raises a dozen kinds
        raise PictureError(f"cannot read {path}: it is not a checkpoint ({type(error).__name__}).") from error
    if set(of) != set(OPTIONS):
        raise PictureError(f"{path} was written by another version; start over without --resume.")
    for name, value in _of(job).items():
        if of.get(name) != value:
            raise PictureError(f"{path} is of {name} {of.get(name)}, not of {value}; give the same, or start over.")
    if picture != _digest(pixels):
        raise PictureError(f"{path} is of another picture; give that one, or start over without --resume.")
    return memory


def _of(job: Job) -> dict[str, Any]:
    settings = job.settings()
    return {name: settings[name] for name in OPTIONS}


def _digest(pixels: Tensor) -> str:
    pixels = pixels.contiguous().cpu()
    return sha256(f"{tuple(pixels.shape)} {pixels.dtype}".encode() + pixels.numpy().tobytes()).hexdigest()
