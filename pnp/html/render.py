"""Pages from templates: whatever comes from a file or a person is escaped, and nothing is loaded from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent


def render(template: Path, **context: Any) -> str:
    """The page of a template, which may extend `page.html.j2` and import `parts.html.j2`."""
    return _environment(template.parent).get_template(template.name).render(context)


@cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from . import curves

    found = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["number"] = curves.number
    return found
