"""Entities and relations of a note under ids, as annotation tools want them: a relation names two annotated pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpdd.annotate.answers.types import AnnotatedNote, Relation, Span

ARGUMENT = "Argument"  # the label of a piece that only relations name


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotated piece of a note with its id, `T1` on; `task` is empty for one that only relations name."""

    id: str
    label: str
    span: Span
    task: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A relation with its id, `R1` on, between two marks."""

    id: str
    label: str
    head: Mark
    tail: Mark
    task: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """All marks and links of one note."""

    marks: tuple[Mark, ...]
    links: tuple[Link, ...]


def marked(note: AnnotatedNote) -> Marked:
    """The marks of a note in the order of its text, and its links.

    Of entities with the same place and label, which two tasks may give, the first is kept. A relation's end is the first
    entity at the same place; where there is none, a mark of the label `ARGUMENT`.
    """
    marks: dict[tuple[int, int, str], Mark] = {}
    for answer in note.answers:
        for entity in answer.entities:
            key = (entity.start, entity.end, entity.label)
            marks.setdefault(key, Mark("", entity.label, entity.span, answer.task, entity.confidence))
    places = {(start, end) for start, end, _ in marks}
    for span in (span for relation in note.relations for span in (relation.head, relation.tail)):
        if (span.start, span.end) not in places:
            marks.setdefault((span.start, span.end, ARGUMENT), Mark("", ARGUMENT, span))
    ordered = sorted(marks.values(), key=lambda mark: (mark.span.start, -mark.span.end))
    named = tuple(
        Mark(f"T{number}", mark.label, mark.span, mark.task, mark.confidence) for number, mark in enumerate(ordered, start=1)
    )
    return Marked(named, _links(note, named))


def _links(note: AnnotatedNote, marks: Sequence[Mark]) -> tuple[Link, ...]:
    at: dict[tuple[int, int], Mark] = {}
    for mark in marks:
        at.setdefault((mark.span.start, mark.span.end), mark)
    pairs: list[tuple[str, Relation]] = [(answer.task, relation) for answer in note.answers for relation in answer.relations]
    return tuple(
        Link(
            f"R{number}",
            relation.label,
            at[relation.head.start, relation.head.end],
            at[relation.tail.start, relation.tail.end],
            task,
            relation.confidence,
        )  # fmt: skip
        for number, (task, relation) in enumerate(pairs, start=1)
    )
