"""`mpdd convert`: answers of `mpdd predict` in the formats of annotation tools, tables and health records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpdd.cli.review import Sort, is_uncertain_first
from mpdd.errors import InputError, counted


def convert(
    answers: Annotated[
        Path | None, typer.Argument(metavar="ANSWERS", help="What mpdd predict --output wrote.", show_default=False)
    ] = None,
    notes: Annotated[
        list[Path] | None, typer.Argument(metavar="NOTES...", help="The notes that were asked.", show_default=False)
    ] = None,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="The format; --list names them.")] = "",
    output: Annotated[Path | None, typer.Option("--output", help="The new file or folder.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="What a table of notes calls a column, as for mpdd predict."),
    ] = None,
    model_version: Annotated[str, typer.Option("--model-version", help="What to call the model, for formats that say it.")] = "",
    condition: Annotated[
        list[str] | None,
        typer.Option("--condition", metavar="LABEL", help="With --to fhir: entities of this label are Conditions, too."),
    ] = None,
    sort: Sort = "notes",
    listed: Annotated[bool, typer.Option("--list", help="List the formats.")] = False,
) -> None:
    """Write answers in another tool's format: brat, Label Studio, Prodigy, doccano, spaCy, BioC, CSV, Parquet, OMOP, FHIR, HTML.

    The notes are given again because answers hold only the words of their entities. What a format does not hold is in
    docs/formats.md.
    """
    if listed:
        _print_formats()
        return
    if answers is None or not notes or not to or output is None:
        raise InputError(
            "Something is missing", wanted="mpdd convert ANSWERS NOTES... --to FORMAT --output OUT",
            next_step="`mpdd convert --list` names the formats.",
        )  # fmt: skip
    _convert(answers, notes, to, output, column or [], model_version, is_uncertain_first(sort), condition or [])


def _convert(
    answers: Path, notes: list[Path], to: str, output: Path, column: list[str], model_version: str, uncertain_first: bool,
    conditions: list[str],
) -> None:  # fmt: skip
    from mpdd.annotate.answers import file as answers_file
    from mpdd.annotate.answers.review import certainty_of
    from mpdd.annotate.convert import require_free, write
    from mpdd.annotate.note_files import columns_of, read_inputs
    from mpdd.annotate.writers import writer
    from mpdd.annotate.writers.base import Origin

    require_free(output, to)
    writer(to, conditions)  # refuses what does not fit before anything is read
    read = answers_file.read_answers(answers)
    given = read_inputs(notes, columns_of(column)).notes
    answered = answers_file.annotated(read, given)
    if uncertain_first:
        answered = sorted(answered, key=certainty_of)
    write(answered, output, to, Origin(model_version) if model_version else None, conditions)
    for label in set(conditions) - {entity.label for note in answered for entity in note.entities}:
        typer.echo(f"Note: no entity has the label {label!r}, so that it gave no Condition.", err=True)
    without = len(given) - len(answered)
    left_out = f" ({counted(without, 'note')} without answers left out)" if without else ""
    typer.echo(f"{counted(len(answered), 'note')}: {output}{left_out}")


def _print_formats() -> None:
    from mpdd.annotate.writers import formats, writer
    from mpdd.cli.listing import print_grid

    print_grid(
        ("format", "what", "output", "does not hold"),
        [(name, (w := writer(name)).title, w.suffix or "folder", w.lost) for name in formats()],
    )
