"""Prodigy: JSON lines with spans, tokens and relations, as input of its manual recipes; nothing is marked as accepted.

Format: https://prodi.gy/docs/api-interfaces. Tokens are cut so that every span is a run of whole tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mpdd.annotate.answers.marks import Link, Mark, marked
from mpdd.annotate.answers.tokens import Token, run_of, tokens
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import File, Origin, Writer, json_lines


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the one file."""
    yield "", json_lines(_example(note, origin) for note in notes)


def _example(note: AnnotatedNote, origin: Origin) -> dict[str, Any]:
    items = marked(note)
    note_tokens = tokens(note.text, [(mark.span.start, mark.span.end) for mark in items.marks])
    spans = {mark.id: _span(mark, note_tokens) for mark in items.marks}
    example: dict[str, Any] = {"text": note.text, "meta": {"id": note.id, "model": origin.model_version}}
    example["tokens"] = [_token(note.text, number, token) for number, token in enumerate(note_tokens)]
    example["spans"] = list(spans.values())
    if items.links:
        example["relations"] = [_relation(link, spans) for link in items.links]
    chosen = [label for answer in note.answers for label in answer.categories]
    if chosen:
        example["options"] = [{"id": label, "text": label} for label in dict.fromkeys(chosen)]
        example["accept"] = list(dict.fromkeys(chosen))
    return example


def _token(text: str, number: int, token: Token) -> dict[str, Any]:
    place = {"start": token.start, "end": token.end, "id": number, "ws": token.space}
    return {"text": text[token.start : token.end], **place}


def _span(mark: Mark, note_tokens: Sequence[Token]) -> dict[str, Any]:
    first, last = run_of(note_tokens, mark.span.start, mark.span.end)
    sure = {} if mark.confidence is None else {"score": mark.confidence}
    place = {"start": mark.span.start, "end": mark.span.end, "token_start": first, "token_end": last}
    return {**place, "label": mark.label, "text": mark.span.text, **sure}


def _relation(link: Link, spans: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Prodigy names the last token of each end, and repeats the spans."""
    head, child = spans[link.head.id], spans[link.tail.id]
    ends = {"head": head["token_end"], "child": child["token_end"], "head_span": head, "child_span": child}
    return {**ends, "label": link.label}


WRITER = Writer("Prodigy", ".jsonl", files, "summaries, extracted and free answers; confidences of relations and labels")
