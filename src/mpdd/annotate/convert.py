"""Writes annotated notes in another tool's format: one file, or a new folder of them, that appears whole; and reads back what
`mpdd predict` wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mpdd.annotate.answers import file as answers_file
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers import writer
from mpdd.annotate.writers.base import Origin
from mpdd.errors import InputError
from mpdd.files import new_folder, require_new, write_atomically


def write(
    notes: Sequence[AnnotatedNote], output: Path, to: str, origin: Origin | None = None, conditions: Collection[str] = ()
) -> None:
    """Write the notes to `output` in the format `to`; in FHIR, entities with a label out of `conditions` as Conditions, too.

    Raise `InputError` for an unknown format, for notes that it cannot hold, and where `output` is there already.
    """
    chosen = writer(to, conditions)
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
        kind = "a folder" if output.is_dir() else "a file"
        raise InputError(f"{output} is there already", found=kind, wanted="the name of a new file")


def write_notes(
    notes: Iterable[AnnotatedNote], path: str | Path, to: str, *, model_version: str = "", conditions: Collection[str] = ()
) -> None:
    """Write notes in a format (`mpdd convert --list` names them) to a new file or folder.

    With `to="fhir"`, entities with a label out of `conditions` become unconfirmed Conditions beside their Observations.
    Raise `InputError` for an unknown format, for notes that it cannot hold, and where there is something already.
    """
    write(list(notes), Path(path), to, Origin(model_version) if model_version else None, conditions)


def read_answers(answers: str | Path, *notes: str | Path) -> list[AnnotatedNote]:
    """Read a file that `mpdd predict --output` wrote, beside the notes that it was asked about.

    Raise `InputError` for anything else, and for answers that are to other notes.
    """
    from mpdd.annotate.note_files import read_inputs

    lines = answers_file.read_answers(Path(answers))
    return answers_file.annotated(lines, read_inputs([Path(path) for path in notes]).notes)
