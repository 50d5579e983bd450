"""What a solve has learned, in a file: `pnp solve --resume` goes on from it."""

from __future__ import annotations

from pathlib import Path

import torch

from .images import PictureError, atomic
from .loop import Memory
from .restore import Job

NAME = "checkpoint.pt"


def write(path: Path, memory: Memory, job: Job) -> None:
    """The weights, the optimiser's moments and the specs that they belong to; nothing where nothing was learned."""
    if memory.learned:
        with atomic(path) as file:
            torch.save({"op": job.op, "prior": job.prior, "learned": memory.learned, "solver": memory.solver}, file)


def read(path: Path, job: Job) -> Memory:
    """The memory in `path`.  Raises PictureError if there is none, or if it is of another operator or prior."""
    if not path.is_file():
        raise PictureError(f"{path}: no checkpoint to go on from; run once without --resume, with a prior that learns.")
    try:
        found = torch.load(path, map_location=job.device, weights_only=True)
        specs, memory = (found["op"], found["prior"]), Memory(found["learned"], found["solver"])
    except Exception as error:  # torch raises a dozen kinds
        raise PictureError(f"cannot read {path}: it is no checkpoint ({type(error).__name__}).") from error
    if specs != (job.op, job.prior):
        raise PictureError(f"{path} is of --op {specs[0]} --prior {specs[1]}, not of {job.op} and {job.prior}.")
    return memory
