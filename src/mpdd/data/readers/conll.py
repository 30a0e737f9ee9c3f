"""Reads CoNLL-style text: a token, a tab and its BIO tag on each line, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpdd.data.readers.base import Notes, read_lines, usable
from mpdd.data.task import Answer, Entity, Example

_TAG = re.compile(r"O|[BI]-\S+")


@dataclass(frozen=True)
class Sentence:
    """A sentence, its tokens joined by single spaces, with (start, end, type) of what its tags mark."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def ner_examples(path: Path, labels: Mapping[str, str], notes: Notes, *, corpus: str) -> list[Example]:
    """Return each sentence as an example and as a document of its own, called `corpus` and its number in the file."""
    examples = []
    for number, sentence in enumerate(read(path, notes), 1):
        entities = {Entity(start, end, labels[kind]) for start, end, kind in sentence.spans if kind in labels}
        notes.count("mentions of other types", len(sentence.spans) - len(entities))
        name = f"{corpus}/{number}"
        examples.append(Example(name, name, sentence.text, Answer(entities=tuple(sorted(entities)))))
    return examples


def read(path: Path, notes: Notes) -> list[Sentence]:
    """Return the sentences; one with a malformed line is noted as bad and left out.

    A mention starts at `B-`, and at an `I-` that follows no tag of its type.
    """
    sentences = []
    for block in _blocks(path):
        rows = [(where, *line.split("\t")) for where, line in block]
        bad = next((row[0] for row in rows if len(row) != 3 or not row[1].strip() or not _TAG.fullmatch(row[2])), None)
        if bad is None:
            sentences.append(_sentence([(row[1].strip(), row[2]) for row in rows]))
        else:
            notes.bad(bad, "line that is no token with a tag", wanted="a token, a tab, and O, B-type or I-type")
    return usable(path, sentences)


def _blocks(path: Path) -> Iterator[list[tuple[str, str]]]:
    block: list[tuple[str, str]] = []
    for number, line in enumerate((*read_lines(path), ""), 1):
        if line.strip():
            block.append((f"{path} line {number}", line))
        elif block:
            yield block
            block = []


def _sentence(rows: list[tuple[str, str]]) -> Sentence:
    spans: list[tuple[int, int, str]] = []
    start, before = 0, "O"
    for token, tag in rows:
        end = start + len(token)
        if tag[0] == "I" and before[1:] == tag[1:]:
            spans[-1] = (spans[-1][0], end, tag[2:])
        elif tag != "O":
            spans.append((start, end, tag[2:]))
        start, before = end + 1, tag
    return Sentence(" ".join(token for token, _ in rows), tuple(spans))
