"""What a long run is doing: the work says it here, and whoever wants to know listens.

    with progress.heard(print):
        done = pnp.restore(...)

A listener may raise KeyboardInterrupt, which ends the run as Ctrl-C does.  Where nobody listens, it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Doing:
    """What is being done: `part 2 of 5: iteration`, and how often of how many; told: more of it, asked when shown."""

    what: str
    done: int = 0
    total: int | None = None
    told: Callable[[], str] = _nothing

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        return f"{self.what} {self.done}{of}" if self.done else self.what


Listener = Callable[[Doing], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard(by: Listener | None) -> Iterator[None]:
    """Inside, `by` hears what is done; None: nobody does."""
    token = _listener.set(by)
    try:
        yield
    finally:
        _listener.reset(token)


def doing(what: str, done: int = 0, total: int | None = None, told: Callable[[], str] = _nothing) -> None:
    """Say what is done next, or what step of it is over."""
    if (listener := _listener.get()) is not None:
        listener(Doing(what, done, total, told))


@contextmanager
def part(what: str, done: int = 0, total: int | None = None) -> Iterator[None]:
    """Inside, everything that is said belongs to this: `choosing lam, trial 3 of 10: iteration 5 of 60`.

    The only part is not worth a word.
    """
    outer = _listener.get()
    if outer is None or total == 1:
        yield
        return
    around = str(Doing(what, done, total))
    with heard(lambda now: outer(replace(now, what=f"{around}: {now.what}"))):
        doing("begun")
        yield
