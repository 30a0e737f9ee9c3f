"""A BioC collection as plain values, which the two writers of BioC share.

Format: https://bioc.sourceforge.net; Comeau et al. 2013, doi:10.1093/database/bat064. Offsets count characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpdd.annotate.answers.marks import Link, Mark, marked
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import Origin

KEY = "mpdd"  # BioC's collections name the file that explains their keys


def collection(notes: Sequence[AnnotatedNote], origin: Origin) -> dict[str, Any]:
    """The collection: a document with one passage for each note."""
    return {
        "source": origin.model_version,
        "date": origin.when.date().isoformat(),
        "key": KEY,
        "version": "1.0",
        "infons": {},
        "documents": [_document(note) for note in notes],
    }


def _document(note: AnnotatedNote) -> dict[str, Any]:
    items = marked(note)
    passage = {
        "offset": 0,
        "infons": {},
        "text": note.text,
        "sentences": [],
        "annotations": [_annotation(mark) for mark in items.marks],
        "relations": [_relation(link) for link in items.links],
    }
    infons = {answer.task: "; ".join(answer.categories) or answer.answer or "" for answer in note.answers}
    filled = {task: words for task, words in infons.items() if words}
    return {"id": note.id, "infons": filled, "passages": [passage], "annotations": [], "relations": []}


def _annotation(mark: Mark) -> dict[str, Any]:
    location = {"offset": mark.span.start, "length": mark.span.end - mark.span.start}
    infons = _infons(mark.label, mark.task, mark.confidence)
    return {"id": mark.id, "infons": infons, "text": mark.span.text, "locations": [location]}


def _relation(link: Link) -> dict[str, Any]:
    nodes = [{"refid": link.head.id, "role": "head"}, {"refid": link.tail.id, "role": "tail"}]
    return {"id": link.id, "infons": _infons(link.label, link.task, link.confidence), "nodes": nodes}


def _infons(label: str, task: str, confidence: float | None) -> dict[str, str]:
    """What BioC keeps as named texts."""
    sure = {} if confidence is None else {"confidence": f"{confidence:.4f}"}
    return {"type": label, **({"task": task} if task else {}), **sure}
