"""What a solve has learned, in a file: `pnp solve --resume` goes on from it."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .images import PictureError, atomic
from .loop import Memory
from .restore import Job

NAME = "checkpoint.pt"
OPTIONS = ("op", "prior", "sigma", "floor", "lam", "simulate", "noise", "seed", "size")  # of a Job: the problem


def write(path: Path, memory: Memory, job: Job, pixels: Tensor) -> None:
    """The memory, with the job and the picture that it belongs to; nothing where a solve could not go on from it."""
    if memory.learned and memory.solver:
        with atomic(path) as file:
            torch.save({"of": _of(job), "picture": _digest(pixels), "memory": vars(memory)}, file)


def read(path: Path, job: Job, pixels: Tensor) -> Memory:
    """The memory in `path`.  Raises PictureError if there is none, or if it is of another problem or picture."""
    if not path.is_file():
        raise PictureError(f"{path}: no checkpoint to go on from; run once without --resume, with a prior that learns.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        of, picture, memory = found["of"], found["picture"], Memory(**found["memory"])
    except Exception as error:  # torch raises a dozen kinds
        raise PictureError(f"cannot read {path}: it is no checkpoint ({type(error).__name__}).") from error
    if set(of) != set(OPTIONS):
        raise PictureError(f"{path} was written by another version; start over without --resume.")
    for name, value in _of(job).items():
        if of.get(name) != value:
            raise PictureError(f"{path} is of {name} {of.get(name)}, not of {value}; give the same, or start over.")
    if picture != _digest(pixels):
        raise PictureError(f"{path} is of another picture; give that one, or start over without --resume.")
    return memory


def _of(job: Job) -> dict[str, Any]:
    settings = asdict(job)
    return {name: settings[name] for name in OPTIONS}


def _digest(pixels: Tensor) -> str:
    pixels = pixels.contiguous().cpu()
    return sha256(f"{tuple(pixels.shape)} {pixels.dtype}".encode() + pixels.numpy().tobytes()).hexdigest()
