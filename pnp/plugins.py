"""A person's own members: from a file, from a module that can be imported, and from installed packages."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .specs import SpecError

_left_out: set[str] = set()  # packages that a note was given for


def module(source: str) -> ModuleType:
    """A module from its dotted name or from a file, which is run once.  Raises SpecError where that fails."""
    try:
        return _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except SpecError:
        raise
    except ImportError as error:
        hint = "" if source.endswith(".py") else ".  A file goes by its path: ./file.py:Name"
        raise SpecError(f"cannot import {source}: {error}{hint}") from error
    except (Exception, SystemExit) as error:  # a script that ends itself
        raise SpecError(f"{source} cannot be run: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    file = path.expanduser().resolve()
    if not file.is_file():
        raise SpecError(f"file {path} does not exist.")
    name = f"_own_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"  # no other module has it
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        made = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look there
        try:
            spec.loader.exec_module(made)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def installed(group: str) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """(package, name, class or function) of every entry point of the group; of a package that is broken one note."""
    import importlib.metadata

    for entry in importlib.metadata.entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else entry.module
        try:
            made = entry.load()
            if not callable(made):
                raise TypeError(f"{entry.value} is neither a class nor a function")
        except Exception as error:  # whatever it is, it costs nobody else
            left_out(package, f"{entry.name} of {group}: {type(error).__name__}: {error}")
        else:
            yield package, entry.name, made


def left_out(package: str, why: str) -> None:
    """One note for each package."""
    if package not in _left_out:
        _left_out.add(package)
        warnings.warn(f"skipped a plug-in of the package {package}: {why}", stacklevel=2)
