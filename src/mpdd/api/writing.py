"""Annotated notes in other tools' formats, and back from what `mpdd predict` wrote."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mpdd.annotate.answers import file as answers_file
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.convert import write
from mpdd.annotate.writers.base import Origin


def write_notes(notes: Iterable[AnnotatedNote], path: str | Path, to: str, *, model_version: str = "") -> None:
    """Write notes in a format (`mpdd convert --list` names them) to a new file or folder.

    Raise `InputError` for an unknown format, for notes that it cannot hold, and where there is something already.
    """
    write(list(notes), Path(path), to, Origin(model_version) if model_version else None)


def read_answers(answers: str | Path, *notes: str | Path) -> list[AnnotatedNote]:
    """Read a file that `mpdd predict --output` wrote, beside the notes that it was asked about.

    Raise `InputError` for anything else, and for answers that are to other notes.
    """
    from mpdd.annotate.note_files import read_inputs

    lines = answers_file.read_answers(Path(answers))
    return answers_file.annotated(lines, read_inputs([Path(path) for path in notes]).notes)
