"""Ctrl-C and SIGTERM: the first asks the program to end well, a second ends it at once.

The exit code is 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM (POSIX shells say the same of a program
that a signal has ended).
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 0.5  # seconds in which a second signal is the first once more: `timeout` sends two, and so do some launchers


class _Heard:
    """What has come since `listening` began."""

    first: int = 0  # the signal's number
    at = 0.0
    open = False  # nobody has answered
    thrown = False  # as KeyboardInterrupt
    holding = False


_heard = _Heard()


@contextmanager
def listening() -> Iterator[None]:
    """Inside, both signals raise KeyboardInterrupt, and whatever becomes of it ends the program with their exit code.

    Code that is interrupted in the middle of an import may raise another error, or none; `lost` still tells.
    """
    global _heard
    before = {}
    if threading.current_thread() is threading.main_thread():
        heeded = [s for s in SIGNALS if signal.getsignal(s) not in (signal.SIG_IGN, None)]  # a job in the background
        before = {s: signal.signal(s, _hear) for s in heeded}
        for s in heeded:
            atexit.register(signal.signal, s, signal.SIG_DFL)  # the seconds of tidying up end at once, without a word
    try:
        yield
        check()
    except KeyboardInterrupt:
        leave()
    except Exception:
        if lost():
            leave()
        raise
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
        _heard = _Heard()


def _hear(number: int, frame: FrameType | None) -> None:
    if _heard.first:
        if time.monotonic() - _heard.at > ECHO:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    _heard.first, _heard.at, _heard.open = number, time.monotonic(), True
    check()


@contextmanager
def held() -> Iterator[None]:
    """Inside, the first signal waits until the end: for the seconds in which results are written.

    An error inside is an error; the signal stays open for the next `check`.
    """
    _heard.holding = True
    try:
        yield
    finally:
        _heard.holding = False
    check()


def lost() -> bool:
    """Whether KeyboardInterrupt was raised and nobody has `answered`: an error may be what has become of it."""
    return _heard.open and _heard.thrown


def check() -> None:
    """Raise KeyboardInterrupt if a signal has come that nobody has answered, unless it is held."""
    if _heard.open and not _heard.holding:
        _heard.thrown = True
        raise KeyboardInterrupt


def answered() -> None:
    """Its KeyboardInterrupt was caught and is obeyed: an error from now on is an error."""
    _heard.open = False


def leave() -> NoReturn:
    """Say what ended the program, and end it."""
    number = _heard.first or signal.SIGINT
    print("terminated" if number == signal.SIGTERM else "interrupted", file=sys.stderr)
    sys.exit(128 + number)
