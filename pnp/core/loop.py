"""The one loop that runs every solver."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..linalg import norm
from ..progress import doing
from ..registry import unknown
from .certificate import Convergence
from .problem import Problem
from .recording import Metric, Recorder, Snapshot
from .result import Memory, Result, Status
from .solver import Solver, State, require
from .stopping import QUANTITIES, StopRule, Tolerance

Callback = Callable[[Snapshot], None]


def solve(
    problem: Problem,
    solver: Solver,
    *,
    x0: Tensor | None = None,
    iterations: int | None = None,
    stop: Sequence[StopRule] = (Tolerance(1e-4),),
    record: Sequence[str] = ("change",),
    metrics: dict[str, Metric] | None = None,
    callbacks: Sequence[Callback] = (),
    after: Memory | None = None,
) -> Result:
    """Run `solver` on `problem` and return a Result.

    x0: first image, by default the operator's plain guess.  iterations: at most so many, by default the solver's own.
    stop: rules asked after each step, image by image; a stopped image no longer changes.  Where the change is watched,
    by a rule or in `record`, as it is by default, an image whose moves run away is ended as well.  The result is the
    best image by the rule that fired, if it ranks them; where a limit or an interrupt ends, by the first that does.
    record: any of "change", "residual", "objective"; metrics: name -> function of the image batch, both into `history`.
    Where the solver has the objective anyway it is recorded unasked.
    callbacks: called with a Snapshot after each step.
    after: the `memory` of another result, to go on from it.  Of the same y it is as if that solve had had more
    iterations; for a similar one (the next frame) it begins with what was learned, and with the descent's moments.
    Raises TypeError where the solver needs what the prior or the noise lacks, ValueError for shapes, non-finite input,
    or what another solver has left.
    """
    require(solver, problem)
    for quantity in record:
        if quantity not in QUANTITIES:
            raise ValueError(unknown("quantity to record", quantity, list(QUANTITIES)))
    if iterations is not None:
        solver = replace(solver, iterations=iterations)  # type: ignore[call-arg]
    x0 = problem.initial() if x0 is None else checks.finite(x0, "x0")
    expected = (len(problem.y), *problem.operator.image_shape(tuple(problem.y.shape[1:])))
    if tuple(x0.shape) != expected:
        raise ValueError(f"x0 has shape {tuple(x0.shape)}; the image has {expected}.")
    if after is not None:
        after = after.fit_for(problem, solver)
        problem = problem.beside(problem.prior.starting(after.learned))
    problem = problem.begin(x0)
    watched = tuple(dict.fromkeys([*record, *(q for rule in stop for q in rule.watches)]))
    recorder = Recorder(watched, metrics or {}, {k: m for rule in stop for k, m in rule.measures().items()})
    return _Run(problem, solver, x0, recorder, tuple(stop), tuple(callbacks)).go(after)


class _Run:
    """One solve in progress."""

    def __init__(
        self,
        problem: Problem,
        solver: Solver,
        x0: Tensor,
        recorder: Recorder,
        stop: tuple[StopRule, ...],
        callbacks: tuple[Callback, ...],
    ) -> None:
        self.problem, self.solver, self.recorder = problem, solver, recorder
        self.stop, self.callbacks = stop, callbacks
        batch = x0.shape[0]
        self.active = torch.ones(batch, dtype=torch.bool, device=x0.device)
        self.going = list(range(batch))  # the same as a list: asking it costs nothing
        self.status = [Status.LIMIT] * batch
        self.reason = [f"{solver.iterations} iterations"] * batch
        self.iterations = [0] * batch
        self.done = 0  # steps so far
        self.change = torch.full((batch,), float("inf"), device=x0.device)
        self.last: Snapshot | None = None
        self.scale = torch.maximum(norm(x0), norm(problem.initial())).flatten()  # of a picture of this measurement
        self.best, self.least = x0, torch.full((batch,), float("inf"), device=x0.device)  # the smallest move
        self.leaders = {rule.ranks: _Leader(rule.ranks, x0) for rule in stop if rule.ranks is not None}
        self.led: list[str | None] = [next(iter(self.leaders), None)] * batch  # by which leader, if any
        self.seconds = 0.0
        self.x0 = x0

    def go(self, after: Memory | None) -> Result:
        self.state = self._timed(lambda: self.solver.init(self.problem, self.x0))
        if self.solver.objective(self.state) is not None:
            self.recorder.quantities = tuple(dict.fromkeys([*self.recorder.quantities, "objective"]))
        if after is not None:
            self.state = self.solver.recall(self.state, after.solver)
        try:
            for k in range(self.solver.iterations):
                self._advance(self.state, k)
                if not self.going:
                    break
        except KeyboardInterrupt:
            for i in self.going:
                self.status[i], self.reason[i] = Status.INTERRUPTED, "interrupted"
        for i in self.going:
            self.iterations[i] = self.done
        if self.last is not None and self.going:
            self.change = torch.where(self.active, self.last.change, self.change)
        x = self.solver.image(self.state).detach()
        away = torch.tensor([s is Status.DIVERGED for s in self.status], device=x.device) & self.least.isfinite()
        if bool(away.any()):
            x = torch.where(away.view(-1, 1, 1, 1), self.best, x)
        x, chosen = self._chosen(x)
        convergence = Convergence(
            self.solver.theorem(self.problem),
            self.change,
            self.problem.prior.closed_convex,
            self.problem,
            x,
            self._last_tau(),
        )
        return Result(
            x,
            tuple(self.status),
            tuple(self.reason),
            tuple(self.iterations),
            chosen,
            self.seconds,
            self.recorder.history(),
            convergence,
            self.problem,
            self._memory(),
        )

    def _memory(self) -> Memory:
        """What is left behind for a solve that goes on from here."""
        learned, carried = self.problem.prior.learned(), self.solver.carried(self.state)
        return Memory(learned, carried, type(self.solver).__name__, self.problem.y)

    def _chosen(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """x with the leaders' images where a rule ranks, and the iteration of each image."""
        chosen = list(self.iterations)
        for name, leader in self.leaders.items():
            mine = [i for i, by in enumerate(self.led) if by == name and leader.at[i]]
            for i in mine:
                chosen[i] = leader.at[i]
            which = torch.tensor([i in mine for i in range(len(x))], device=x.device)
            x = torch.where(which.view(-1, 1, 1, 1), leader.x, x)
        return x, tuple(chosen)

    def _last_tau(self) -> Tensor | None:
        """The tau of each image's own last iteration, (B, 1, 1, 1)."""
        taus = [self.solver.last_tau(self.problem, self.state, max(0, n - 1)) for n in self.iterations]
        if any(tau is None for tau in taus):
            return None
        batch = len(taus)
        each = [torch.as_tensor(t, dtype=self.x0.dtype).reshape(-1).expand(batch)[i] for i, t in enumerate(taus)]
        return torch.stack(each).view(-1, 1, 1, 1).to(self.x0.device)

    def _advance(self, state: State, k: int) -> None:
        new = self._timed(lambda: self.solver.step(self.problem, state, k))
        image = self.solver.image(new).detach()
        if not math.isfinite(float(image.sum())):  # a sum is finite only if every pixel is
            finite = torch.isfinite(image.flatten(1).sum(1))
            self._end(self.active & ~finite, Status.DIVERGED, f"not finite at iteration {k + 1}", None)
        if len(self.going) < len(self.status):
            new = freeze(self.active, new, state)
        self.done = k + 1
        self.state = new
        x = self.solver.image(new).detach()
        measure = partial(self.solver.change, self.problem, new, state)
        value = self.solver.objective(new)
        drawn, limit = self.solver.drawn(new).detach(), self.solver.iterations
        now = Snapshot(k, limit, x, drawn, measure, value, self.problem, self.seconds, self.recorder, self._memory)
        self.recorder.add(now, self.active)
        self.last = now
        was = self.active
        for leader in self.leaders.values():
            leader.see(now, self.active)
        if "change" in vars(now):  # asked for by somebody: the guard costs nothing more
            self._guard(now)
        for rule in self.stop:
            status = Status.CONVERGED if rule.converged else Status.LIMIT
            self._end(self.active & rule(now), status, rule.reason, *([rule.ranks] if rule.converged else []))
        if self.active is not was:
            self.change = torch.where(was, now.change, self.change)
        for callback in self.callbacks:
            callback(now)
        doing("iteration", self.done, self.solver.iterations, now.told)

    def _guard(self, now: Snapshot) -> None:
        """Remember the iterate that moved least; end an image whose moves have grown past everything before."""
        size = norm(now.x).flatten()
        move = now.change * size
        far = self.scale + norm(self.best).flatten()
        away = self.active & (move > 10 * self.least) & (move > far)
        self._end(away, Status.DIVERGED, f"moves ran away at iteration {now.k + 1}", None)
        nearer = self.active & (move < self.least)
        self.least = torch.where(nearer, move, self.least)
        self.best = torch.where(nearer.view(-1, 1, 1, 1), now.x, self.best)

    def _end(self, which: Tensor, status: Status, reason: str, *led: str | None) -> None:
        """End these images; led: the leader whose image they take, None for the last, nothing for the one they had."""
        ended = which.nonzero().flatten().tolist()
        for i in ended:
            self.status[i], self.reason[i], self.iterations[i] = status, reason, self.done
            self.led[i] = led[0] if led else self.led[i]
        if ended:
            self.active = self.active & ~which
            self.going = [i for i in self.going if i not in ended]
            self.solver.rest(self.state, self.active)
            self.problem.prior.rest(self.active)

    def _timed(self, work: Callable[[], State]) -> State:
        begun = time.perf_counter()
        with torch.no_grad():  # whatever weights a denoiser has; a step that needs a gradient enables it
            state = work()
        if self.x0.is_cuda:
            torch.cuda.synchronize(self.x0.device)
        self.seconds += time.perf_counter() - begun
        return state


class _Leader:
    """The image of each batch entry with the least value so far of one quantity, and its iteration (0: none yet)."""

    def __init__(self, quantity: str, x0: Tensor) -> None:
        self.quantity, self.x, self.at = quantity, x0, [0] * len(x0)
        self.least = torch.full((len(x0),), float("inf"), device=x0.device)

    def see(self, now: Snapshot, active: Tensor) -> None:
        value = now.history.rows[self.quantity][-1].to(self.least)
        better = active & (value < self.least)
        self.least = torch.where(better, value, self.least)
        self.x = torch.where(better.view(-1, 1, 1, 1), now.x, self.x)
        for i in better.nonzero().flatten().tolist():
            self.at[i] = now.k + 1


def freeze(active: Tensor, new: Any, old: Any) -> Any:
    """`new` for active images and `old` for the others, through tuples and tensors whose first axis is the batch.

    Anything else is `new`: what a state has of that kind keeps the others still by `Solver.rest`.
    """
    if isinstance(new, Tensor) and new.ndim and new.shape[0] == active.shape[0]:
        return torch.where(active.view(-1, *[1] * (new.ndim - 1)), new, old)
    if isinstance(new, tuple):
        parts = [freeze(active, n, o) for n, o in zip(new, old, strict=True)]
        return type(new)(*parts) if hasattr(new, "_fields") else tuple(parts)
    return new
