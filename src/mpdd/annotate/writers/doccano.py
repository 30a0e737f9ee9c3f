"""doccano: JSON lines for projects of sequence labeling with relations, or of text classification.

Format: https://doccano.github.io/doccano. doccano counts characters; where its project counts grapheme clusters (an emoji of
several characters as one), switch that off before importing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mpdd.annotate.answers.marks import marked
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import File, Origin, Writer, json_lines


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the one file."""
    yield "", json_lines(_example(number, note) for number, note in enumerate(notes, start=1))


def _example(number: int, note: AnnotatedNote) -> dict[str, Any]:
    items = marked(note)
    keys = {mark.id: place for place, mark in enumerate(items.marks, start=1)}
    entities = [
        {"id": keys[mark.id], "label": mark.label, "start_offset": mark.span.start, "end_offset": mark.span.end}
        for mark in items.marks
    ]
    relations = [
        {"id": place, "type": link.label, "from_id": keys[link.head.id], "to_id": keys[link.tail.id]}
        for place, link in enumerate(items.links, start=1)
    ]
    labels = [label for answer in note.answers for label in answer.categories]
    example: dict[str, Any] = {"id": number, "text": note.text, "note_id": note.id}
    example |= {"entities": entities, "relations": relations, "Comments": []}
    return example | ({"label": labels} if labels else {})


WRITER = Writer("doccano", ".jsonl", files, "confidences, summaries, extracted and free answers")
