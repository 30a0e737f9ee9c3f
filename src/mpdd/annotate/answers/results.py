"""Reads the lines of `mpdd predict` into typed answers, and writes them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpdd.annotate.answers.types import Entity, Relation, Span, TaskAnswer
from mpdd.errors import InputError, in_words

Result = Mapping[str, Any]
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


def answer_of(result: Result, where: str = "an answer") -> TaskAnswer:
    """The typed answer of one line. Raise `InputError`, naming `where`, for values that `mpdd predict` does not write."""
    try:
        return TaskAnswer(
            task=_text(result["task"]),
            **_body(result),
            confidence=_share(result.get("confidence")),
            unparseable=bool(result.get("unparseable", False)),
            ungrounded=int(result.get("ungrounded", 0)),
            cut_characters=int(result.get("cut_characters", 0)),
        )
    except _MALFORMED as error:
        raise InputError(
            f"{where} is not an answer of mpdd", found=in_words(error), wanted="a line as mpdd predict writes it"
        ) from error


def to_result(answer: TaskAnswer) -> dict[str, Any]:
    """The values of a line of `mpdd predict` (without the note's id): the inverse of `answer_of`."""
    return {
        "task": answer.task,
        **_from_body(answer),
        "confidence": answer.confidence,
        "unparseable": answer.unparseable,
        "ungrounded": answer.ungrounded,
        "cut_characters": answer.cut_characters,
    }


def _body(result: Result) -> dict[str, Any]:
    if "entities" in result:
        return {"kind": "entities", "entities": tuple(map(_entity, result["entities"]))}
    if "relations" in result:
        return {"kind": "relations", "relations": tuple(map(_relation, result["relations"]))}
    if "labels" in result:
        return {"kind": "labels", "labels": tuple(map(_text, result["labels"]))}
    if "summary" in result:
        return {"kind": "summary", "answer": _text(result["summary"])}
    given = result["answer"]
    if isinstance(given, Mapping):
        span = None if given["start"] is None else _span(given)
        return {"kind": "extract", "answer": _text(given["text"]), "span": span}
    return {"kind": "free" if result.get("free") else "answer", "answer": None if given is None else _text(given)}


def _from_body(answer: TaskAnswer) -> dict[str, Any]:
    if answer.kind == "entities":
        return {"entities": [_from_entity(entity) for entity in answer.entities]}
    if answer.kind == "relations":
        return {"relations": [_from_relation(relation) for relation in answer.relations]}
    if answer.kind == "labels":
        return {"labels": list(answer.labels)}
    if answer.kind == "summary":
        return {"summary": answer.answer}
    if answer.kind == "extract":
        place = {"start": None, "end": None, "text": answer.answer} if answer.span is None else _from_span(answer.span)
        return {"answer": place}
    return {"answer": answer.answer} | ({"free": True} if answer.kind == "free" else {})


def _entity(values: Result) -> Entity:
    span = _span(values)
    return Entity(_text(values["label"]), span.start, span.end, span.text, _share(values.get("confidence")))


def _relation(values: Result) -> Relation:
    head, tail = _span(values["head"]), _span(values["tail"])
    return Relation(_text(values["label"]), head, tail, _share(values.get("confidence")))


def _span(values: Result) -> Span:
    start, end = int(values["start"]), int(values["end"])
    if not 0 <= start <= end:
        raise ValueError("offsets")
    return Span(start, end, _text(values["text"]))


def _from_span(span: Span) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "text": span.text}


def _from_entity(entity: Entity) -> dict[str, Any]:
    return {"label": entity.label, **_from_span(entity.span), "confidence": entity.confidence}


def _from_relation(relation: Relation) -> dict[str, Any]:
    ends = {"head": _from_span(relation.head), "tail": _from_span(relation.tail)}
    return {"label": relation.label, **ends, "confidence": relation.confidence}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _share(value: Any) -> float | None:
    share = None if value is None else float(value)
    if share is not None and not 0 <= share <= 1:
        raise ValueError("a share")
    return share
