"""Label Studio pre-annotations: `tasks.json` with a prediction for each note, and the labeling interface to import them with.

Format: https://labelstud.io/guide/predictions. Label Studio counts offsets in UTF-16 units, as browsers do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from mpdd.annotate.answers.marks import Link, Mark, Marked, marked
from mpdd.annotate.answers.types import AnnotatedNote, TaskAnswer
from mpdd.annotate.writers.base import File, Origin, Writer, json_document

_WORDS = ("free", "extract", "summary")  # kinds of answers that are written as text


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the tasks, and the interface with every label that occurs."""
    marked_notes = [marked(note) for note in notes]
    yield "tasks.json", json_document([_task(*pair, origin) for pair in zip(notes, marked_notes, strict=True)])
    yield "labeling_config.xml", _interface(notes, marked_notes)


def _task(note: AnnotatedNote, items: Marked, origin: Origin) -> dict[str, Any]:
    before = list(accumulate((1 + (ord(char) > 0xFFFF) for char in note.text), initial=0))
    results = [_region(mark, before) for mark in items.marks]
    results += [_relation(link) for link in items.links]
    results += [result for answer in note.answers for result in _answer(answer)]
    prediction: dict[str, Any] = {"model_version": origin.model_version, "result": results}
    confidences = [answer.confidence for answer in note.answers if answer.confidence is not None]
    if confidences:
        prediction["score"] = min(confidences)
    return {"data": {"text": note.text, "note_id": note.id}, "predictions": [prediction]}


def _region(mark: Mark, before: Sequence[int]) -> dict[str, Any]:
    start, end = before[mark.span.start], before[mark.span.end]
    value = {"start": start, "end": end, "text": mark.span.text, "labels": [mark.label]}
    return _result("label", "labels", value, mark.confidence) | {"id": mark.id}


def _relation(link: Link) -> dict[str, Any]:
    ends = {"from_id": link.head.id, "to_id": link.tail.id}
    return {"type": "relation", "direction": "right", "labels": [link.label], **ends}


def _answer(answer: TaskAnswer) -> Iterator[dict[str, Any]]:
    """What is said of the note as a whole, under a control of the task's name."""
    if answer.kind in _WORDS and answer.answer:
        yield _result(answer.task, "textarea", {"text": [answer.answer]}, answer.confidence) | {"id": f"{answer.task}-1"}
    elif answer.categories:
        value = {"choices": list(answer.categories)}
        yield _result(answer.task, "choices", value, answer.confidence) | {"id": f"{answer.task}-1"}


def _result(control: str, kind: str, value: dict[str, Any], confidence: float | None) -> dict[str, Any]:
    sure = {} if confidence is None else {"score": confidence}
    return {"from_name": control, "to_name": "text", "type": kind, "value": value, **sure}


def _interface(notes: Sequence[AnnotatedNote], marked_notes: Sequence[Marked]) -> bytes:
    view = etree.Element("View")
    labels = dict.fromkeys(mark.label for each in marked_notes for mark in each.marks)
    if labels:
        _control(view, "Labels", "Label", "label", labels)
    relations = dict.fromkeys(link.label for each in marked_notes for link in each.links)
    if relations:
        listed = etree.SubElement(view, "Relations")
        for label in relations:
            etree.SubElement(listed, "Relation", value=label)
    etree.SubElement(view, "Text", name="text", value="$text")
    answers = [answer for note in notes for answer in note.answers if answer.kind not in ("entities", "relations")]
    for task in dict.fromkeys(answer.task for answer in answers):
        of_task = [answer for answer in answers if answer.task == task]
        if any(answer.kind in _WORDS for answer in of_task):
            etree.SubElement(view, "TextArea", name=task, toName="text", editable="true")
        else:
            chosen = dict.fromkeys(label for answer in of_task for label in answer.categories)
            several = "multiple" if any(answer.kind == "labels" for answer in of_task) else "single"
            _control(view, "Choices", "Choice", task, chosen).set("choice", several)
    return bytes(etree.tostring(view, pretty_print=True, encoding="utf-8"))


def _control(view: etree._Element, tag: str, item: str, name: str, values: dict[str, None]) -> etree._Element:
    control = etree.SubElement(view, tag, name=name, toName="text")
    for value in values:
        etree.SubElement(control, item, value=value)
    return control


WRITER = Writer("Label Studio pre-annotations", "", files, "options and labels that never occur (add them to the interface)")
