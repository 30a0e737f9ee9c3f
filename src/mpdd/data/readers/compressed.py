"""Unpacks gzip files, and refuses what unpacks to far more than any text does (a zip bomb)."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO
from pathlib import Path

from mpdd.errors import InputError, in_words

SUFFIX = ".gz"
ALWAYS_TAKEN = 64 * 2**20  # bytes that anything may unpack to
MOST_TIMES = 100  # beyond that, so many times the size of the file; texts unpack to 3 to 30 times
_CHUNK = 2**20


def require_modest(path: Path, packed: int, unpacked: int) -> None:
    """Raise `InputError` where a file of `packed` bytes unpacks to `unpacked` bytes, which is more than texts do."""
    if unpacked > max(ALWAYS_TAKEN, MOST_TIMES * packed):
        raise InputError(
            f"{path} unpacks to far more than texts do",
            found=f"more than {unpacked / 2**20:.0f} MiB from {packed / 2**20:.1f} MiB",
            wanted=f"at most {MOST_TIMES} times its size, or {ALWAYS_TAKEN // 2**20} MiB",
            next_step="If it is what you mean to read, unpack it first.",
        )


def unpacked(path: Path, content: bytes) -> bytes:
    """Return what a gzip file holds; raise `InputError` where it is damaged or unpacks to far too much."""
    parts: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=BytesIO(content)) as file:
            while part := file.read(_CHUNK):
                parts.append(part)
                size += len(part)
                require_modest(path, len(content), size)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be unpacked", found=in_words(error), wanted="a whole gzip file", next_step="Copy it again."
        ) from None
    return b"".join(parts)
