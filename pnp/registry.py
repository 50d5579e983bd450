"""Registries of operators, priors, solvers, noises and stop rules, and the spec strings that name their members.

A spec is ``name:key=value,key=value``; a bare first value goes to the first parameter (``deepinv:TVDenoiser``).
The registries are the only lists: the command line, ``pnp list``, the contract tests and the benchmarks read them.
This module imports nothing heavy, so that ``pnp --help`` stays quick.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class SpecError(ValueError):
    """A spec string that names something unknown or carries a value that does not fit."""


@dataclass(frozen=True)
class Entry:
    """One registered member: how to make it, what it is, where it comes from, and specs that must work."""

    name: str
    make: Callable[..., Any]
    cite: tuple[str, ...]  # keys of pnp.citations
    examples: tuple[str, ...]  # specs used by `pnp list` and by the contract tests
    version: int = 1  # of its digits, raised by hand when they change: results of another version are run again

    @property
    def summary(self) -> str:
        """The first line of the docstring, without the references that three spaces set off."""
        return (inspect.getdoc(self.make) or "").split("\n", 1)[0].split("   ", 1)[0]

    def parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.make).parameters)


@dataclass(frozen=True)
class Spec:
    """A parsed spec string: the name and its options, still as text."""

    name: str
    options: dict[str, str]
    first: str | None = None  # a bare value, meant for the first parameter

    @classmethod
    def parse(cls, text: str) -> Spec:
        name, _, rest = text.strip().partition(":")
        if not name:
            raise SpecError(f"empty spec {text!r}; expected name or name:key=value,key=value")
        options: dict[str, str] = {}
        first = None
        for i, part in enumerate(filter(None, rest.split(","))):
            key, eq, value = part.partition("=")
            if not eq and i == 0:
                first = part.strip()
            elif not eq:
                raise SpecError(f"{part!r} in {text!r} has no value; expected key=value")
            elif key.strip() in options:
                raise SpecError(f"option {key.strip()!r} is given twice in {text!r}")
            else:
                options[key.strip()] = value.strip()
        return cls(name.strip(), options, first)


def terms(text: str) -> list[str]:
    """The specs that `+` joins; that of a number, 1e+3, joins nothing."""
    return [part.strip() for part in re.split(r"(?<![0-9][eE])\+", text)]


class Registry(Mapping[str, Entry]):
    """An ordered name -> Entry map whose members are added by a decorator."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(
        self, name: str, *, cite: tuple[str, ...] = (), examples: tuple[str, ...] = (), version: int = 1
    ) -> Callable[[Callable[..., Any]], Any]:
        """Register the decorated class or function under `name`; the order of registration is the order of choice."""

        def add(make: Callable[..., Any]) -> Callable[..., Any]:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = Entry(name, make, cite, examples or (name,), version)
            return make

        return add

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise SpecError(unknown(self.kind, name, self._entries)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def build(self, spec: str, **context: Any) -> Any:
        """Make the member that `spec` names.

        context: values that the caller knows (shape, seed, ...); each goes to the parameter of that name, if there is
        one and the spec does not set it.  Raises SpecError for an unknown name or key, or a value of the wrong kind.
        """
        parsed = Spec.parse(spec)
        entry = self[parsed.name]
        parameters = entry.parameters()
        hints = _hints(entry.make)
        kwargs: dict[str, Any] = {k: v for k, v in context.items() if k in parameters}
        texts = dict(parsed.options)
        if parsed.first is not None:
            first = next(iter(parameters), None)
            if first is None:
                raise SpecError(f"{self.kind} {entry.name!r} takes no options, got {parsed.first!r}")
            if first in texts:
                raise SpecError(f"option {first!r} is given twice in {spec!r}")
            texts = {first: parsed.first, **texts}
        for key, text in texts.items():
            if key not in parameters:
                raise SpecError(unknown(f"option of {self.kind} {entry.name!r}:", key, parameters))
            kwargs[key] = convert(text, hints.get(key, str), f"{entry.name}:{key}")
        missing = [
            p.name
            for p in parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in kwargs
        ]
        if missing:
            raise SpecError(f"{self.kind} {entry.name!r} needs {', '.join(missing)}: {entry.name}:{missing[0]}=...")
        return entry.make(**kwargs)


def unknown(kind: str, name: str, known: Mapping[str, Any] | list[str]) -> str:
    """The one message for a name that is not there."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(sorted(known))}"


def number(text: str) -> float:
    """A float from '0.1', '1e-3' or a ratio such as '25/255'."""
    top, slash, bottom = text.partition("/")
    if slash and float(bottom) == 0:
        raise ValueError(f"{text!r} divides by zero")
    return float(top) / float(bottom) if slash else float(top)


def convert(text: str, hint: Any, where: str) -> Any:
    """Turn the text of one option into the first type of `hint` that it fits.

    bool, int, float, str and None are known; a type with a classmethod `from_text` (and `text_form`, which describes
    what it takes) is asked.  Raises SpecError when nothing fits.
    """
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    options = typing.get_args(hint) if union else (hint,)
    for kind in sorted(options, key=lambda t: t is str):  # text fits everything, so it is tried last
        try:
            return _convert_one(text, kind)
        except ValueError:
            continue
    choices = [str(c) for t in options if typing.get_origin(t) is typing.Literal for c in typing.get_args(t)]
    if choices:
        raise SpecError(unknown(f"value of {where}:", text, choices))
    known = [getattr(t, "text_form", _KINDS.get(t)) for t in options if typing.get_origin(t) is None]
    raise SpecError(f"{where}={text!r}: expected {' or '.join(filter(None, known)) or 'nothing: the program sets it'}")


_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    types.NoneType: "none",
}


def _convert_one(text: str, kind: Any) -> Any:
    if kind is types.NoneType:
        if text.lower() == "none":
            return None
    elif kind is bool:
        if re.fullmatch(r"(?i)true|yes|on|1|false|no|off|0", text):
            return text.lower() in ("true", "yes", "on", "1")
    elif kind is int:
        return int(text)
    elif kind is float:
        return number(text)
    elif kind is str:
        return text
    elif typing.get_origin(kind) is typing.Literal:
        if text in typing.get_args(kind):
            return text
    elif hasattr(kind, "from_text"):
        return kind.from_text(text)
    raise ValueError(text)


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(make.__init__ if inspect.isclass(make) else make)


OPERATORS = Registry("operator")
PRIORS = Registry("prior")
DENOISERS = Registry("denoiser")
SOLVERS = Registry("solver")
NOISES = Registry("noise")
STOPS = Registry("stop rule")
