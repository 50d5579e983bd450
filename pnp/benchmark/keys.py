"""The key of a result: a hash of all that its digits depend on, and of nothing else.

That is the cell's inputs (`Cell.inputs`), and of each part that its path uses the *numerics version*, a whole number
that is raised by hand when the part's digits change.  A member of a registry has its own, `register(..., version=2)`;
the rest of the path has `NUMERICS`.  Where code lies, how it is named and how it is written are not in a key, so a
refactoring leaves every result where it is.  `pnp bench SUITE --verify N` finds a raise that was forgotten.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import plugins
from ..registry import DENOISERS, NOISES, OPERATORS, PRIORS, SOLVERS, STOPS, Registry, Spec, SpecError
from ..specs import own_member
from .suite import Cell, said
from .views import VIEWS
from .world import CAMERAS, FILES

if TYPE_CHECKING:
    from torch import nn

    from ..operators.base import Operator
    from ..priors.base import Prior

NUMERICS = {
    "core": 1,  # what all members share: reading pictures, the data step, the loop, what is done before and after it
    "noise level": 2,  # its estimate, in the keys of those cells alone that are not told it
    "lam": 1,  # the search for it, in the keys of those cells alone that make one
    "scores": 1,  # PSNR and SSIM
    "kernel": 3,  # how an unknown one is found, in the keys of those cells alone that ask for it
    "files": 3,  # what a file tells of itself, and its light, in the keys of those cells alone that read one
}

Part = tuple[Any, ...]  # ("solver", "admm", 1), ("rule", {...}), ("weights", sha256), ("file", sha256)


def key(cell: Cell) -> str:
    """16 hexadecimal digits, the same for the same digits, on every machine."""
    text = json.dumps([cell.inputs(), parts(cell)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def key_of_set(keys: Iterable[str]) -> str:
    """The key of the average over the results of several keys."""
    return hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:16]


def parts(cell: Cell) -> list[Part]:
    """All that a cell's result depends on beside its inputs, sorted.

    Of a cell that cannot be built no more than the versions and files of what it names; its row will say what is wrong.
    """
    found = [*_named(cell), *(_part(name) for name in ("core", "scores"))]
    if cell.method.sigma == "estimated":
        found.append(_part("noise level"))
    if cell.task.file is not None:
        found.append(_part("files"))
    try:
        found += _built(cell)
    except Exception:  # whatever it is
        found.append(("not built",))
    return sorted(dict.fromkeys(found), key=repr)


def _part(name: str) -> Part:
    return "part", name, NUMERICS[name]


def _named(cell: Cell) -> Iterator[Part]:
    """Members and files that stand in the specs of a cell, those inside other specs too, and the noise."""
    for measured in filter(None, (cell.task.measure, cell.task.assume)):
        yield from _members(OPERATORS, measured)
    method = cell.method
    for registry, named in ((PRIORS, method.prior), (DENOISERS, method.denoiser), (SOLVERS, method.solver)):
        if named:
            yield from _members(registry, named)
    if not cell.task.given:
        yield from _members(NOISES, cell.noise or "gaussian")
    if cell.task.camera:
        yield from _members(CAMERAS, cell.task.camera)
    if cell.task.file:
        yield from _members(FILES, cell.task.file)
    if cell.view != "whole":  # its version would be in every key
        yield from _members(VIEWS, cell.view)


def _members(registry: Registry[Any], text: str | Spec) -> Iterator[Part]:
    """The members that a spec names, those inside it or by default, and the files that it names."""
    spec = registry.parse(text)
    with suppress(SpecError):  # the cell's own row will say what is wrong
        for kind, entry in registry.members(spec):
            own = own_member(entry.name)  # where a person's own class lies is no input, what its file holds is
            yield kind.kind, entry.name if own is None else own[1], entry.version
            if own is not None and (home := plugins.module(own[0]).__file__):
                yield "file", hashlib.sha256(Path(home).read_bytes()).hexdigest()
    for value in spec.texts():
        for path in (value, *value.split(os.pathsep)):
            if Path(path).is_file():
                yield "file", hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _built(cell: Cell) -> Iterator[Part]:
    """What the objects of a cell tell: weights, the denoiser in a prior of its name, and what the rules choose."""
    from .. import priors
    from .solving import picture

    shape = tuple(picture(cell).shape[1:])
    if cell.method.prior is None:
        yield from _weights(DENOISERS.build(str(cell.method.denoiser), shape=shape), shape[0])
        return
    prior = priors.parse(cell.method.prior, shape=shape, seed=cell.seed)  # type: ignore[arg-type]
    operator = _operator(cell.task.assume or cell.task.measure, shape, cell.seed, cell.task.assume is not None)
    if operator.unknown() is not None:
        yield _part("kernel")
    for spec, (_, term) in zip(PRIORS.parse(cell.method.prior).terms, prior.terms or ((1.0, prior),), strict=True):
        if any(hasattr(at, "denoiser") for at in _inside(term, shape[0])):  # unet, ...: the denoiser of its name
            yield from _members(DENOISERS, spec)
        yield from _weights(term, shape[0])
    yield from _chosen(prior, operator, cell.method.solver, cell.method.lam)
    drawn = [term for _, term in prior.terms if "parametrise" in term.offers()]
    rest = [term for _, term in prior.terms if "parametrise" not in term.offers()]
    if drawn and len(rest) == 1:  # what that one restores alone may be the first guess
        yield from _chosen(rest[0], operator, None, None)


def _weights(thing: Any, channels: int) -> Iterator[Part]:
    from ..priors import store

    records = map(store.record_of, networks(thing, channels))
    yield from (("weights", record["sha256"]) for record in records if record)


def networks(thing: Any, channels: int) -> list[nn.Module]:
    """All networks that a prior or a denoiser is made of, for a picture of so many channels."""
    from torch import nn

    return [at for at in _inside(thing, channels) if isinstance(at, nn.Module)]


@lru_cache(maxsize=32)
def _operator(spec: str, shape: tuple[int, ...], seed: int, measured: bool) -> Operator:
    """That of a task; seldom more than a few are in use at once."""
    found: Operator = OPERATORS.build(spec, shape=shape, seed=seed, measured=measured)
    return found


def _inside(thing: Any, channels: int) -> Iterator[Any]:
    """All objects that a prior is made of, down to the networks that a picture of so many channels gets."""
    from torch import nn

    from ..priors.network import ByChannels

    left, seen = [thing], set()
    while left:
        at = left.pop()
        if id(at) in seen:
            continue
        seen.add(id(at))
        yield at
        if isinstance(at, ByChannels):
            left.append(at.network(channels))
        elif isinstance(at, dict):
            left += at.values()
        elif isinstance(at, list | tuple):
            left += at
        elif hasattr(at, "__dict__") and not isinstance(at, nn.Module | type):
            left += vars(at).values()


def _chosen(prior: Prior, operator: Operator, solver: str | None, lam: float | None) -> Iterator[Part]:
    """The row of the rules, the solver, the stop rules and the search for lam that a prior comes to on an operator."""
    from ..core.solver import fitting
    from ..parameters import rules
    from ..parameters.default import default_solver

    rule = rules.find(prior, operator, solver)
    if rule is not None:
        yield "rule", json.dumps(said(rule), sort_keys=True)
    elif solver is None and not fitting(prior):
        return
    yield from _members(SOLVERS, solver or (default_solver(prior) if rule is None else rule.solver))
    stops: list[str | Spec] = [] if rule is None or not rule.stop else list(STOPS.parse(rule.stop).terms)
    for stop in (*stops, *(["tolerance"] if solver or not stops else [])):  # the rule's are for its own solver
        yield from _members(STOPS, stop)
    if lam is None and prior.lam is None and (rule is None or rule.start > 0):
        yield _part("lam")
        if prior.closed_convex:
            yield from _members(SOLVERS, default_solver(prior))
