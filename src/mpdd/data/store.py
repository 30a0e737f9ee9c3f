"""Where data lies: each upstream file is pinned by commit and sha256, and comes from a mirror or a download.

`MPDD_DATA` names the store (else the platform's cache folder); `MPDD_MIRROR` names a folder with the same layout,
whose files are read in place.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from mpdd.data.task import Task
from mpdd.errors import InputError, MpddError

HOST = "https://raw.githubusercontent.com"
Place = Literal["mirror", "store", "missing"]


@dataclass(frozen=True)
class Upstream:
    """One upstream file: `file` is its path in the store, `size` its bytes."""

    file: str
    repository: str
    commit: str
    upstream_path: str
    size: int
    sha256: str

    @property
    def url(self) -> str:
        """The address of exactly this version."""
        return f"{HOST}/{self.repository}/{self.commit}/{quote(self.upstream_path)}"


def _listing() -> str:
    return (package_files("mpdd.data") / "upstream.tsv").read_text(encoding="utf-8")


def registry_hash() -> str:
    """Return the sha256 of `upstream.tsv`, which stands for all data: it pins every file."""
    return hashlib.sha256(_listing().encode()).hexdigest()


@cache
def registry() -> Mapping[str, Upstream]:
    """Return the known upstream files by their path in the store (from the package's `upstream.tsv`)."""
    rows = csv.DictReader(_listing().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    entries = (
        Upstream(row["file"], row["repository"], row["commit"], row["upstream_path"], int(row["bytes"]), row["sha256"])
        for row in rows
    )
    return {entry.file: entry for entry in entries}


def data_root() -> Path:
    """Return the store's folder: `MPDD_DATA`, else the platform's cache folder for `mpdd`; it may not exist yet."""
    if chosen := os.environ.get("MPDD_DATA"):
        return Path(os.path.expanduser(chosen))
    import platformdirs

    return Path(platformdirs.user_cache_dir("mpdd"))


def mirror_root() -> Path | None:
    """Return the folder that `MPDD_MIRROR` names, or None if it is not set; raise `InputError` if it is no folder."""
    chosen = os.environ.get("MPDD_MIRROR")
    if not chosen:
        return None
    root = Path(os.path.expanduser(chosen))
    if not os.path.isdir(root):
        raise InputError(
            "MPDD_MIRROR is not a folder",
            found=root,
            wanted="a folder",
            next_step="Correct it, or unset it to download.",
        )
    return root


def locate(task: Task) -> Place:
    """Say where a task's files all lie, judging by their sizes only; `fetch` verifies them."""
    entries = [_entry(file) for file in task.files]
    mirror = mirror_root()
    if mirror is not None and _all_there(mirror, entries):
        return "mirror"
    return "store" if _all_there(data_root(), entries) else "missing"


def fetch(files: Iterable[str], *, progress: bool = False) -> Path:
    """Make sure that `files` lie under one root with the right sha256, and return that root.

    That is the mirror if it has them all, else the store, into which what is missing is copied from the mirror or
    downloaded (`progress` shows a bar for each download). Raise `InputError` if a file is unknown, or differs from
    what is pinned (naming both hashes), and `MpddError` if it can neither be found nor downloaded.
    """
    entries = [_entry(file) for file in files]
    mirror = mirror_root()
    mirrored = {entry.file for entry in entries if mirror is not None and _in_mirror(mirror, entry)}
    if mirror is not None and mirrored >= {entry.file for entry in entries}:
        return mirror
    root = data_root()
    for entry in entries:
        if _is_good(root / entry.file, entry):
            continue
        if mirror is not None and entry.file in mirrored:
            _copy(mirror / entry.file, root / entry.file)
        else:
            _download(entry, root, progress)
    return root


def _entry(file: str) -> Upstream:
    if file not in registry():
        raise InputError(f"The file {file} is not in the registry", wanted="a path listed in mpdd/data/upstream.tsv")
    return registry()[file]


def _all_there(root: Path, entries: Iterable[Upstream]) -> bool:
    paths = ((root / entry.file, entry.size) for entry in entries)
    return all(os.path.isfile(path) and path.stat().st_size == size for path, size in paths)


def _in_mirror(mirror: Path, entry: Upstream) -> bool:
    """Say whether the mirror has the file; raise `InputError` if what it has is not what is pinned."""
    path = mirror / entry.file
    if not os.path.isfile(path):
        return False
    if not _is_good(path, entry):
        raise _wrong_hash(str(path), _sha256(path), entry, "Replace it in the mirror, or unset MPDD_MIRROR to download it.")
    return True


def _wrong_hash(name: str, sha256: str, entry: Upstream, next_step: str) -> InputError:
    what = f"{name} is not the pinned version of {entry.file}"
    return InputError(what, found=f"sha256 {sha256}", wanted=f"sha256 {entry.sha256}", next_step=next_step)


def _is_good(path: Path, entry: Upstream) -> bool:
    return os.path.isfile(path) and path.stat().st_size == entry.size and _sha256(path) == entry.sha256


def _sha256(path: Path) -> str:
    status = path.stat()
    return _cached_sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _cached_sha256(path: Path, size: int, modified: int) -> str:
    """Hash a file once for each state of it; `size` and `modified` only tell the states apart."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        part.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> MpddError:
    reason = error.strerror or type(error).__name__
    return MpddError(f"Could not write {target} ({reason}). Set MPDD_DATA to a folder you can write to.")


def _download(entry: Upstream, root: Path, progress: bool) -> None:
    import pooch
    import requests

    target = root / entry.file
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(entry.url, f"sha256:{entry.sha256}", target.name, target.parent, progressbar=progress)
    except requests.RequestException as error:  # an OSError too, so it comes first
        raise MpddError(
            f"Could not download {entry.file} from {entry.url} ({_reason(error)}). Connect to the network, or set "
            "MPDD_MIRROR to a folder that has it."
        ) from error
    except OSError as error:
        raise _unwritable(target, error) from error
    except ValueError as error:  # how pooch reports another hash
        reported = re.search(r"got:? ([0-9a-f]{64})", str(error))
        next_step = "Try again; if it persists, the upstream or a proxy serves something else."
        raise _wrong_hash(entry.url, reported[1] if reported else "unknown", entry, next_step) from error


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"HTTP status {response.status_code}" if response is not None else f"no network: {type(error).__name__}"
