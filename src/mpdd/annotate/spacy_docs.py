"""Puts the answers to a note into a spaCy Doc: entities, span groups, categories and relations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mpdd.annotate.answers.types import AnnotatedNote, Entity, TaskAnswer

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

RELATIONS = "mpdd_relations"  # extension attributes: of a Doc, its relations as dicts
ANSWERS = "mpdd_answers"  # of a Doc, all answers as `mpdd predict` writes them
CONFIDENCE = "mpdd_confidence"  # of a Span with a label


def register() -> None:
    """Make the extension attributes known to spaCy; again is no error."""
    from spacy.tokens import Doc, Span

    for name in (RELATIONS, ANSWERS):
        if not Doc.has_extension(name):
            Doc.set_extension(name, default=())
    if not Span.has_extension(CONFIDENCE):
        Span.set_extension(CONFIDENCE, getter=_confidence)


def _confidence(span: Span) -> float | None:
    """The confidence of a span with this place and label; spaCy itself keeps one value for all labels of a place."""
    confidence: float | None = span.doc.user_data.get(CONFIDENCE, {}).get(_key(span))
    return confidence


def _key(span: Span) -> str:
    return f"{span.start_char}:{span.end_char}:{span.label_}"


def fill(doc: Doc, note: AnnotatedNote, *, entities: bool = True, labels: Mapping[str, Sequence[str]] | None = None) -> Doc:
    """Fill `doc.spans[task]`, `doc.cats`, `doc._.mpdd_relations` and `doc._.mpdd_answers`; the note is the Doc's text.

    With `entities` also `doc.ents`, which cannot overlap: of overlapping ones, those that are there already included, the
    longest is kept. An entity that cuts a token is widened to whole tokens; `mpdd_answers` has its exact offsets. Those of
    the `labels` of a task that were not chosen are categories of 0.
    """
    from spacy.util import filter_spans

    register()
    all_spans: list[Span] = []
    for answer in note.answers:
        spans = _spans(doc, answer.entities)
        if answer.kind == "entities":
            doc.spans[answer.task] = [*doc.spans.get(answer.task, ()), *spans]
            all_spans += spans
    if entities and all_spans:
        doc.ents = tuple(filter_spans([*all_spans, *doc.ents]))
    doc.cats.update(_categories(note.answers, labels or {}))
    relations = [relation for answer in note.answers for relation in answer.to_dict().get("relations", ())]
    doc._.set(RELATIONS, [*doc._.get(RELATIONS), *relations])
    doc._.set(ANSWERS, [*doc._.get(ANSWERS), *(answer.to_dict() for answer in note.answers)])
    return doc


def _spans(doc: Doc, entities: Iterable[Entity]) -> list[Span]:
    spans = []
    for entity in entities:
        span = doc.char_span(entity.start, entity.end, label=entity.label, alignment_mode="expand")
        if span is not None:
            doc.user_data.setdefault(CONFIDENCE, {})[_key(span)] = entity.confidence
            spans.append(span)
    return spans


def _categories(answers: Sequence[TaskAnswer], labels: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Confidences by label (1 where it is not known); with several such tasks, by `task:label`."""
    choosing = [answer for answer in answers if answer.kind in ("labels", "answer")]
    confidences: dict[str, float] = {}
    for answer in choosing:
        sure = 1.0 if answer.confidence is None else answer.confidence
        of_task = dict.fromkeys(labels.get(answer.task, ()), 0.0) | dict.fromkeys(answer.categories, sure)
        confidences |= {f"{answer.task}:{label}" if len(choosing) > 1 else label: p for label, p in of_task.items()}
    return confidences


def doc_of(vocab: Any, note: AnnotatedNote) -> Doc:
    """A new Doc of a note, with tokens cut so that every entity is a run of whole tokens."""
    from spacy.tokens import Doc

    from mpdd.annotate.answers.tokens import tokens

    note_tokens = tokens(note.text, [(entity.start, entity.end) for entity in note.entities])
    words = [note.text[token.start : token.end] for token in note_tokens]
    doc = Doc(vocab, words=words, spaces=[token.space for token in note_tokens])
    doc.user_data["id"] = note.id
    return fill(doc, note)
