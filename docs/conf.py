"""The documentation: guides in Markdown, the API from the docstrings, a gallery of scripts that are run.

sphinx-build -W docs docs/_build          (PNP_GALLERY=0: without running the scripts of examples/)
"""

from __future__ import annotations

import os
import sys
from importlib import import_module, metadata
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

sys.path.insert(0, str(Path(__file__).parent))
from docstrings import as_rst

import pnp

HELPERS = ("cells.py", "panels.py", "sample_files.py")  # of the scripts, not scripts themselves

project = "pnp"
author = "The pnp developers"
copyright = "the pnp developers, MIT licence"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
if os.environ.get("PNP_GALLERY") != "0":
    extensions.append("sphinx_gallery.gen_gallery")
html_theme = "furo"
release = metadata.version("pnp-restoration")
html_title = f"pnp {release}"
html_static_path: list[str] = []
exclude_patterns = ["_build", "notebooks"] + (["gallery"] if os.environ.get("PNP_GALLERY") == "0" else [])
myst_heading_anchors = 3
suppress_warnings = [
    "ref.python",  # pnp.Operator and pnp.operators.Operator are one class
    "config.cache",
    *(["toc.not_readable", "toc.excluded"] if os.environ.get("PNP_GALLERY") == "0" else []),
]
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}
maximum_signature_line_length = 88

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": "(" + "|".join(HELPERS).replace(".", r"\.") + ")$",
    "reset_argv": lambda *_: ["--quick"],
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1000,
    "write_computation_times": False,
}

MODULES = (
    "pnp", "pnp.operators", "pnp.operators.kernels", "pnp.operators.sampling", "pnp.priors", "pnp.noises",
    "pnp.solvers", "pnp.stopping", "pnp.testing", "pnp.metrics", "pnp.registry", "pnp.samples", "pnp.jobs",
    "pnp.interop.deepinv", "pnp.interop.scipy",
)  # fmt: skip


def public(module: str) -> list[str]:
    """The public names of a module that are not modules: `__all__`, or else what it defines."""
    found = pnp.stopping if module == "pnp.stopping" else import_module(module)
    names = getattr(found, "__all__", None)
    if names is None:
        names = [
            n
            for n, v in vars(found).items()
            if not n.startswith("_") and getattr(v, "__module__", "") == found.__name__
        ]
    return [name for name in names if type(getattr(found, name)).__name__ != "module"]


def thing(name: str) -> object:
    """What a dotted name of the reference means."""
    module, _, last = name.replace("pnp.stopping", "pnp.core.stopping").rpartition(".")
    try:
        return getattr(import_module(module), last, None)
    except (ImportError, ValueError):  # a member of a class, a module
        return None


def complete(app: Sphinx, error: Exception | None) -> None:
    """Every public name has its entry in the API reference."""
    if error is not None or app.builder.format != "html":
        return
    known = {name for name, *_ in app.env.get_domain("py").get_objects()}
    described = [thing(name) for name in known]
    wanted = {f"{module}.{name}" for module in MODULES for name in public(module)}
    missing = sorted(name for name in wanted if not any(thing(name) is each for each in described))
    if missing:
        raise SphinxError(f"the API reference lacks {', '.join(missing)}")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("build-finished", complete)
