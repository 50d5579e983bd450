"""What a result depends on beside its inputs: a hash of the code, rules and weights behind it."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from .suite import Cell


def code_version(cell: Cell) -> str:
    """Hash of what is behind a cell beside its own text: source, rules, weights, and the files that its specs name.

    Source, without its comments: the module of each named operator, prior, denoiser and solver, and all that it and the
    path of `pnp solve` import.  A change of one solver so leaves the results of the others as they are.
    """
    from .. import priors
    from ..parameters import rules
    from ..priors import store
    from ..registry import OPERATORS, PRIORS, SOLVERS, Entry, Registry

    task, method = cell.task, cell.method
    measure, assume = (OPERATORS, task.measure), (OPERATORS, task.assume)
    named: list[tuple[Registry[Any], str | None]] = [measure, assume, (PRIORS, method.prior), (SOLVERS, method.solver)]
    members: list[tuple[Registry[Any], Entry[Any]]] = []
    texts: list[str] = []
    for registry, spec in named:
        try:
            members += registry.members(spec) if spec else ()
            texts += registry.parse(spec).texts() if spec else ()
        except Exception:  # the cell's own row will say what is wrong
            continue
    words = [word for text in texts for word in re.findall(r"[\w./-]+", text)]
    paths = dict.fromkeys([*texts, *words, *(part for text in texts for part in text.split(":"))])
    modules = {entry.make.__module__ for _, entry in members}
    try:
        prior = priors.parse(method.prior, shape=(1, 64, 64))
        kind, kinds = prior.kind, {prior.kind, *(term.kind for _, term in prior.terms)}
    except Exception:  # the cell's own row will say what is wrong
        kind, kinds = "", {""}
    tasks = {*words, "other"}  # an operator has the name of its task
    table = {at: rule for at, rule in rules.table().items() if at[0] in kinds and at[1].split("-")[0] in tasks}
    rows = sorted((*at, repr(rule)) for at, rule in table.items())
    if not method.solver:
        specs = [rule.solver for rule in table.values()] or ["admm", "hqs"]
        modules |= {entry.make.__module__ for spec in specs for _, entry in SOLVERS.members(spec)}
    nets = {entry.name for _, entry in members}
    learned = {k: r["sha256"] for k, r in store.manifest().items() if kind and k.split("-")[0] in nets}
    own = {name: sys.modules[name].__file__ for name in modules if not name.startswith("pnp.")}
    paths |= dict.fromkeys(sorted(filter(None, own.values())))
    files = {path: _bytes_hash(path) for path in paths if Path(path).is_file()}
    source = _source_hash(frozenset(modules - own.keys()), method.sigma == "estimated")
    text = json.dumps([source, rows, learned, list(files.values())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _bytes_hash(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@lru_cache
def _source_hash(modules: frozenset[str], estimates: bool) -> str:
    """Hash of the code of these modules and of `pnp.jobs.restore`, with everything of this package that they import.

    estimates: whether the noise level is estimated, so that the code for that counts.
    """
    left, seen = {*modules, "pnp.jobs.restore", "pnp.benchmark.solving"}, set()
    while left:
        name = left.pop()
        seen.add(name)
        left |= _imports(name) - seen - (set() if estimates else {"pnp.noises.level"})
    found = hashlib.sha256()
    for name in sorted(seen):
        found.update(ast.unparse(_code(name)).encode())
    return found.hexdigest()


@lru_cache
def _imports(name: str) -> frozenset[str]:
    """Modules of this package that `name` imports, at its top or later.

    Not followed: packages that only gather others, and `pnp.jobs.report`, which no number of a picture depends on.
    """
    package = name if _path(name).stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(_code(name)):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package.split(".")
            base = ".".join([*above[: len(above) + 1 - node.level], *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    left_out = {"pnp", "pnp.operators", "pnp.priors", "pnp.solvers", "pnp.jobs.report"}
    return frozenset(f for f in found - left_out if f.startswith("pnp.") and _path(f).is_file())


@lru_cache
def _code(name: str) -> ast.Module:
    """What a module does: its source without comments and docstrings."""
    tree = ast.parse(_path(name).read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return tree


def _path(name: str) -> Path:
    """Of a module of this package; not a file if there is none."""
    at = Path(__file__).parents[1].joinpath(*name.split(".")[1:])
    return at / "__init__.py" if at.is_dir() else at.with_suffix(".py")
