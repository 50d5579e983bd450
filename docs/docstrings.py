"""Our docstrings are plain text with indented formulas: make them reStructuredText, as Sphinx wants it."""

from __future__ import annotations

import re
from typing import Any

MEMBER = re.compile(r"^- ")
QUOTED = re.compile(r"`([^`]+)`")


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place: what is indented is a literal block, the rest is escaped text."""
    made: list[str] = []
    literal = False
    for i, line in enumerate(lines):
        indented = line.startswith("  ")
        goes_on = indented and not literal and _in_list(lines, i)  # the second line of a member of a list
        if goes_on:
            made.append(escaped(line))
        elif indented:
            if not literal:
                made += ["", "::", ""]
            literal = True
            made.append("   " + line)
        elif not line.strip():
            made.append("")
        else:
            if literal or (MEMBER.match(line) and made and made[-1].strip() and not _in_list(lines, i)):
                made.append("")
            literal = False
            made.append(("- " + escaped(line[2:])) if MEMBER.match(line) else escaped(line))
    lines[:] = made


def _in_list(lines: list[str], i: int) -> bool:
    """Does line i go on with a member of a list that began right above it?"""
    for line in reversed(lines[:i]):
        if MEMBER.match(line):
            return True
        if not line.startswith("  "):
            return False
    return False


def escaped(text: str) -> str:
    """Words between backticks as code, and nothing else that reStructuredText would take for a sign."""
    parts = QUOTED.split(text)  # text, code, text, code, ..., text
    plain = [re.sub(r"([\\*|_`<>])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{part}``" for part in parts[1::2]]
    joined = plain[0]
    for c, p in zip(code, plain[1:], strict=True):
        before = r"\ " if joined and not joined[-1].isspace() and joined[-1] not in "([" else ""
        after = r"\ " if p and p[0].isalnum() else ""
        joined += before + c + after + p
    return joined
