"""BibTeX of the methods, by the keys that registry entries name: one entry of `references.bib` a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

OURS = """@software{pnp,
  title = {pnp: plug-and-play image restoration},
  author = {{The pnp developers}},
  year = {2026},
  version = {%s}
}"""


def bibtex(keys: Iterable[str]) -> str:
    """BibTeX of these keys, in order, each once.  Raises KeyError for a key that is not in the file."""
    return "\n\n".join(entries()[key] for key in dict.fromkeys(keys))


@cache
def entries() -> dict[str, str]:
    """Key -> entry of every paper at hand, as written: an entry runs from its @ to a } at the start of a line.

    Raises ValueError for a key that occurs twice.
    """
    found: dict[str, str] = {}
    text = Path(__file__).with_name("references.bib").read_text(encoding="utf-8")
    for entry in re.finditer(r"^@\w+\{([^,\s]+),\n.*?^\}", text, re.DOTALL | re.MULTILINE):
        if entry[1] in found:
            raise ValueError(f"references.bib has the key {entry[1]!r} twice. Remove one.")
        found[entry[1]] = entry[0]
    return found
