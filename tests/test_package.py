"""What describes the package agrees with itself and with the files: version, packages, data, extras."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from datetime import date
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, SETUPTOOLS = CONFIG["project"], CONFIG["tool"]["setuptools"]
FOLDERS = {"pnp": ROOT / "pnp"} | {name: ROOT / place for name, place in SETUPTOOLS["package-dir"].items()}
LINKS = [ROOT / "pnp" / folder for folder in ("operators", "priors")]


def released() -> tuple[str, date]:
    """The newest version of the changelog, and its date."""
    heading = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heading, "the first section of CHANGELOG.md is `## VERSION (YYYY-MM-DD)`"
    return heading[1], date.fromisoformat(heading[2])


def cited(field: str) -> str:
    found = re.search(rf"^{field}: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    assert found
    return found[1]


def files() -> dict[Path, str]:
    """Every file of the package but caches, with the package whose folder it is below."""
    found = {}
    for name, folder in FOLDERS.items():
        for file in folder.rglob("*"):
            inside = name == "pnp" and any(link in (file, *file.parents) for link in LINKS)
            if file.is_file() and not inside and "__pycache__" not in file.parts:
                found[file] = name
    return found


FILES = files()
assert len(FILES) > 200


def holder(file: Path) -> tuple[str, Path]:
    """The nearest package that a file lies in, and its path from there."""
    folder, top = file.parent, FOLDERS[FILES[file]]
    while not (folder / "__init__.py").exists():
        folder = folder.parent
    return ".".join((FILES[file], *folder.relative_to(top).parts)), file.relative_to(folder)


def test_the_version_is_one() -> None:
    newest, day = released()
    assert PROJECT["version"] == newest == cited("version")
    assert date.fromisoformat(cited("date-released")) == day


def test_the_installed_version_is_said_and_is_that_of_the_sources() -> None:
    said = subprocess.run([sys.executable, "-m", "pnp", "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"pnp, version {version('pnp-restoration')}\n"
    assert version("pnp-restoration") == PROJECT["version"], "the sources changed: run `pip install -e .` again"


def test_the_packages_are_those_that_exist() -> None:
    assert set(SETUPTOOLS["packages"]) == {holder(file)[0] for file in FILES if file.name == "__init__.py"}


def test_every_file_that_is_not_python_is_shipped() -> None:
    patterns = SETUPTOOLS["package-data"]
    left = [
        str(file)
        for file in FILES
        if file.suffix != ".py" and file.name != "py.typed"  # setuptools ships the marker of types by itself
        for package, inside in [holder(file)]
        if not any(fnmatch(inside.as_posix(), pattern) for pattern in patterns.get(package, ()))
    ]
    assert not left


@pytest.mark.parametrize("extra", sorted({*PROJECT["optional-dependencies"]} - {"napari"}))
def test_all_holds_every_extra_but_the_desktop_program(extra: str) -> None:
    everything = re.search(r"^pnp-restoration\[(.*)\]$", PROJECT["optional-dependencies"]["all"][0])
    assert everything and (extra == "all" or extra in everything[1].split(","))


def test_the_test_extra_is_small() -> None:
    """Without deepinv, whose torchvision has to fit torch: its tests run where it is installed."""
    needed = " ".join(PROJECT["optional-dependencies"]["test"])
    assert "deepinv" not in needed and "docs" not in needed and "all" not in needed
