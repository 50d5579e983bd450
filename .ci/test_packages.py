"""The wheel and the sdist: built from a clean clone, installed where nothing else of the repository is.

    .venv/bin/pip install -e '.[all]' && .venv/bin/pytest .ci/test_packages.py

What a new environment has of torch and the like it borrows from the one that runs this file; pnp it has for itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
STEM = f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}"
LINKS = {"pnp/operators": "operators", "pnp/priors": "priors"}  # link -> folder, for those who do not install
NOT_SHIPPED = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml")
LARGEST = 70e6  # bytes of a wheel


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; a failure shows what it printed."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Fresh:
    """An environment of its own, with one package in it; the packages that this one needs are borrowed."""

    folder: Path

    @classmethod
    def holding(cls, folder: Path, *package: str | Path) -> Fresh:
        venv.create(folder, symlinks=os.name != "nt")
        fresh = cls(folder)
        borrowed = [place for place in sys.path if place.endswith("site-packages")]
        (fresh.path("purelib") / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
        install = ("--python", fresh.python, "install", "--quiet", "--no-deps", "--no-build-isolation")
        run(sys.executable, "-m", "pip", *install, *package, cwd=folder)
        return fresh

    def path(self, name: str) -> Path:
        return Path(sysconfig.get_path(name, "venv", {"base": str(self.folder), "platbase": str(self.folder)}))

    @property
    def python(self) -> Path:
        return self.path("scripts") / Path(sys.executable).name

    def has(self, module: str, cwd: Path) -> Path:
        """The file of a module, seen from this environment."""
        return Path(run(self.python, "-c", f"import {module} as m; print(m.__file__)", cwd=cwd).strip())


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone") / "pnp"
    run("git", "clone", "--quiet", ROOT, folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="session")
def tracked(clone: Path) -> set[str]:
    """Files of the repository, without the two links."""
    return set(run("git", "ls-files", cwd=clone).splitlines()) - set(LINKS)


@pytest.fixture(scope="session")
def built(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and of the wheel that is made from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, clone, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return built / f"{STEM}-py3-none-any.whl"


@pytest.fixture(scope="session")
def sdist(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sdist unpacks to."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built / f"{STEM}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / STEM


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    return Fresh.holding(tmp_path_factory.mktemp("venv"), wheel)


def packaged(tracked: set[str]) -> set[str]:
    """Where a wheel has the files of the repository that belong to the package."""
    places = {"pnp/": "pnp/", **{f"{folder}/": f"{link}/" for link, folder in LINKS.items()}}
    return {place + file.removeprefix(top) for file in tracked for top, place in places.items() if file.startswith(top)}


def contents(wheel: Path) -> set[str]:
    """Files of a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.startswith(f"{STEM}.dist-info/")}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, tracked: set[str]) -> None:
    expected = packaged(tracked)
    assert {"pnp/references.bib", "pnp/priors/weights/unet-grey.safetensors", "pnp/parameters/table.tsv"} <= expected
    assert contents(wheel) == expected
    assert wheel.stat().st_size < LARGEST


def test_the_sdist_holds_the_repository(sdist: Path, tracked: set[str]) -> None:
    found = {str(path.relative_to(sdist).as_posix()) for path in sdist.rglob("*") if path.is_file()}
    made = {name for name in found if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert found - made == {name for name in tracked if not name.startswith(NOT_SHIPPED)}


def test_the_metadata_are_what_an_index_takes(built: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(built.iterdir()), cwd=built)


def test_the_readmes_first_command_runs_from_the_wheel(installed: Fresh, tmp_path: Path) -> None:
    assert installed.folder in installed.has("pnp", tmp_path).parents
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^python3 -m venv.*&& \.venv/bin/(pnp .*)$", readme, re.M)
    expected = re.search(r"It ends with `(camera .*?)`", readme)
    assert command and expected
    name, *options = command[1].split()
    assert expected[1] in run(installed.path("scripts") / name, *options, cwd=tmp_path)
    assert (tmp_path / "pnp-out" / "restored.png").exists()


@pytest.mark.parametrize(
    "command, told",
    [
        ("--version", f"pnp, version {PROJECT['version']}"),
        ("list", "downsample"),
        ("cite --op blur --prior unet", "@"),
        ("train text --help", "Usage"),
    ],
)
def test_the_commands_run_from_the_wheel(installed: Fresh, command: str, told: str, tmp_path: Path) -> None:
    assert told in run(installed.path("scripts") / "pnp", *command.split(), cwd=tmp_path)


def test_the_trained_network_of_the_wheel_restores(installed: Fresh, tmp_path: Path) -> None:
    code = (
        "import pnp; x = pnp.samples.photograph('camera')[..., 128:192, 192:256]\n"
        "done = pnp.restore(x, operator='identity', prior='unet', sigma=0.1, simulate=True, truth=x)\n"
        "print(done.record.metrics['psnr'][0])\n"
    )
    assert float(run(installed.python, "-c", code, cwd=tmp_path)) > 25  # 20 dB went in


def test_the_sdist_passes_its_own_tests(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All of them are collected; those run that read the files that lie around the package."""
    fresh = Fresh.holding(tmp_path_factory.mktemp("venv"), sdist)
    pytest_ = (fresh.python, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", sdist)
    outside = {"PYTHONSAFEPATH": "1"}  # the installed package, not the folder that we stand in
    assert " error" not in run(*pytest_, "--collect-only", cwd=sdist, **outside).splitlines()[-1]
    chosen = ("imports", "package", "docs", "weights")
    quick = ("-k", "not notebook and not page_runs")
    run(*pytest_, *quick, *(f"tests/test_{name}.py" for name in chosen), cwd=sdist, **outside)


@pytest.mark.parametrize("links", ["gone", "text"])
def test_sources_without_links_install(links: str, clone: Path, tracked: set[str], tmp_path: Path) -> None:
    """As an archive leaves them where there are no links: nothing, or a small file that holds the path."""
    sources = tmp_path / "sources"
    run("git", "-c", "core.symlinks=false", "clone", "--quiet", clone, sources, cwd=tmp_path)
    for link, folder in LINKS.items():
        assert (sources / link).read_text(encoding="utf-8") == f"../{folder}"
        if links == "gone":
            (sources / link).unlink()
    editable = Fresh.holding(tmp_path / "editable", "-e", sources)
    for module, folder in {"pnp": "pnp", "pnp.operators": "operators", "pnp.priors": "priors"}.items():
        assert editable.has(module, tmp_path).parent == sources / folder
    make = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
    run(sys.executable, "-m", "pip", *make, sources, cwd=tmp_path)
    assert contents(tmp_path / f"{STEM}-py3-none-any.whl") == packaged(tracked)
