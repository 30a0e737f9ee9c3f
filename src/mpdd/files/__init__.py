"""Writing files and folders whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from safetensors import SafetensorError

from mpdd.errors import InputError

_MOST_OF_A_NAME = 50  # characters of a file's name in that of the temporary file beside it: systems take 255 bytes


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary file in the same folder and rename it, so that nobody ever sees half a file.

    Raises `InputError` when the folder cannot be written, and then leaves everything as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_MOST_OF_A_NAME]}.")
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(data)
            temporary.flush()
            os.fsync(descriptor)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> InputError:
    """What to raise where the system refuses to write; `error` is an `OSError`, or safetensors' own error around one."""
    return InputError(f"Cannot write {path}", found=_reason(error), wanted="a writable folder with room")


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there, that can be written to; raise `InputError` else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="."):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def require_new(folder: Path) -> None:
    """Raise `InputError` where there is something already: no new folder is mixed with other files."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        there = "a folder with files" if folder.is_dir() else "a file"
        raise InputError(f"{folder} is there already", found=there, wanted="the name of a new folder")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes `folder` when all went well and is removed when not.

    Raises `InputError` where there is something already, and where nothing can be written.
    """
    require_new(folder)
    with _cannot_write(folder), temporary_folder(folder.parent, f".{folder.name}.") as new:
        yield new
        for path in (new, *new.rglob("*")):  # some writers keep what they write to themselves
            path.chmod(0o755 if path.is_dir() else 0o644)
        if folder.is_dir():
            folder.rmdir()
        os.replace(new, folder)


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Give a new folder in `parent`, which is made if need be; remove it at the end, also after Ctrl-C.

    Raises `OSError` where it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield folder
    finally:
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all in it, if it exists. An interrupt in between is raised when the folder is gone."""
    interrupt: KeyboardInterrupt | None = None
    for _ in range(10):  # the command line repeats an interrupt until the program ends
        try:
            shutil.rmtree(folder, ignore_errors=True)
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


@contextmanager
def _cannot_write(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise cannot_write(folder, error) from error


def _reason(error: Exception) -> str:
    """The system's reason in a few words, also where safetensors hides it in its message."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    hidden = re.search(r"os error (\d+)", str(error))
    return os.strerror(int(hidden[1])) if hidden else type(error).__name__


def distinct_names(names: Iterable[str], joint: str = "-", key: Callable[[str], str] = str.casefold) -> list[str]:
    """The names, of which repeated ones get a number behind `joint`; names with the same `key` count as repeated, as those do
    that differ in case alone on some systems."""
    distinct: list[str] = []
    taken: set[str] = set()
    for name in names:
        numbered = (name if number == 1 else f"{name}{joint}{number}" for number in count(1))
        distinct.append(next(candidate for candidate in numbered if key(candidate) not in taken))
        taken.add(key(distinct[-1]))
    return distinct


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal. Raises `OSError`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
