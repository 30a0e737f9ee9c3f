"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mpdd.errors import InputError


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary file in the same folder and rename it, so that nobody ever sees half a file.

    Raises `InputError` when the folder cannot be written, and then leaves everything as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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


def cannot_write(path: Path, error: OSError) -> InputError:
    """What to raise where the system refuses to write."""
    return InputError(f"Cannot write {path}", found=error.strerror, wanted="a writable folder with room")
