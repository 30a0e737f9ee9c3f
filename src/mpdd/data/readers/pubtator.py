"""Reads PubTator text: a title line, an abstract line, then mentions and document-level relations, tab separated.

Format: https://www.ncbi.nlm.nih.gov/research/pubtator3/tutorial; offsets count from the start of the title, the
abstract following after one character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpdd.data.arguments import relation_example, surface_forms
from mpdd.data.readers import offsets, standoff
from mpdd.data.readers.base import ENTITY, NOT_ON_CARD, RELATION, Notes, read_lines, usable
from mpdd.data.readers.offsets import Quote, Span
from mpdd.data.task import Entity, Example
from mpdd.data.windows import NER_CHARS, cut

_HEAD = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_NO_CONCEPT = ("", "-", "-1")
Line = tuple[int, str]


@dataclass(frozen=True)
class Mention:
    """A labelled span with the concept ids it stands for; `names` names each concept of a composite mention."""

    start: int
    end: int
    label: str
    concepts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """One abstract; `relations` are (type, concept id, concept id)."""

    id: str
    text: str
    mentions: tuple[Mention, ...]
    relations: tuple[tuple[str, str, str], ...]


def ner_examples(path: Path, labels: Mapping[str, str], notes: Notes, *, max_chars: int = NER_CHARS) -> list[Example]:
    """Return windows of each document with its mentions as entities; `labels` maps upstream types to the card's."""
    examples = []
    for document in read(path, notes):
        entities = [Entity(m.start, m.end, labels[m.label]) for m in document.mentions if m.label in labels]
        notes.count("mentions of other types", len(document.mentions) - len(entities))
        examples += cut(f"pmid:{document.id}", document.text, entities, notes, max_chars)
    return examples


def re_examples(
    path: Path, labels: Mapping[str, str], notes: Notes, *, separator: str = "|", directed: bool = True, corpus: str = "pmid:"
) -> list[Example]:
    """Return each document whole with its relations between concept ids; `labels` maps types to the card's.

    `corpus` starts the names of the examples.

    Where a relation is not directed, its head is the concept that the text mentions first.
    """
    examples = []
    for document in read(path, notes, separator=separator):
        relations = [(labels[kind], head, tail) for kind, head, tail in document.relations if kind in labels]
        notes.count("relations of other types", len(document.relations) - len(relations))
        for kind in (kind for kind, *_ in document.relations if kind not in labels):
            notes.lose((RELATION, kind), NOT_ON_CARD)
        name, forms = f"{corpus}{document.id}", argument_forms(document)
        examples.append(relation_example(name, name, document.text, relations, forms, notes, directed=directed))
    return examples


def documents(path: Path, notes: Notes) -> list[standoff.Document]:
    """Return the documents of a user's file with their mentions; its relations are between concepts, see `re_examples`."""
    converted = []
    for document in read(path, notes):
        mentions = tuple(standoff.Mention(m.label, ((m.start, m.end),)) for m in document.mentions)
        converted.append(standoff.Document(document.id, document.text, mentions, (), ()))
    return converted


def argument_forms(document: Document) -> dict[str, tuple[str, ...]]:
    """Return the surface forms of each concept in the order of their mentions; a composite's part names come last."""
    whole = [(key, document.text[m.start : m.end]) for m in document.mentions for key in m.concepts]
    parts = [pair for m in document.mentions for pair in zip(m.concepts, m.names, strict=False)]
    return surface_forms(whole + parts)


def read(path: Path, notes: Notes, *, separator: str = "|") -> list[Document]:
    """Return the documents, the first of each id; `separator` parts the ids of a composite mention.

    Offsets may be counted in any way that `offsets` knows. Bad lines (unknown document, words that stand nowhere in the
    text) and documents without an abstract line are noted.
    """
    documents: dict[str, Document] = {}
    for block in _blocks(path, notes):
        document = _document(path, block, separator, notes)
        if document is not None and document.id in documents:
            notes.count("repeated documents")
            for mention in document.mentions:
                notes.lose((ENTITY, mention.label), "repeated document")
            for kind, *_ in document.relations:
                notes.lose((RELATION, kind), "repeated document")
        elif document is not None:
            documents[document.id] = document
    return usable(path, list(documents.values()))


def is_title(line: str) -> bool:
    """Say whether a line is the title of a document."""
    head = _HEAD.fullmatch(line)
    return head is not None and head[2] == "t"


def _blocks(path: Path, notes: Notes) -> Iterator[list[Line]]:
    """Yield the numbered lines of each document; a title line starts one."""
    block: list[Line] = []
    for number, line in enumerate(read_lines(path), 1):
        if is_title(line):
            if block:
                yield block
            block = [(number, line)]
        elif block and line.strip():
            block.append((number, line))
        elif line.strip():
            notes.bad(f"{path} line {number}", "line before any title", wanted="a line 'id|t|title' first")
    if block:
        yield block


def _document(path: Path, block: list[Line], separator: str, notes: Notes) -> Document | None:
    (number, first), *rest = block
    title = _HEAD.fullmatch(first)
    abstract = _HEAD.fullmatch(rest[0][1]) if rest else None
    if title is None or abstract is None or abstract[2] != "a" or abstract[1] != title[1]:
        problem = "document without an abstract"
        notes.bad(f"{path} line {number}", problem, wanted="a line 'id|a|abstract' next")
        for cells in (line.split("\t") for _, line in rest):
            if len(cells) > 4 and cells[1].isdecimal() and cells[2].isdecimal():
                notes.lose((ENTITY, cells[4]), problem)
            elif len(cells) == 4:
                notes.lose((RELATION, cells[1]), problem)
        return None
    text = f"{title[3]} {abstract[3]}"
    annotated: list[tuple[str, list[str], Quote]] = []
    relations: list[tuple[str, str, str]] = []
    for number, line in rest[1:]:
        where, cells = f"{path} line {number}", line.split("\t")
        if cells[0] != title[1] or len(cells) < 4:
            notes.bad(where, "annotation cut short or of another document", wanted=f"id {title[1]} and 4 cells or more")
        elif cells[1].isdecimal() and cells[2].isdecimal():
            annotated.append((where, cells, Quote(((int(cells[1]), int(cells[2])),), cells[3])))
        else:
            relations.append((cells[1], cells[2].strip(), cells[3].strip()))
    places = offsets.locate(text, [quote for *_, quote in annotated], notes)
    placed = zip(annotated, places, strict=True)
    read = (_mention(where, cells, text, spans, separator, notes) for (where, cells, _), spans in placed)
    mentions = [mention for mention in read if mention is not None]
    return Document(title[1], text, tuple(sorted(mentions, key=lambda m: (m.start, m.end, m.label))), tuple(relations))


def _mention(
    where: str, cells: list[str], text: str, spans: tuple[Span, ...] | None, separator: str, notes: Notes
) -> Mention | None:
    """Return the mention, its span trimmed of outer whitespace; None, noted, without a type or a place in the text."""
    if len(cells) < 5 or spans is None:
        wanted, annotation = f"the text at {cells[1]} to {cells[2]}, and a type", (ENTITY, cells[4] if len(cells) > 4 else "")
        notes.bad(where, "mention that its offsets do not give", wanted=wanted, annotation=annotation)
        return None
    ((start, end),) = spans
    surface = text[start:end]
    trimmed = surface.strip()
    notes.count("mentions trimmed of whitespace", int(trimmed != surface))
    start += surface.index(trimmed)
    ids = [part.strip() for part in cells[5].split(separator)] if len(cells) > 5 else []
    names = [part.strip() for part in cells[6].split("|")] if len(cells) > 6 else []
    named = tuple(names) if len(names) == len(ids) > 1 else ()
    concepts = tuple(part for part in ids if part not in _NO_CONCEPT)
    return Mention(start, start + len(trimmed), cells[4], concepts, named if len(concepts) == len(ids) else ())
