"""Annotations as three tables: one row an entity, one row a relation, one row an answer to a whole note."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mpdd.annotate.answers.types import AnnotatedNote

Rows = list[dict[str, Any]]
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "entities": ("id", "task", "label", "start", "end", "text", "confidence"),
    "relations": (
        "id", "task", "label", "head_start", "head_end", "head_text", "tail_start", "tail_end", "tail_text", "confidence",
    ),
    "answers": (
        "id", "task", "kind", "answer", "start", "end", "confidence", "unparseable", "ungrounded", "cut_characters",
    ),
}  # fmt: skip
INTEGERS = ("start", "end", "head_start", "head_end", "tail_start", "tail_end", "ungrounded", "cut_characters")


def tables(notes: Sequence[AnnotatedNote]) -> dict[str, Rows]:
    """The rows of each table. `answers` has a row for each note and task; several labels stand in a row each."""
    return {"entities": _entities(notes), "relations": _relations(notes), "answers": _answers(notes)}


def _entities(notes: Sequence[AnnotatedNote]) -> Rows:
    return [
        {
            "id": note.id, "task": answer.task, "label": e.label, "start": e.start, "end": e.end, "text": e.text,
            "confidence": e.confidence,
        }
        for note in notes
        for answer in note.answers
        for e in answer.entities
    ]  # fmt: skip


def _relations(notes: Sequence[AnnotatedNote]) -> Rows:
    return [
        {
            "id": note.id, "task": answer.task, "label": r.label,
            "head_start": r.head.start, "head_end": r.head.end, "head_text": r.head.text,
            "tail_start": r.tail.start, "tail_end": r.tail.end, "tail_text": r.tail.text, "confidence": r.confidence,
        }
        for note in notes
        for answer in note.answers
        for r in answer.relations
    ]  # fmt: skip


def _answers(notes: Sequence[AnnotatedNote]) -> Rows:
    return [
        {
            "id": note.id, "task": answer.task, "kind": answer.kind, "answer": words,
            "start": answer.span.start if answer.span else None, "end": answer.span.end if answer.span else None,
            "confidence": answer.confidence, "unparseable": answer.unparseable, "ungrounded": answer.ungrounded,
            "cut_characters": answer.cut_characters,
        }
        for note in notes
        for answer in note.answers
        for words in (answer.labels if answer.labels else (answer.answer,))
    ]  # fmt: skip
