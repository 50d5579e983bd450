"""The only writer of anything: a file takes its name when it is whole on the disk, so that a reader finds the old file
or the new one and nothing between, whatever ends the program."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import BinaryIO

TEMPORARY = re.compile(r"\.pnp-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.tmp")  # machine, process, a random number
STALE = 24 * 3600  # seconds after which a temporary belongs to nobody, whatever machine wrote it


class WriteError(OSError):
    """A file that cannot be written; the message is one line that names it."""


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes the name `path` only when it is whole; an error leaves what was there before.

    It has the mode of the file that it replaces.  A link stays, and its target is replaced.  Inside `together` it waits
    for the others.  Raises WriteError.
    """
    path = Path(path)
    group = _GROUP.get()
    temporary, waits = None, False
    try:
        goal = target(path)
        sweep(goal.parent)
        temporary = goal.with_name(f".pnp-{_machine()}-{os.getpid()}-{secrets.token_hex(6)}.tmp")
        with temporary.open("x+b") as file:
            if goal.exists():
                with suppress(OSError):  # a file system without modes
                    os.chmod(temporary, stat.S_IMODE(goal.stat().st_mode))
            yield file
            file.flush()
            _settle(file.fileno())
            if group is not None:
                file.seek(0)
                group.digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        if group is None:
            _place(temporary, goal)
        else:
            group.waiting.append((temporary, goal, path))
            waits = True
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(_line(path, error)) from error
    finally:
        if temporary is not None and not waits:
            with suppress(OSError):
                temporary.unlink()


def write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Replace `path` by these bytes, or by this text as UTF-8.  Raises WriteError."""
    with atomic(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.  Raises WriteError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(_line(path, error)) from error


class Group:
    """Files that wait for each other.  digests: path -> SHA-256 of each that is whole."""

    def __init__(self) -> None:
        self.digests: dict[Path, str] = {}
        self.waiting: list[tuple[Path, Path, Path]] = []  # temporary, goal, the path as it was given


@contextmanager
def together() -> Iterator[Group]:
    """Files that `atomic` writes inside take their names when all of them are whole; an error leaves all as they were.

    The last that was written takes its name first: a report is written last, with the digests of what it speaks of, so
    that nothing stands without its report, and a reader sees by the digests where a kill came between two names.
    Raises WriteError, which says what has been replaced if names could not be given to all.
    """
    group = Group()
    token = _GROUP.set(group)
    try:
        yield group
        placed: list[str] = []
        for temporary, goal, path in reversed(group.waiting):
            try:
                _place(temporary, goal)
            except OSError as error:
                stays = f" Already replaced: {', '.join(placed)}. Run it again." if placed else ""
                raise WriteError(_line(path, error) + stays) from error
            placed.append(str(path))
    finally:
        _GROUP.reset(token)
        for temporary, *_ in group.waiting:
            with suppress(OSError):
                temporary.unlink()


_GROUP: ContextVar[Group | None] = ContextVar("group", default=None)


def target(path: Path) -> Path:
    """The file that writing to `path` replaces: `path`, or what it links to.  Raises WriteError where that is none."""
    if path.is_symlink() and not path.exists():
        raise WriteError(f"cannot write {path}: it is a link to {os.readlink(path)}, which does not exist; remove it.")
    goal = path.resolve()
    if goal.is_dir():
        raise WriteError(f"cannot write {path}: it is a folder.")
    if goal.exists() and not goal.is_file():
        raise WriteError(f"cannot write {path}: it is a device or a pipe.")
    return goal


@cache  # a folder once in a run
def sweep(folder: Path) -> None:
    """Remove what runs that were killed have left in a folder: temporaries of processes of this machine that are gone.

    A process of another machine, on a network folder, cannot be asked; what it left goes after a day.
    """
    with suppress(OSError):
        for path in folder.glob(".pnp-*.tmp"):
            if found := TEMPORARY.fullmatch(path.name):
                with suppress(OSError):
                    here = found[1] == _machine() and os.name == "posix"  # elsewhere asking would end the process
                    if (here and not _lives(int(found[2]))) or time.time() - path.stat().st_mtime > STALE:
                        path.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@cache
def _machine() -> str:
    """Eight hexadecimal digits for this machine, or for the container on it, which counts its processes anew."""
    processes = ""
    with suppress(OSError):
        processes = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:8]


def _place(temporary: Path, goal: Path) -> None:
    """Give the file its name, and have the folder on the disk, too."""
    os.replace(temporary, goal)
    if os.name == "posix":
        with suppress(OSError):  # a folder that cannot be opened; the file itself is safe
            folder = os.open(goal.parent, os.O_RDONLY)
            try:
                _settle(folder)
            finally:
                os.close(folder)


def _settle(descriptor: int) -> None:
    """Wait until it is on the disk; some network file systems do not know how."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _line(path: Path, error: OSError) -> str:
    reason = (error.strerror or str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return f"cannot write {path}: {reason}."
