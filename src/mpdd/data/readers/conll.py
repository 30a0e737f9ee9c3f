"""Reads CoNLL-style text: a token and its tag on each line, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpdd.data.readers.base import ENTITY, Notes, read_lines, usable
from mpdd.data.readers.standoff import Document, Mention
from mpdd.data.task import Answer, Entity, Example

SUFFIXES = (".conll", ".iob", ".iob2", ".bio", ".iobes", ".bilou")
_TAG = re.compile(r"O|[BI]-\S+")
_DOCUMENT_START = "-DOCSTART-"
Row = tuple[str, str]


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
    """Return the sentences of a file with a tab between token and tag; one with a malformed line is noted as bad.

    A mention starts at `B-`, and at an `I-` that follows no tag of its type.
    """
    sentences = []
    for block in _blocks(path):
        rows = [(where, *line.split("\t")) for where, line in block]
        bad = next((row[0] for row in rows if len(row) != 3 or not row[1].strip() or not _TAG.fullmatch(row[2])), None)
        if bad is None:
            sentences.append(Sentence(*join([row[1].strip() for row in rows], [row[2] for row in rows])))
        else:
            notes.bad(bad, "line that is no token with a tag", wanted="a token, a tab, and O, B-type or I-type")
    return usable(path, sentences)


def documents(path: Path, notes: Notes) -> list[Document]:
    """Return each sentence of a user's file as a document: the first column is the token, the last one the tag.

    Columns are parted by tabs, or else by spaces; tags may be IOB, IOBES or BILOU. Comments (`# ` and no tag) and
    document starts are passed over. A sentence with a malformed line is noted as bad.
    """
    sentences = []
    for number, block in enumerate(_blocks(path), 1):
        rows = [(where, row) for where, line in block if (row := token_and_tag(line)) != ("", "O")]
        bad = next((where for where, row in rows if row is None), None)
        if bad is not None:
            problem = "line that is no token with a tag"
            notes.bad(bad, problem, wanted="a token first, and O, B-type or the like last")
            for tag in (row[1] for _, row in rows if row and row[1][:2] in ("B-", "S-", "U-")):
                notes.lose((ENTITY, tag[2:]), problem)
        elif rows:
            text, spans = join(*zip(*(row for _, row in rows if row), strict=True))
            mentions = tuple(Mention(kind, ((start, end),)) for start, end, kind in spans)
            sentences.append(Document(f"{path.stem}:{number}", text, mentions, (), ()))
    return usable(path, sentences)


def token_and_tag(line: str) -> Row | None:
    """Return the first and the last column; ("", "O") for a comment or a document start, None for a malformed line."""
    cells = [cell.strip() for cell in line.split("\t")] if "\t" in line.strip() else line.split()
    if cells[0] == _DOCUMENT_START:
        return "", "O"
    if len(cells) > 1 and cells[0] and TAG.fullmatch(cells[-1]):
        return cells[0], cells[-1]
    return ("", "O") if line.startswith("#") else None


def _blocks(path: Path) -> Iterator[list[tuple[str, str]]]:
    block: list[tuple[str, str]] = []
    for number, line in enumerate((*read_lines(path), ""), 1):
        if line.strip():
            block.append((f"{path} line {number}", line))
        elif block:
            yield block
            block = []


TAG = re.compile(r"O|[BIESLUM]-\S.*")
_PARTS = re.compile(r"([BIESLUM])-(.+)")
_STARTS, _ENDS = "BSU", "ESLU"
Span = tuple[int, int, str]


def join(tokens: Iterable[str], tags: Iterable[str]) -> tuple[str, tuple[Span, ...]]:
    """Return the tokens joined by single spaces, and (start, end, type) in characters of what their tags mark.

    A span starts at B, S and U, and at any other letter that follows no open span of its type; E, S, L and U end one.
    """
    words = list(tokens)
    spans: list[Span] = []
    start, open_type = 0, ""
    for word, tag in zip(words, tags, strict=True):
        end = start + len(word)
        letter, kind = _letter_and_type(tag)
        if kind and kind == open_type and letter not in _STARTS:
            spans[-1] = (spans[-1][0], end, kind)
        elif kind:
            spans.append((start, end, kind))
        open_type = "" if letter in _ENDS else kind
        start = end + 1
    return " ".join(words), tuple(spans)


def is_tagged(tags: Sequence[object]) -> bool:
    """Say whether these are tags, at least one of which opens or goes on with a span."""
    return all(isinstance(tag, str) and TAG.fullmatch(tag) for tag in tags) and any(tag != "O" for tag in tags)


def _letter_and_type(tag: str) -> tuple[str, str]:
    """Return a tag's letter and type; O has no type."""
    if tag in ("O", ""):
        return "O", ""
    parts = _PARTS.fullmatch(tag)
    return (parts[1], parts[2]) if parts else ("I", tag)
