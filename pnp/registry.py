"""Registries of operators, priors, solvers, noises, denoisers and stop rules, whose members specs name.

The registries are the only lists: the command line, `pnp list`, the contract tests and the benchmarks read them.  They
fill themselves when they are first looked at: from their homes, modules known by name alone, and from the entry points
of installed packages.  A person's own class or function needs no registration: `./mine.py:Mine`, `package.module:Mine`.
This module imports nothing heavy, so that `pnp --help` stays quick.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import threading
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import plugins
from .specs import Spec, SpecError, number, own_member

if TYPE_CHECKING:
    from .core.solver import Solver
    from .core.stopping import StopRule
    from .noises import Noise
    from .operators import Operator
    from .priors import Denoiser, Prior

__all__ = [
    "DENOISERS",
    "NOISES",
    "OPERATORS",
    "PRIORS",
    "SOLVERS",
    "STOPS",
    "Entry",
    "Registry",
    "Spec",
    "SpecError",
    "convert",
    "number",
    "unknown",
]

T = TypeVar("T")
LAST = 1000  # rank of who does not ask for one


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered member: how to make it, what it is, where it comes from, and specs that must work."""

    name: str
    make: Callable[..., T]
    cite: tuple[str, ...] = ()  # keys of pnp.citations
    examples: tuple[str, ...] = ()  # specs used by `pnp list` and by the contract tests
    rank: int = LAST  # members of lower rank come first
    version: int = 1  # of its digits, raised by hand when they change: results of another version are run again

    @property
    def summary(self) -> str:
        """The first line of the docstring, without the references that three spaces set off."""
        return (inspect.getdoc(self.make) or "").split("\n", 1)[0].split("   ", 1)[0]

    def parameters(self) -> dict[str, inspect.Parameter]:
        """Name -> parameter of what a spec or a caller can set."""
        known = inspect.signature(self.make).parameters.values()
        return {p.name: p for p in known if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Name -> type of each parameter; of one without an annotation the type of its default."""
        try:
            make: Any = self.make
            hints = typing.get_type_hints(make.__init__ if inspect.isclass(make) else make, include_extras=True)
        except (NameError, TypeError):  # annotations that only type checkers can read, or something that has none
            hints = {}
        guesses = {
            n: type(p.default) for n, p in self.parameters().items() if not (p.default is p.empty or p.default is None)
        }
        return {**guesses, **hints}

    def parts(self) -> dict[str, Registry[Any]]:
        """Name -> registry of each parameter that is a member itself: `Annotated[Denoiser, DENOISERS]`."""
        found = {name: _registry_of(hint) for name, hint in self.hints.items() if name in self.parameters()}
        return {name: registry for name, registry in found.items() if registry is not None}

    def values(self, spec: Spec, kind: str = "member") -> dict[str, str | Spec]:
        """Parameter -> what the spec says of it.  Raises SpecError for an unknown option or one given twice."""
        parameters, values = self.parameters(), dict(spec.options)
        if spec.first is not None:
            first = next(iter(parameters), None)
            if first is None:
                raise SpecError(f"{kind} {self.name!r} takes no options, got {str(spec.first)!r}")
            if first in values:
                raise SpecError(f"option {first!r} is given twice in {str(spec)!r}")
            values = {first: spec.first, **values}
        for key in values:
            if key not in parameters:
                raise SpecError(unknown(f"option of {kind} {self.name!r}:", key, parameters))
        return values

    def missing(self, given: Mapping[str, Any]) -> list[str]:
        """The parameters that have to be given and are not."""
        return [p.name for p in self.parameters().values() if p.default is p.empty and p.name not in given]


class Registry(Mapping[str, Entry[T]]):
    """A name -> Entry map, by rank and then by name, whose members are added by a decorator.

    homes: modules that register members.  group: entry points of other packages.  contract: `module:class` of what
    members make.  sums: whether specs joined by + name several of them.
    """

    add: Callable[[list[tuple[float, T]]], T] | None = None  # makes one member of (weight, member), where that can be
    adopt: Callable[[Any], Any] | None = None  # makes a member of something else that a person's own class made

    def __init__(
        self, kind: str, *, homes: tuple[str, ...] = (), group: str = "", contract: str = "", sums: bool = False
    ) -> None:
        self.kind, self.homes, self.group, self.contract, self.sums = kind, homes, group, contract, sums
        self._entries: dict[str, Entry[T]] = {}
        self._filled, self._lock = False, threading.RLock()

    def register(
        self,
        name: str,
        *,
        cite: tuple[str, ...] = (),
        examples: tuple[str, ...] = (),
        rank: int = LAST,
        version: int = 1,
    ) -> Callable[[Callable[..., Any]], Any]:
        """Register the decorated class or function under `name`; rank is the place in the order of choice."""

        def add(make: Callable[..., Any]) -> Callable[..., Any]:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = Entry(name, make, cite, examples or (name,), rank, version)
            return make

        return add

    def _known(self) -> dict[str, Entry[T]]:
        """Every registered member; the first look fetches them."""
        with self._lock:
            if not self._filled:
                self._filled = True  # the homes may look, too
                try:
                    for home in self.homes:
                        importlib.import_module(home)
                except BaseException:
                    self._filled = False
                    raise
                for package, name, make in plugins.installed(self.group) if self.group else ():
                    if self._entries.setdefault(name, Entry(name, make, examples=(name,))).make is not make:
                        plugins.left_out(package, f"{self.kind} {name!r} is there already.")
            return self._entries

    def __getitem__(self, name: str) -> Entry[T]:
        if (own := own_member(name)) is not None:
            return self._own(name, *own)
        try:
            return self._known()[name]
        except KeyError:
            raise SpecError(unknown(self.kind, name, self._known())) from None

    def __contains__(self, name: object) -> bool:
        return name in self._known()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(known := self._known(), key=lambda name: (known[name].rank, name)))

    def __len__(self) -> int:
        return len(self._known())

    __eq__, __hash__ = object.__eq__, object.__hash__  # itself alone, unlike other mappings: it stands in annotations

    def _own(self, name: str, source: str, attribute: str) -> Entry[T]:
        home = plugins.module(source)
        make = getattr(home, attribute, None)
        if not callable(make):
            there = [n for n, value in vars(home).items() if callable(value) and not n.startswith("_")]
            raise SpecError(unknown(f"class or function of {source}:", attribute, there))
        return Entry(name, make, examples=(name,))

    def parse(self, spec: str | Spec) -> Spec:
        """The spec of a member, or of several joined by + in a registry of `sums`."""
        if isinstance(spec, Spec):
            return spec
        return Spec.sum(spec) if self.sums else Spec.parse(spec)

    def inside(self, spec: str | Spec) -> Spec:
        """The spec of a member inside another's, where `trd.7` is short for `trd:7`."""
        terms = [self._long(term) for term in self.parse(spec).terms]
        return replace(terms[0], plus=tuple(terms[1:]))

    def _long(self, term: Spec) -> Spec:
        name, dot, first = term.name.partition(".")
        return replace(term, name=name, first=first) if dot and term.first is None and name in self else term

    def part(self, spec: str) -> Any:
        """A default for a parameter that is one of these members: it is made when it is needed."""
        return Spec.parse(spec)

    def members(self, spec: str | Spec) -> Iterator[tuple[Registry[Any], Entry[Any]]]:
        """What a spec stands for: its member or terms, and the members inside them, defaults as well."""
        for term in self.parse(spec).terms:
            entry = self[term.name]
            yield self, entry
            said, parameters = entry.values(term, self.kind), entry.parameters()
            for option, registry in entry.parts().items():
                value = said.get(option, parameters[option].default)
                if isinstance(value, str | Spec) and value != "none":
                    yield from registry.members(registry.inside(value))

    def build(self, spec: str | Spec, /, **context: Any) -> T:
        """Make the member that `spec` names, or the sum.

        context: values that the caller knows (shape, seed, ...); each goes to the parameter of that name, if there is
        one and the spec does not set it, here and in the members inside.
        Raises SpecError for an unknown name or key, or a value of the wrong kind.
        """
        terms = [(term.weight, self._made(term, context)) for term in self.parse(spec).terms]
        if len(terms) == 1 and terms[0][0] == 1:
            return terms[0][1]
        if self.add is None:
            raise SpecError(f"cannot add {self.kind}s: {str(spec)!r}. Put quotes around a path that contains a +.")
        return self.add(terms)

    def _made(self, spec: Spec, context: Mapping[str, Any]) -> T:
        entry = self[spec.name]
        parameters, parts, hints = entry.parameters(), entry.parts(), entry.hints
        kwargs = {name: value for name, value in context.items() if name in parameters}
        for key, value in entry.values(spec, self.kind).items():
            where = f"{entry.name}:{key}"
            if key in parts:
                kwargs[key] = None if value == "none" and types.NoneType in typing.get_args(hints[key]) else value
            elif isinstance(value, Spec):
                raise SpecError(f"{where}=({value}) is read as a spec in brackets. Put quotes around it if it is text")
            else:
                kwargs[key] = convert(value, hints.get(key, str), where)
        for key, registry in parts.items():
            part = kwargs.get(key, parameters[key].default)
            if isinstance(part, str | Spec):
                kwargs[key] = registry.build(registry.inside(part), **context)
        if missing := entry.missing(kwargs):
            raise SpecError(f"{self.kind} {entry.name!r} needs {', '.join(missing)}: {entry.name}:{missing[0]}=...")
        return self._checked(entry.make(**kwargs), entry.name)

    def _checked(self, made: Any, name: str) -> T:
        """What a member made, if it is what the contract asks for or can be made that."""
        if not self.contract or isinstance(made, self._class()):
            return made
        if self.adopt is not None and callable(made):
            return self.adopt(made)
        raise SpecError(f"{name} makes a {type(made).__name__}; expected {self.contract.replace(':', '.')}.")

    def _class(self) -> type:
        home, _, name = self.contract.partition(":")
        return getattr(importlib.import_module(home), name)

    def claims(self, make: Callable[..., Any]) -> bool:
        """Whether a class, or a function by what it says it returns, makes what the contract asks for."""
        made: Any = make
        if not inspect.isclass(make):
            try:
                made = typing.get_type_hints(make).get("return")
            except (NameError, TypeError):
                return False
        made = typing.get_origin(made) or made
        return bool(self.contract) and inspect.isclass(made) and issubclass(made, self._class())


def _registry_of(hint: Any) -> Registry[Any] | None:
    """The registry in `Annotated[..., REGISTRY]`, alone or in a union."""
    if typing.get_origin(hint) is typing.Annotated:
        return next((m for m in hint.__metadata__ if isinstance(m, Registry)), None)
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    found = map(_registry_of, typing.get_args(hint) if union else ())
    return next((registry for registry in found if registry is not None), None)


def unknown(kind: str, name: str, known: Mapping[str, Any] | list[str]) -> str:
    """The one message for a name that is not there."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(sorted(known))}"


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
    if choices and not {int, float} & set(options):
        raise SpecError(unknown(f"value of {where}:", text, choices))
    known = [getattr(t, "text_form", _KINDS.get(t)) for t in options if typing.get_origin(t) is None]
    expected = " or ".join([*filter(None, known), *choices]) or "nothing: the program sets it"
    raise SpecError(f"{where}={text!r}: expected {expected}")


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


OPERATORS: Registry[Operator] = Registry(
    "operator", homes=("pnp.operators",), group="pnp.operators", contract="pnp.operators.base:Operator"
)
PRIORS: Registry[Prior] = Registry(
    "prior",
    homes=("pnp.priors", "pnp.interop.deepinv"),
    group="pnp.priors",
    contract="pnp.priors.base:Prior",
    sums=True,
)
DENOISERS: Registry[Denoiser] = Registry(
    "denoiser",
    homes=("pnp.priors", "pnp.interop.deepinv"),
    group="pnp.denoisers",
    contract="collections.abc:Callable",
)
SOLVERS: Registry[Solver] = Registry(
    "solver", homes=("pnp.solvers",), group="pnp.solvers", contract="pnp.core.solver:Solver"
)
NOISES: Registry[Noise] = Registry(
    "noise", homes=("pnp.noises",), group="pnp.noises", contract="pnp.noises.base:Noise"
)
STOPS: Registry[StopRule] = Registry(
    "stop rule", homes=("pnp.core.stopping",), contract="pnp.core.stopping:StopRule", sums=True
)
