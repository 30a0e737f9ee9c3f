"""OMOP CDM v5.4: rows of the table NOTE_NLP, one an entity, as CSV.

Columns: https://ohdsi.github.io/CommonDataModel/cdm54.html#note_nlp. Concepts are 0 (no matching concept): mapping terms to a
vocabulary is a step of its own. `term_exists` stays empty, since nothing here reads negation.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from mpdd.annotate.answers.types import AnnotatedNote, Entity
from mpdd.annotate.writers.base import File, Origin, Writer
from mpdd.errors import InputError

COLUMNS = (
    "note_nlp_id", "note_id", "section_concept_id", "snippet", "offset", "lexical_variant", "note_nlp_concept_id",
    "note_nlp_source_concept_id", "nlp_system", "nlp_date", "nlp_datetime", "term_exists", "term_temporal", "term_modifiers",
)  # fmt: skip
_SNIPPET = _VARIANT = _SYSTEM = 250  # the longest text of these columns, in characters
_MODIFIERS = 2000


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the one table. Raise `InputError` for a note whose id is no whole number, as OMOP's `note_id` is."""
    entities = [(note, answer.task, entity) for note in notes for answer in note.answers for entity in answer.entities]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(number, *item, origin) for number, item in enumerate(entities, start=1))
    yield "", buffer.getvalue().encode()


def _row(number: int, note: AnnotatedNote, task: str, entity: Entity, origin: Origin) -> dict[str, Any]:
    return {
        "note_nlp_id": number,
        "note_id": _note_id(note),
        "section_concept_id": 0,
        "snippet": _snippet(note.text, entity),
        "offset": entity.start,
        "lexical_variant": entity.text[:_VARIANT],
        "note_nlp_concept_id": 0,
        "note_nlp_source_concept_id": 0,
        "nlp_system": origin.model_version[:_SYSTEM],
        "nlp_date": origin.when.date().isoformat(),
        "nlp_datetime": origin.when.strftime("%Y-%m-%d %H:%M:%S"),
        "term_modifiers": _modifiers(task, entity),
    }


def _note_id(note: AnnotatedNote) -> int:
    if not (note.id.isascii() and note.id.isdigit()):
        raise InputError(
            "OMOP's note_id is a whole number", found="a note with another kind of id", wanted="ids of the table NOTE",
            next_step="Name the column when you predict: --column id=note_id.",
        )  # fmt: skip
    return int(note.id)


def _snippet(text: str, entity: Entity) -> str:
    """The entity with as much of the text on both sides as the column holds."""
    room = max(0, _SNIPPET - (entity.end - entity.start)) // 2
    return text[max(0, entity.start - room) : entity.end + room][:_SNIPPET]


def _modifiers(task: str, entity: Entity) -> str:
    sure = "" if entity.confidence is None else f",confidence={entity.confidence:.4f}"
    return f"label={entity.label},task={task}{sure}"[:_MODIFIERS]


WRITER = Writer("OMOP CDM v5.4 NOTE_NLP", ".csv", files, "relations and answers to whole notes; concepts are 0")
