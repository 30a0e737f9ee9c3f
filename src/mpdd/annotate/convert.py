"""Writes annotated notes in another tool's format: one file, or a new folder of them, that appears whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers import writer
from mpdd.annotate.writers.base import Origin
from mpdd.errors import InputError
from mpdd.files import new_folder, require_new, write_atomically


def write(notes: Sequence[AnnotatedNote], output: Path, to: str, origin: Origin | None = None) -> None:
    """Write the notes to `output` in the format `to`.

    Raise `InputError` for an unknown format, for notes that it cannot hold, and where `output` is there already.
    """
    chosen = writer(to)
    require_free(output, to)
    files = chosen.files(notes, origin or Origin())
    if chosen.suffix:
        for _, content in files:
            write_atomically(output, content)
        return
    with new_folder(output) as folder:
        for name, content in files:
            (folder / name).write_bytes(content)


def require_free(output: Path, to: str) -> None:
    """Raise `InputError` where something is at `output` already, or the format is unknown."""
    if not writer(to).suffix:
        require_new(output)
    elif output.exists():
        found = "a folder" if output.is_dir() else "a file"
        raise InputError(f"{output} is there already", found=found, wanted="the name of a new file")
