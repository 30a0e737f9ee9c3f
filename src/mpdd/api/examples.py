"""Labelled examples in memory (lists of dicts, pandas frames, Hugging Face datasets) as files that our readers read.

The files lie in a private temporary folder and are removed again: there is one reader, and it reads files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpdd.errors import InputError

Examples = Any  # a path, a list of dicts, a pandas frame, a datasets.Dataset; the last two are not imported here


@contextmanager
def as_files(examples: Mapping[str, Examples]) -> Iterator[dict[str, Path]]:
    """Give a file for each named set of examples; sets that are paths already stay as they are.

    The same examples have the same path, so that a run that was stopped can go on.
    """
    written = {name: _content(given) for name, given in examples.items() if not isinstance(given, str | Path)}
    folder = Path(tempfile.gettempdir()) / f"mpdd-{_digest(written)}"
    if written:
        _make_private(folder)
    try:
        paths = {name: Path(given).resolve() for name, given in examples.items() if isinstance(given, str | Path)}
        for name, (suffix, content) in written.items():
            paths[name] = folder / f"{name}{suffix}"
            paths[name].write_bytes(content)
        yield paths
    finally:
        if written:
            shutil.rmtree(folder, ignore_errors=True)


def _make_private(folder: Path) -> None:
    """Make a folder that no other user can read; `InputError` where another user has one of this name."""
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    is_own = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    if not (is_own and stat.S_ISDIR(about.st_mode) and (os.name == "nt" or not about.st_mode & 0o077)):
        raise InputError(
            "The temporary folder for examples is not private", found=str(folder), wanted="a folder of your own",
            next_step="Name another place with the variable TMPDIR.",
        )  # fmt: skip


def _digest(written: Mapping[str, tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, (_, content) in sorted(written.items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


def _content(given: Examples) -> tuple[str, bytes]:
    """The ending and the content of a file with these examples."""
    if hasattr(given, "to_parquet") and hasattr(given, "features"):  # a datasets.Dataset: keeps the names of its classes
        return ".parquet", _parquet(given)
    if hasattr(given, "to_json") and hasattr(given, "columns"):  # a pandas frame
        text: str = given.to_json(orient="records", lines=True, force_ascii=False, double_precision=15)
        return ".jsonl", text.encode()
    if isinstance(given, Iterable) and not isinstance(given, Mapping | bytes):
        return ".jsonl", _json_lines(given)
    raise InputError(
        "Examples cannot be read", found=type(given).__name__,
        wanted="a path, a list of dicts, a pandas DataFrame or a datasets.Dataset",
    )  # fmt: skip


def _json_lines(rows: Iterable[Any]) -> bytes:
    lines = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InputError(f"Example {number} cannot be read", found=type(row).__name__, wanted="a dict with text and labels")
        try:
            lines.append(json.dumps(dict(row), ensure_ascii=False, default=_plain) + "\n")
        except (TypeError, ValueError) as error:
            raise InputError(f"Example {number} cannot be read", found="values that JSON cannot hold") from error
    return "".join(lines).encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as lists and numbers, whatever else has them as such."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(type(value).__name__)


def _parquet(dataset: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="mpdd-") as folder:
        path = Path(folder) / "dataset.parquet"
        dataset.to_parquet(str(path))
        return path.read_bytes()
