"""Reads SQuAD JSON: articles in paragraphs, each with questions whose answers are pieces of the paragraph.

Format: Rajpurkar et al. 2016, arXiv:1606.05250. A question keeps its first answer, without the whitespace around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpdd.data.readers import json_document
from mpdd.data.readers.base import Notes, Record, build, complete, usable
from mpdd.data.types.spans import occurrences


@dataclass(frozen=True)
class Question:
    """A question to a paragraph; `start` and `end` are the offsets of its answer in `context`, end exclusive.

    `document` is the paragraph's id, or else its place in the file; `number` counts its questions from 1.
    """

    document: str
    number: int
    text: str
    context: str
    start: int
    end: int


def read(path: Path, notes: Notes) -> list[Question]:
    """Return the questions that have an answer, in the file's order.

    An answer that its offset does not give is taken where it stands nearest to that, and counted; one that the
    paragraph does not hold is noted as bad. Raise `InputError` if the file is not JSON or has no usable question.
    """
    records = json_document.read(path, _questions(path, notes), {"question": str, "answers": list}, notes)
    return usable(path, [found for found in build(records, lambda record: _question(record, notes), notes) if found])


def _questions(path: Path, notes: Notes) -> list[tuple[str, Any]]:
    content = json_document.load(path)
    complete(Record(str(path), content), {"data": list}, Notes(strict=True))
    articles = json_document.read(path, _inside("", content["data"]), {"paragraphs": list}, notes)
    entries = [entry for article in articles for entry in _inside(f"{article['key']}/", article["paragraphs"])]
    paragraphs = json_document.read(path, entries, {"context": str, "qas": list}, notes)
    return [(key, _with_paragraph(entry, p)) for p in paragraphs for key, entry in _inside(f"{p['key']}/", p["qas"])]


def _inside(above: str, items: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{above}{number}", item) for number, item in enumerate(items, 1))


def _with_paragraph(entry: Any, paragraph: Record) -> Any:
    document = str(paragraph.values.get("document_id", paragraph["key"]))
    return {**entry, "document": document, "context": paragraph["context"]} if isinstance(entry, dict) else entry


def _question(record: Record, notes: Notes) -> Question | None:
    context, answer = record["context"], record["answers"][0]
    text, start = answer["text"], answer["answer_start"]
    if not text.strip() or text not in context:
        notes.bad(record.where, "answer that its paragraph does not hold", wanted="a piece of the paragraph")
        return None
    if start < 0 or not context.startswith(text, start):
        notes.count("answers that stand elsewhere than at their offset")
        start = min(occurrences(context, text), key=lambda place: abs(place - start))
    start += len(text) - len(text.lstrip())
    number = int(record["key"].split("/")[-1])
    return Question(record["document"], number, record.text("question"), context, start, start + len(text.strip()))
