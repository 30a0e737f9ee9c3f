"""Reads the files that a folder, a zip or a tar holds; nothing is unpacked onto the disk."""

from __future__ import annotations

import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath

from mpdd.data.readers.compressed import require_modest
from mpdd.errors import InputError, in_words

_BROKEN = (
    OSError, EOFError, RuntimeError, NotImplementedError, ValueError, struct.error, zlib.error, lzma.LZMAError,
    tarfile.TarError, zipfile.BadZipFile,
)  # fmt: skip


def read(path: Path, suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """Return the contents of the files with one of `suffixes`, by their path inside, sorted.

    Suffixes in capitals count too: a file `A.TXT` is called `A.txt` here, unless there is another one of that name.
    Hidden files, and those that macOS adds to an archive, are passed over. Raise `InputError` if `path` is missing,
    holds no such file, or is an archive that is damaged, cut short, locked, or unpacks to far more than texts do.
    """
    if not path.exists():
        raise InputError(f"{path} is not there", wanted="a folder, a zip or a tar")
    try:
        contents = _with_plain_suffixes(_members(path, suffixes))
    except _BROKEN as error:
        raise _broken(getattr(error, "filename", None) or path, error) from None
    if not contents:
        raise InputError(f"{path} holds no file that ends in {' or '.join(suffixes)}", found=0, wanted="at least one")
    return contents


def unzipped(where: Path, content: bytes, suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files with one of `suffixes` in a zip that is itself a file of another archive, by their path inside.

    `where` names the zip in messages. Raise `InputError` if it is damaged, locked, or unpacks to far more than texts.
    """
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return _with_plain_suffixes(_of_zip(where, archive, len(content), suffixes))
    except _BROKEN as error:
        raise _broken(where, error) from None


def _broken(where: object, error: BaseException) -> InputError:
    wanted = "a folder, or a whole zip or tar without a password"
    return InputError(f"{where} cannot be read", found=in_words(error), wanted=wanted)


def _with_plain_suffixes(members: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """Return the contents by name, sorted, with the suffixes in small letters where that makes no two names the same."""
    read = dict(members)
    plain = {name: name.removesuffix(suffix := PurePosixPath(name).suffix) + suffix.lower() for name in read}
    return {new: read[name] for new, name in sorted((p if n == p or p not in read else n, n) for n, p in plain.items())}


def inside(folder: Path) -> list[Path]:
    """Return the files in a folder and in those below it, sorted; links are followed, what is hidden is passed over.

    Raise `InputError` where a folder cannot be read.
    """
    files: list[Path] = []
    seen: set[str] = set()
    for top, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        if (place := os.path.realpath(top)) in seen:  # a link to a folder that was read, or is being read
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        files += [Path(top, name) for name in names if not _is_hidden(name) and os.path.isfile(Path(top, name))]
    return sorted(files)


def _unreadable(error: OSError) -> None:
    raise InputError(f"The folder {error.filename} cannot be read", found=error.strerror, wanted="a readable folder")


def _members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in inside(path):
            name = file.relative_to(path).as_posix()
            if _is_wanted(name, suffixes):
                yield name, file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from _of_zip(path, archive, path.stat().st_size, suffixes)
    else:
        packed, unpacked = path.stat().st_size, 0
        with tarfile.open(path) as tar:
            for member in tar:
                unpacked += member.size
                require_modest(path, packed, unpacked)
                content = tar.extractfile(member) if member.isfile() and _is_wanted(member.name, suffixes) else None
                if content is not None:
                    yield member.name, content.read()


def _of_zip(path: Path, archive: zipfile.ZipFile, size: int, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    wanted = [member for member in archive.infolist() if _is_wanted(member.filename, suffixes)]
    require_modest(path, size, sum(member.file_size for member in wanted))
    yield from ((member.filename, archive.read(member)) for member in wanted)


def _is_wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not any(map(_is_hidden, PurePosixPath(name).parts))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
