"""What the options of several commands have in common: how their text is read, and how errors are told."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from .. import interrupts


def positive(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A number above 0, also as a ratio: 2.55/255."""
    if value is None:
        return None
    from ..registry import number

    try:
        result = number(value)
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(f"{value!r} is not a number.") from None
    if not 0 < result < float("inf"):
        raise click.BadParameter(f"{value} is not above 0.")
    return result


def size(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int, int] | None:
    """HxW or CxHxW."""
    if value is None:
        return None
    try:
        numbers = [int(n) for n in value.lower().split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or min(numbers) < 1:
        raise click.BadParameter(f"{value!r} is not a size; expected HxW or CxHxW, e.g. 64x64 or 3x64x64.")
    c, h, w = numbers if len(numbers) == 3 else (1, *numbers)
    return c, h, w


def span(context: click.Context, parameter: click.Parameter, value: str) -> Any:
    """auto, full or LOW..HIGH."""
    from ..files import ranges

    try:
        return ranges.asked(value)
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected auto, full or LOW..HIGH, e.g. 100..500.") from None


def device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A device of this machine."""
    if value != "cpu":  # which is always there; torch takes a second to import
        from .. import checks

        try:
            checks.device(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return value


def seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """90s, 45m, 2h or plain seconds."""
    if value is None:
        return None
    unit = {"s": 1, "m": 60, "h": 3600}.get(value[-1:].lower())
    try:
        result = float(value[:-1]) * unit if unit else float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a duration; expected e.g. 90s, 45m or 2h.") from None
    if not result > 0:
        raise click.BadParameter(f"{value} is not above 0.")
    return result


def levels(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """LOW..HIGH, or one level."""
    from ..registry import number

    if value is None:
        return None
    low, dots, high = value.partition("..")
    try:
        return number(low), number(high if dots else low)
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected LOW..HIGH or one level, e.g. 0..55/255.") from None


def sides(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """LOW..HIGH, or one side, in whole pixels."""
    if value is None:
        return None
    low, dots, high = value.partition("..")
    try:
        return int(low), int(high if dots else low)
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected LOW..HIGH or one side in pixels, e.g. 64..160.") from None


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Errors become one line and their exit code; warnings become notes."""

    def note(message: Warning | str, *_: object) -> None:
        click.echo(f"note: {' '.join(str(message).split())}", err=True)

    _SHOWN.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("once")
        warnings.showwarning = note  # type: ignore[assignment]
        try:
            yield
        except click.ClickException:
            raise
        except KeyboardInterrupt:
            interrupts.leave()
        except Exception as error:
            if interrupts.lost():  # the error is what became of it in somebody's code
                interrupts.leave()
            if debug:
                raise
            _tell(error)


def exit_code(error: Exception) -> int:
    """2 for what cannot be used: an option, a file, a package that is not there; 1 for what failed while it ran."""
    return 2 if isinstance(error, ValueError | TypeError | OSError | ImportError) else 1


@contextmanager
def noted() -> Iterator[list[str]]:
    """The warnings inside as lines, also those that have been shown before; each is shown once, as without this."""
    notes: list[str] = []
    show = warnings.showwarning

    def note(message: Warning | str, *rest: Any) -> None:
        text = " ".join(str(message).split())
        notes.append(text)
        if text not in _SHOWN:
            _SHOWN.add(text)
            show(message, *rest)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note  # type: ignore[assignment]
        yield notes


_SHOWN: set[str] = set()  # by the command that runs


def _tell(error: Exception) -> NoReturn:
    code = exit_code(error)
    expected = code == 2 or isinstance(error, RuntimeError | MemoryError)
    said = line(error) if expected else f"internal error: {type(error).__name__}: {line(error)} (--debug shows where)"
    click.echo(f"pnp: {'error: ' if expected else ''}{said}", err=True)
    sys.exit(code)


def line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
