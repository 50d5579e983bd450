"""Stripes of the read-out are taken from the measurement before a solve, where they are sure."""

from __future__ import annotations

from collections.abc import Callable

from ..noises.stripes import find_stripes
from .job import Job, Parts


def subtracted(job: Job, parts: Parts, say: Callable[[str], None]) -> tuple[Parts, dict[str, float]]:
    """The parts with a y that is free of stripes, and the std of the offsets that were subtracted, by direction.

    Offsets are added after the optics, so any operator that measures pictures can have them.  They are left where the
    job says so, in a simulation, and where the noise is given: then the person has said what y is.
    """
    if job.stripes == "keep" or job.simulate or job.noise is not None or not parts.operator.pictorial:
        return parts, {}
    stripes = find_stripes(parts.y, parts.operator.known())
    if stripes is None:
        return parts, {}
    found = stripes.std()
    for name, std in found.items():
        say(f"stripes: {name[:-1]} offsets of std {std:.2g} are subtracted (--stripes keep leaves them)")
    return parts._replace(y=stripes.without(parts.y)), found
