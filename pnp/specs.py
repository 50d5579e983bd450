"""Specs: text for an object, parsed once, by one grammar.

    sum    = term + term + ...                       tv+0.5*haar:levels=2
    term   = [number *] name [(value)] [: options]   vst(unet), red:denoiser=(trd:size=7,stages=5),sigma=0.03
    options = [value ,] key=value, key=value, ...    a bare first value goes to the first parameter
    value  = text | "text" | 'text' | (sum)

name is a member of a registry, or the place of a person's own: `./mine.py:Mine`, `package.module:Mine`.
In quotes everything is text, and a doubled quote is one.  A backslash is a character like any other.  In text a bracket
keeps its commas to itself, as in `photo(1).png`; the + of a number, 1e+3, joins nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

_PATH = r"(?:[A-Za-z]:(?=[\\/]))?[^:=,()+*\"']*\.py"
_MODULE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
_ATTRIBUTE = r":([A-Za-z_]\w*)(?=\s*(?:[:(),+]|$))"
_OWN = re.compile(rf"(?:{_PATH}|{_MODULE}){_ATTRIBUTE}")
_OWN_NAME = re.compile(rf"(.*\.py|{_MODULE}):([A-Za-z_]\w*)", re.DOTALL)
_WEIGHT = re.compile(r"((?:(?<=[0-9][eE])\+|[^:*(),=+\"'])*)\*")
_KEY = re.compile(r"([A-Za-z_][\w-]*)\s*=")
_QUOTED = re.compile(r"\"((?:[^\"]|\"\")*)\"|'((?:[^']|'')*)'", re.DOTALL)
_NUMBER_PLUS = re.compile(r"(?<=[0-9][eE])\+")


class SpecError(ValueError):
    """A spec that names something unknown, carries a value that does not fit, or cannot be read."""


@dataclass(frozen=True)
class Spec:
    """A parsed spec: a member's name and options, whose values are text or specs themselves.

    first: a bare value, meant for the first parameter.  weight and plus: of a sum, whose first term this is.
    """

    name: str
    options: dict[str, str | Spec] = field(default_factory=dict)
    first: str | Spec | None = None
    weight: float = 1.0
    plus: tuple[Spec, ...] = ()  # the other terms

    @classmethod
    def parse(cls, text: str) -> Spec:
        """The spec of one member: + is text, but in brackets.  Raises SpecError, which says where."""
        return _Reader(text, ",").whole()

    @classmethod
    def sum(cls, text: str) -> Spec:
        """The spec of one member, or of a sum of them.  Raises SpecError, which says where."""
        return _Reader(text, ",+").whole()

    @property
    def terms(self) -> tuple[Spec, ...]:
        return (replace(self, plus=()), *self.plus)

    def texts(self) -> Iterator[str]:
        """Every text in it, from names to the values of the specs inside."""
        for term in self.terms:
            own = own_member(term.name)
            yield term.name if own is None else own[0]
            for value in (term.first, *term.options.values()):
                if isinstance(value, Spec):
                    yield from value.texts()
                elif value is not None:
                    yield value

    def changed(self, change: Callable[[str], str]) -> Spec:
        """The spec with change(text) in the place of every text of `texts`."""

        def made(value: str | Spec) -> str | Spec:
            return value.changed(change) if isinstance(value, Spec) else change(value)

        terms = []
        for term in self.terms:
            own = own_member(term.name)
            name = change(term.name) if own is None else f"{change(own[0])}:{own[1]}"
            first = None if term.first is None else made(term.first)
            terms.append(Spec(name, {k: made(v) for k, v in term.options.items()}, first, term.weight))
        return replace(terms[0], plus=tuple(terms[1:]))

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.options.items()), self.first, self.weight, self.plus))

    def __str__(self) -> str:
        """Text that `sum`, and for one member without a weight `parse` as well, makes the same spec from."""
        return "+".join(_written(term) for term in self.terms)


def own_member(name: str) -> tuple[str, str] | None:
    """(file or module, attribute) of a name that says where a person's own member is; None for any other name."""
    found = _OWN_NAME.fullmatch(name)
    return None if found is None else (found[1], found[2])


def number(text: str) -> float:
    """A float from '0.1', '1e-3' or a ratio such as '25/255'."""
    top, slash, bottom = text.partition("/")
    if slash and float(bottom) == 0:
        raise ValueError(f"{text!r} divides by zero")
    return float(top) / float(bottom) if slash else float(top)


class _Reader:
    """A text and how far it is read.  ends: the characters that end a value outside brackets and quotes."""

    def __init__(self, text: str, ends: str) -> None:
        self.text, self.ends, self.at = text, ends, 0

    def whole(self) -> Spec:
        found = self.sum()
        if self.at < len(self.text):
            raise self.error("options follow a colon: name:key=value,key=value")
        return found

    def sum(self) -> Spec:
        terms = [self.term()]
        while "+" in self.ends and self.take("+"):
            terms.append(self.term())
        return replace(terms[0], plus=tuple(terms[1:]))

    def term(self) -> Spec:
        weight, name = self.weight(), self.name()
        options: dict[str, str | Spec] = {}
        first: str | Spec | None = None
        if self.here() == "(":
            start = self.at
            if (first := self.bracket()) is None:
                self.at = start
                raise self.error("unexpected text after the brackets. Put quotes around a name that contains brackets")
        if self.take(":"):
            first = self.options(options, first)
        return Spec(name, options, first, weight)

    def weight(self) -> float:
        found = _WEIGHT.match(self.text, self.at) if "+" in self.ends else None
        if found is None:
            return 1.0
        try:
            value = number(found[1])
        except ValueError:
            raise self.error(f"{found[1].strip()!r} is not a weight; expected number*name") from None
        self.at = found.end()
        return value

    def name(self) -> str:
        self.blank()
        start = self.at
        if (quoted := self.quoted()) is not None:
            found = re.compile(_ATTRIBUTE).match(self.text, self.at) if quoted.endswith(".py") else None
            self.at = self.at if found is None else found.end()
            name = quoted if found is None else quoted + found[0]
        elif (own := _OWN.match(self.text, self.at)) is not None:
            self.at, name = own.end(), own[0].strip()
        else:
            while self.here() and self.here() not in self.ends + ":(":
                self.at += 1
            name = self.text[start : self.at].strip()
        self.blank()
        if not name:
            self.at = start
            raise self.error("empty spec; expected name or name:key=value,key=value")
        return name

    def options(self, options: dict[str, str | Spec], first: str | Spec | None) -> str | Spec | None:
        """Fill in the options; the bare first value."""
        while True:
            self.blank()
            start, key = self.at, _KEY.match(self.text, self.at)
            if key is not None:
                self.at = key.end()
            value = self.value()
            end, self.at = self.at, start
            if key is not None and key[1] in options:
                raise self.error(f"option {key[1]!r} is given twice")
            if key is not None:
                options[key[1]] = value
            elif value != "" or self.text[start:end].strip():
                if first is not None or options:
                    raise self.error(f"{self.text[start:end].strip()!r} has no value; expected key=value")
                first = value
            self.at = end
            if not self.take(","):
                return first

    def value(self) -> str | Spec:
        self.blank()
        start = self.at
        if (quoted := self.quoted()) is not None:
            if not self.ended():
                raise self.error("the quotes end here; expected a comma or the end")
            return quoted
        if self.here() == "(" and (inside := self.bracket()) is not None:
            return inside
        self.at = start
        while self.here() and not (self.here() in self.ends and not _NUMBER_PLUS.match(self.text, self.at)):
            self.at = self.closing() if self.here() == "(" else self.at + 1
        return self.text[start : self.at].strip()

    def bracket(self) -> Spec | None:
        """The sum in the brackets that open here; None, behind them, where more text follows: they belong to it."""
        end = self.closing()
        after = _Reader(self.text, self.ends + ":")
        after.at = end
        if not after.ended():
            self.at = end
            return None
        inner = _Reader(self.text, ",+)")
        inner.at = self.at + 1
        found = inner.sum()
        if inner.at != end - 1:
            raise inner.error("options follow a colon: name:key=value,key=value")
        self.at = end
        self.blank()
        return found

    def closing(self) -> int:
        """Behind the bracket that closes the one which opens here."""
        depth, at, fresh = 0, self.at, True  # fresh: where a value may begin, so that a quote quotes
        while at < len(self.text):
            char = self.text[at]
            if fresh and (quoted := _QUOTED.match(self.text, at)):
                at = quoted.end()
                fresh = False
                continue
            depth += (char == "(") - (char == ")")
            at += 1
            if not depth:
                return at
            fresh = char in "(=:,+*" or (fresh and char.isspace())
        raise self.error("a bracket is not closed. Put quotes around text that contains one")

    def quoted(self) -> str | None:
        """The text in the quotes that open here, if there are any; then behind them and what is blank."""
        quote = self.here()
        if quote not in ("'", '"'):
            return None
        found = _QUOTED.match(self.text, self.at)
        if found is None:
            raise self.error(f"a quote {quote} is not closed")
        self.at = found.end()
        self.blank()
        return found[0][1:-1].replace(quote * 2, quote)

    def ended(self) -> bool:
        self.blank()
        return self.at == len(self.text) or self.here() in self.ends

    def here(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, char: str) -> bool:
        if self.here() != char:
            return False
        self.at += 1
        return True

    def blank(self) -> None:
        while self.here().isspace():
            self.at += 1

    def error(self, problem: str) -> SpecError:
        return SpecError(f"{problem} (at character {self.at + 1} of {self.text!r})")


def _written(term: Spec) -> str:
    weight = "" if term.weight == 1 else f"{term.weight!r}*"
    values = [] if term.first is None else [_value(term.first)]
    values += [f"{key}={_value(value)}" for key, value in term.options.items()]
    return weight + _name(term.name) + (":" + ",".join(values) if values else "")


def _name(name: str) -> str:
    if re.fullmatch(r"[\w-][\w.-]*(?<![0-9][eE])", name) or (_OWN.fullmatch(name) and name == name.strip()):
        return name
    own = own_member(name)
    return _quoted(name) if own is None or not own[0].endswith(".py") else f"{_quoted(own[0])}:{own[1]}"


def _value(value: str | Spec) -> str:
    if isinstance(value, Spec):
        return f"({value})"
    plain = value and value == value.strip() and not re.search(r"[,()\"'=]|(?<![0-9][eE])\+|[0-9][eE]$", value)
    return value if plain else _quoted(value)


def _quoted(text: str) -> str:
    quote = "'" if '"' in text and "'" not in text else '"'
    return quote + text.replace(quote, quote * 2) + quote
