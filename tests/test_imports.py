"""Imports point one way: operators and priors know no solver, solvers know no operator, and help needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"pnp": ROOT / "pnp", "pnp.operators": ROOT / "operators", "pnp.priors": ROOT / "priors"}
LINKS = {ROOT / "pnp" / "operators", ROOT / "pnp" / "priors"}  # the same folders, seen from inside pnp


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the package."""
    found = {}
    for package, folder in PACKAGES.items():
        for file in sorted(folder.rglob("*.py")):
            if package == "pnp" and LINKS & set(file.parents):
                continue
            parts = file.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(p for p in parts if p != "__init__")))] = file
    return found


MODULES = modules()


def imports(name: str, source: str, *, top_only: bool = False, package: bool = False) -> set[str]:
    """Absolute names that a module imports; for `from a import b` both a and a.b.  Not what only type checkers see."""
    found: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = name.split(".")[: len(name.split(".")) - node.level + package] if node.level else []
                target = ".".join([*base, *([node.module] if node.module else [])])
                found.update({target, *(f"{target}.{alias.name}" for alias in node.names)})
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                visit(node.orelse)
            elif not (top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
                visit([n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt | ast.ExceptHandler)])  # type: ignore[misc]

    visit(ast.parse(source).body)
    return found


def of(name: str, **options: bool) -> set[str]:
    return imports(name, MODULES[name].read_text(), package=MODULES[name].name == "__init__.py", **options)


def reaches(found: set[str], *targets: str) -> set[str]:
    return {f for f in found for t in targets if f == t or f.startswith(f"{t}.")}


def under(*packages: str) -> list[str]:
    return [m for m in MODULES for p in packages if m == p or m.startswith(f"{p}.")]


FOLDERS = [folder for top in PACKAGES.values() for folder in (top, *top.iterdir())]
ROOMS = {folder.name for folder in FOLDERS if (folder / "__init__.py").is_file()}
ROOMS -= {"pnp", "nets"}  # the whole, and a cupboard of priors


def room(name: str) -> str:
    """The folder below pnp/ that a module lies in; `ground` for what lies flat there."""
    part = [*name.split("."), ""][1]
    return part if part in ROOMS else "ground"


def looked_at(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Room -> other rooms that its modules import, from module -> its imports."""
    seen: dict[str, set[str]] = {room(name): set() for name in found}
    for name, names in found.items():
        seen[room(name)] |= {room(f) for f in names if f in MODULES and f != "pnp"} - {room(name)}
    return seen


def circles(seen: dict[str, set[str]]) -> set[str]:
    """The rooms that import one another, directly or through others: each lowest room is taken away, these are left."""
    left = dict(seen)
    while lowest := {r for r, below in left.items() if not below & left.keys()}:
        left = {r: below for r, below in left.items() if r not in lowest}
    return set(left)


def test_the_walk_sees_the_package_and_every_way_to_import() -> None:
    assert {"pnp", "pnp.core.loop", "pnp.solvers.admm", "pnp.operators.blur", "pnp.priors.tv"} <= set(MODULES)
    source = """
import a.b
from . import c
from ..d import e
def f():
    try:
        import g
    except E:
        from .h import i
"""
    assert imports("pnp.x.y", source) == {"a.b", "pnp.x", "pnp.x.c", "pnp.d", "pnp.d.e", "g", "pnp.x.h", "pnp.x.h.i"}
    assert imports("pnp.x.y", source, top_only=True) == {"a.b", "pnp.x", "pnp.x.c", "pnp.d", "pnp.d.e"}
    assert imports("pnp.x", "from .c import d", package=True) == {"pnp.x.c", "pnp.x.c.d"}
    assert imports("m", "if TYPE_CHECKING:\n    import a\nelse:\n    import b") == {"b"}
    assert "pnp.priors.base.Prior" in of("pnp.core.problem") and "pnp.operators.kernels" in of("pnp.operators")


def test_imports_point_one_way() -> None:
    """No two rooms import each other, so they stand in an order; the ground imports none."""
    found = {name: of(name) for name in MODULES if name not in ("pnp", "pnp.__main__")}
    seen = looked_at(found)
    assert seen["ground"] == set() and circles(seen) == set()
    assert {"operators", "priors", "noises"} <= seen["core"] and "core" in seen["solvers"] and "jobs" in seen["cli"]
    for name, upwards in (
        ("pnp.operators.mask", "pnp.core.loop"),
        ("pnp.priors.tv", "pnp.solvers.admm"),
        ("pnp.files.pictures", "pnp.jobs.restore"),
        ("pnp.core.loop", "pnp.parameters.weight"),
    ):  # planted
        assert circles(looked_at({**found, name: {*found[name], upwards}}))


@pytest.mark.parametrize("name", under("pnp.core", "pnp.solvers", "pnp.parameters.weight"))
def test_the_loop_and_the_solvers_know_operators_and_priors_by_contract_alone(name: str) -> None:
    known = {f for f in reaches(of(name), "pnp.operators", "pnp.priors") if f.count(".") >= 2}
    assert {f for f in known if not f.startswith(("pnp.operators.base", "pnp.priors.base"))} == set()


@pytest.mark.parametrize(
    "name", ["pnp.registry", "pnp.specs", "pnp.plugins", "pnp.citations", "pnp.checks", "pnp.linalg", "pnp.samples"]
)
def test_what_everybody_uses_knows_nobody(name: str) -> None:
    assert not {f for f in reaches(of(name), "pnp") if room(f) != "ground"}


@pytest.mark.parametrize("name", ["pnp", "pnp.registry", "pnp.specs", "pnp.citations", "pnp.cli", "pnp.__main__"])
def test_help_imports_no_torch(name: str) -> None:
    """Neither by itself nor through a module that it imports at the top."""
    seen, left = set(), [name]
    while left:
        for found in of(left.pop(), top_only=True) - seen:
            seen.add(found)
            left += [found] if found in MODULES else []
    assert not reaches(seen, "torch", "skimage", "scipy", "matplotlib", "deepinv")


@pytest.mark.parametrize("name", MODULES)
def test_optional_packages_are_imported_where_they_are_used(name: str) -> None:
    assert not reaches(of(name, top_only=True), "deepinv", "pylops", "dask", "matplotlib")


def test_importing_pnp_loads_no_torch() -> None:
    code = "import sys, pnp, pnp.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_fresh_process_that_restores_has_the_solvers() -> None:
    code = "import pnp.jobs.restore; from pnp.registry import SOLVERS; print(next(iter(SOLVERS), None))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "admm\n"


def test_every_public_name_is_there() -> None:
    import pnp

    assert pnp.__all__ and all(getattr(pnp, name) is not None for name in pnp.__all__)
    for package in ("operators", "priors", "solvers"):
        module = getattr(pnp, package)
        assert module.__all__ and all(hasattr(module, name) for name in module.__all__)
