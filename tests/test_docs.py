"""The documentation: what its pages name exists, and its code runs as it stands."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from sample_files import write_all

import pnp
from pnp.registry import OPERATORS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
WITH_CODE = [page for page in PAGES if CODE.search(page.read_text(encoding="utf-8"))]
EXAMPLES = sorted(p for p in (ROOT / "examples").glob("*.py") if p.stem not in ("cells", "panels", "sample_files"))
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
assert len(WITH_CODE) > 10 and len(EXAMPLES) >= 16 and len(NOTEBOOKS) >= 3


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder, quick=True)
    return folder


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(samples)
    module = type(sys)("page")
    monkeypatch.setitem(sys.modules, "page", module)  # dataclasses look for the module of their class
    for block in CODE.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, str(page), "exec"), module.__dict__)


def test_links_between_pages_lead_somewhere() -> None:
    found = [(page, re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))) for page in PAGES]
    assert sum(len(links) for _, links in found) > 30
    dead = [f"{page.name}: {link}" for page, links in found for link in links if not (page.parent / link).exists()]
    assert not dead


@pytest.mark.parametrize("module", [pnp, pnp.operators, pnp.priors, pnp.noises, pnp.solvers, pnp.testing])
def test_every_public_name_has_a_docstring_and_a_place_in_the_reference(module: object) -> None:
    name = module.__name__  # type: ignore[attr-defined]
    assert f"automodule:: {name}\n" in REFERENCE
    public = [getattr(module, each) for each in module.__all__]  # type: ignore[attr-defined]
    bare = [each for each in public if (isinstance(each, type) or inspect.isroutine(each)) and not each.__doc__]
    assert not bare


def test_the_modules_of_the_reference_exist() -> None:
    modules = re.findall(r"automodule:: (\S+)", REFERENCE)
    assert len(modules) >= 14
    for module in modules:
        importlib.import_module(module)


def test_an_example_says_what_it_prints() -> None:
    silent = [p.name for p in EXAMPLES if "# prints: " not in p.read_text("utf-8")]
    assert not silent
    without = [p.name for p in EXAMPLES if "--quick" not in p.read_text("utf-8")]
    assert not without


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    book = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()


def test_a_result_shows_itself_in_a_notebook() -> None:
    photo = pnp.samples.photograph("chelsea")[..., 80:112, 120:152]
    done = pnp.restore(photo, operator="identity", prior="tv", sigma=0.05, lam=5.0, iterations=3, simulate=True)
    shown = done._repr_html_()
    assert shown.count("data:image/png;base64,") == 3 and "lam" in shown and "http" not in shown
    assert "limit (3 iterations)" in shown
    assert all(f"alt='{name}'" in shown for name in ("measured", "restored", "truth"))
    assert "verdict" in done.result._repr_html_()


def test_docstrings_become_what_sphinx_reads() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    from docstrings import as_rst

    lines = ["Solve `Ax` = y_ for |x|*.", "", "    x <- prox(v)", "", "- one", "  goes on", "end"]
    as_rst(None, "function", "f", None, None, lines)
    assert lines[0] == r"Solve ``Ax`` = y\_ for \|x\|\*."
    assert lines[lines.index("::") + 2] == "       x <- prox(v)"
    assert "- one" in lines and "end" in lines


def test_a_guide_names_no_operator_that_does_not_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"--op ([a-z]+)", page.read_text(encoding="utf-8"))}
    assert {"blur", "identity", "mask", "downsample", "sensing", "mosaic"} <= named <= set(OPERATORS)


def test_the_files_of_the_guides_hold_what_they_say(samples: Path) -> None:
    from pnp.files.pictures import read

    assert len(list(samples.glob("*.*"))) == 16
    scratched, clean = read(samples / "scratched.png").pixels, read(samples / "truth" / "scratched.png").pixels
    painted = (scratched != clean).any(1, keepdim=True)
    known = read(samples / "mask.png").pixels[:, :1]
    assert torch.equal(painted, known < 0.5) and 0.005 < float(painted.float().mean()) < 0.3
