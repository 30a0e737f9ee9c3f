"""Published results: a run folder with its many small files packed into one archive, `records.tar.xz`.

Beside the archive lie the files that people read as they are: `config.toml`, `provenance.json` and `results.json`.
"""

from __future__ import annotations

import atexit
import io
import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mpdd.errors import InputError

ARCHIVE = "records.tar.xz"
BESIDE = ("config.toml", "provenance.json", "results.json")
# What the report is made of, beside these and the cells.
RECORDS = ("comparisons.json", "failures.json", "metrics.json", "metrics.jsonl", "reliability.json", "transfer.json")


def packed(files: Mapping[str, bytes]) -> bytes:
    """The archive of some files by their path in the run folder; the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def unpack(folder: Path, to: Path) -> None:
    """Write what is in the archive of `folder` into the folder `to`; `InputError` where the archive cannot be read."""
    try:
        with tarfile.open(folder / ARCHIVE, "r:xz") as archive:
            archive.extractall(to, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise InputError(
            f"{folder / ARCHIVE} cannot be unpacked", found=type(error).__name__, wanted="an archive of published results"
        ) from error


def unpack_in_place(folder: Path) -> None:
    """Make a run folder of published results again, so that a run can go on from there; else do nothing."""
    if (folder / ARCHIVE).is_file():
        unpack(folder, folder)
        (folder / ARCHIVE).unlink(missing_ok=True)


def run_files(folder: Path) -> Path:
    """A folder with all files of a run, to read from: `folder`, or for published results a temporary copy, unpacked."""
    archive = folder / ARCHIVE
    return _unpacked(folder, archive.stat().st_mtime_ns) if archive.is_file() else folder


@cache
def _unpacked(folder: Path, _changed: int) -> Path:
    """A copy that lasts as long as this process; made again when the archive has changed."""
    place = Path(tempfile.mkdtemp(prefix="mpdd-results-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for name in BESIDE:
        if (folder / name).is_file():
            shutil.copy(folder / name, place / name)
    unpack(folder, place)
    return place
