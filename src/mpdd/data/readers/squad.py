"""Reads SQuAD JSON: articles in paragraphs, each with questions whose answers are pieces of the paragraph.

Format: Rajpurkar et al. 2016, arXiv:1606.05250; with unanswerable questions, arXiv:1806.03822. A question keeps its
first answer, without the whitespace around it. What emrQA does otherwise (Pampari et al. 2018, arXiv:1809.00732) is read
too: a context as a list of lines, paraphrases of a question (the first is kept), a place as line (from 1) and token (from
0), and an empty answer, for which the line with the evidence stands.
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpdd.data.passages import ELSEWHERE, nearest
from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, Record, build, complete, usable
from mpdd.data.readers.offsets import Starts
from mpdd.data.types.spans import occurrences

_PLACE = re.compile(r"\d+/\d+")


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

    @property
    def is_numbered(self) -> bool:
        """Whether the paragraph has no id, and is named by its place."""
        return _PLACE.fullmatch(self.document) is not None


def read(path: Path, notes: Notes) -> list[Question]:
    """Return the questions that have an answer, in the file's order.

    Unanswerable questions are left out and counted. Offsets may be counted in any way that `offsets` knows. An answer that
    its offset does not give is taken where it stands nearest to that, and counted; one that the paragraph does not hold is
    noted as bad. Raise `InputError` if the file is
    not JSON or has no usable question.
    """
    records = json_files.read_entries(path, _questions(path, notes), {"question": str, "answers": list, "document": str}, notes)
    starts = _starts(records)
    questions = build(records, lambda record: _question(record, starts, notes), notes)
    return usable(path, [question for question in questions if question])


def _questions(path: Path, notes: Notes) -> list[tuple[str, Any]]:
    content = json_files.load(path)
    complete(Record(str(path), content), {"data": list}, Notes(strict=True))
    articles = json_files.read_entries(path, _inside("", content["data"]), {"paragraphs": list}, notes)
    entries = [entry for article in articles for entry in _inside(f"{article['key']}/", article["paragraphs"])]
    joined = [(key, _joined(entry)) for key, entry in entries]
    paragraphs = json_files.read_entries(path, joined, {"context": str, "qas": list}, notes)
    asked = ((key, _with_paragraph(entry, p)) for p in paragraphs for key, entry in _inside(f"{p['key']}/", p["qas"]))
    return [(key, _first_wording(entry, notes)) for key, entry in asked if not _is_unanswerable(entry, notes)]


def _inside(above: str, items: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{above}{number}", item) for number, item in enumerate(items, 1))


def _joined(entry: Any) -> Any:
    """Return a paragraph with its context as one text."""
    context = entry.get("context") if isinstance(entry, dict) else None
    if not isinstance(context, list):
        return entry
    lines = [str(line) for line in context]
    return {**entry, "context": ("" if any(line.endswith("\n") for line in lines) else "\n").join(lines)}


def _with_paragraph(entry: Any, paragraph: Record) -> Any:
    names = [paragraph.values.get(name) for name in ("document_id", "note_id")]
    document = next((str(name) for name in names if name not in (None, "")), paragraph["key"])
    return {**entry, "document": document, "context": paragraph["context"]} if isinstance(entry, dict) else entry


def _is_unanswerable(entry: Any, notes: Notes) -> bool:
    unanswerable = isinstance(entry, dict) and (entry.get("is_impossible") is True or entry.get("answers") == [])
    notes.count("unanswerable questions", int(unanswerable))
    return unanswerable


def _first_wording(entry: Any, notes: Notes) -> Any:
    asked = entry.get("question") if isinstance(entry, dict) else None
    if not isinstance(asked, list) or not asked:
        return entry
    notes.count("paraphrases of a question left out", len(asked) - 1)
    return {**entry, "question": asked[0]}


def _starts(records: Iterable[Record]) -> dict[str, Starts]:
    """Return, for each context, how its answers' offsets are counted."""
    starts: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for record in records:
        answer = record["answers"][0] if record["answers"] else None
        if isinstance(answer, dict) and isinstance(answer.get("answer_start"), int) and isinstance(answer.get("text"), str):
            starts[record["context"]].append((answer["answer_start"], answer["text"]))
    return {context: Starts.of(context, pairs) for context, pairs in starts.items()}


def _question(record: Record, starts: Mapping[str, Starts], notes: Notes) -> Question | None:
    context, answer = record["context"], record["answers"][0]
    text = answer["text"] or answer.get("evidence", "")
    given = _offset(context, answer["answer_start"])
    if context in starts and not isinstance(answer["answer_start"], list):
        given = starts[context].character(given, notes)
    start = _nearest(context, text, given) if isinstance(text, str) and text.strip() else None
    if start is None:
        notes.bad(record.where, "answer that its paragraph does not hold", wanted="a piece of the paragraph")
        return None
    notes.count(ELSEWHERE, int(start != given))
    start += len(text) - len(text.lstrip())
    number = int(record["key"].split("/")[-1])
    return Question(record["document"], number, record.text("question"), context, start, start + len(text.strip()))


def _nearest(context: str, text: str, start: int) -> int | None:
    """Return where the context holds the text nearest to `start`, if need be in another case."""
    exact = nearest(context, text, start)
    if exact is not None:
        return exact
    return min(occurrences(context, text, ignore_case=True), key=lambda place: abs(place - start), default=None)


def _offset(context: str, start: Any) -> int:
    """Return an offset in characters of one, or of [line, token]; a token that is not there is its line's beginning."""
    if not isinstance(start, list):
        return operator.index(start)
    line, token = start
    lines = context.split("\n")
    if not 0 < line <= len(lines):
        return 0
    words = [match.start() for match in re.finditer(r"\S+", lines[line - 1])]
    return sum(len(above) + 1 for above in lines[: line - 1]) + (words[token] if 0 <= token < len(words) else 0)
