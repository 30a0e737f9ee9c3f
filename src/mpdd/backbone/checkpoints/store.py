"""The folder that keeps fetched and converted backbones: `MPDD_BACKBONES`, else `mpdd-backbones` in the platform's cache folder.

Each is a folder of its own with safetensors files, tokenizer and `provenance.json`, which lists all other files with their sizes.
Folders are made under a temporary name and renamed when complete.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mpdd.errors import InputError
from mpdd.files import new_folder, remove_folder, write_atomically

PROVENANCE = "provenance.json"
_STALE = 24 * 3600  # seconds after which a temporary folder is one of a process that was killed


def root() -> Path:
    """Return the folder of all kept backbones; it may not exist yet."""
    if chosen := os.environ.get("MPDD_BACKBONES"):
        return Path(os.path.expanduser(chosen))
    import platformdirs

    return Path(platformdirs.user_cache_dir("mpdd-backbones"))


def find(name: str) -> Path | None:
    """Return the folder of a backbone that was fetched or converted before, or None.

    Raises `InputError` for a folder with files missing or of another size than when it was made.
    """
    folder = root() / name
    if not folder.is_dir():
        return None
    sizes = provenance(folder).get("files", {})
    wrong = [file for file, size in sizes.items() if not (folder / file).is_file() or (folder / file).stat().st_size != size]
    if wrong or not sizes:
        raise InputError(
            f"The folder {folder} is damaged",
            found=f"{', '.join(wrong)} missing or of another size" if wrong else f"no {PROVENANCE}",
            next_step="Delete the folder and fetch the backbone again.",
        )
    return folder


def provenance(folder: Path) -> Mapping[str, Any]:
    """Return what `provenance.json` in a folder says, or nothing where there is none that can be read."""
    try:
        values = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def keep(name: str, make: Callable[[Path], Mapping[str, Any]]) -> Path:
    """Make the folder of a backbone and return it; another process may have been faster.

    `make` fills the folder that it gets and returns what else `provenance.json` should say. Raises `InputError` where nothing
    can be written, and whatever `make` raises; then no folder is left.
    """
    folder = root() / name
    remove_stale()
    try:
        with new_folder(folder) as new:
            values = make(new)
            sizes = {str(path.relative_to(new)): path.stat().st_size for path in sorted(new.rglob("*")) if path.is_file()}
            text = json.dumps({**values, "files": sizes}, indent=1, ensure_ascii=False)
            write_atomically(new / PROVENANCE, f"{text}\n".encode())
    except InputError:
        if find(name) is None:
            raise
    return folder


def require_space(needed: int) -> None:
    """Raise `InputError` where the disk of the kept backbones has less than `needed` free bytes."""
    place = root()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            f"There is too little space in {root()}",
            found=f"{free / 1e9:.1f} GB free",
            wanted=f"{needed / 1e9:.1f} GB",
            next_step="Set MPDD_BACKBONES to a folder on another disk.",
        )


def remove_stale() -> None:
    """Remove temporary folders of processes that were killed more than a day ago."""
    with suppress(OSError):
        for path in root().glob(".*"):
            if path.is_dir() and time.time() - path.stat().st_mtime > _STALE:
                remove_folder(path)
