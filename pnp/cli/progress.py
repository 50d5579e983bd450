"""Progress for a person who waits: a bar on a terminal, a line every few seconds in a pipe or a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TextIO

from .. import interrupts, progress
from ..progress import Doing

EVERY = 5.0  # seconds between two lines; a shorter run has none
clock = time.monotonic


@contextmanager
def shown(of: str = "") -> Iterator[Callable[[str], None]]:
    """Inside, what is done is shown on stderr, and a signal ends it; gives a printer of lines beside it.

    of: what all of it belongs to, one picture of many.
    """
    with _bar() if sys.stderr.isatty() else _lines() as (show, say):

        def hear(now: Doing) -> None:
            interrupts.check()
            show(now)

        def heard_line(line: str) -> None:
            interrupts.check()
            say(line)

        with progress.heard(hear), progress.part(of) if of else nullcontext():
            yield heard_line


Outlet = tuple[Callable[[Doing], None], Callable[[str], None]]


@contextmanager
def _bar() -> Iterator[Outlet]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("begun", total=None)

        def show(now: Doing) -> None:
            bar.tasks[0].total = now.total  # `update` takes None for no change
            bar.update(task, completed=now.done, description="  ".join(filter(None, [now.what, now.told()])))

        def say(line: str) -> None:
            bar.console.print(line, highlight=False, soft_wrap=True)

        yield show, say


@contextmanager
def _lines() -> Iterator[Outlet]:
    """A thread sees to it that a long step is told, too."""
    lines, over = Lines(sys.stderr, clock), threading.Event()

    def watch() -> None:
        while not over.wait(EVERY / 5):
            lines.tick()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lines.show, lines.say
    finally:
        over.set()
        watcher.join()


class Lines:
    """What is done as a line of text, at most one in EVERY seconds: `[15 s] iteration 12 of 40  change 3.1e-03`."""

    def __init__(self, to: TextIO, clock: Callable[[], float]) -> None:
        self.to, self.clock, self.lock = to, clock, threading.Lock()
        self.begun = self.last = clock()
        self.now = Doing("begun")

    def show(self, now: Doing) -> None:
        """Keep it for the next line, which comes when it is time."""
        self.now = now
        self.tick()

    def tick(self) -> None:
        """Write a line if the last one is long enough ago."""
        with self.lock:
            at = self.clock()
            if at - self.last < EVERY:
                return
            self.last = at
            self._write("  ".join(filter(None, [f"[{at - self.begun:.0f} s] {self.now}", self.now.told()])))

    def say(self, line: str) -> None:
        """Write a line now."""
        with self.lock:
            self._write(line)

    def _write(self, line: str) -> None:
        print(line, file=self.to, flush=True)
