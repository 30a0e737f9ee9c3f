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
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as temporary:
            temporary.write(data)
            temporary.flush()
            os.fsync(temporary.fileno())
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        os.chmod(temporary.name, 0o644)
        os.replace(temporary.name, path)
    except OSError as error:
        Path(temporary.name).unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"Cannot write {path}", found=error.strerror, wanted="a writable folder with room")
