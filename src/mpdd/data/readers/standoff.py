"""Texts with annotated spans, whatever file they came from, and the examples that entity and relation tasks make of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath

from mpdd.data.arguments import Span, wording_example
from mpdd.data.readers.base import DISCONTINUOUS, ENTITY, NOT_ON_CARD, RELATION, REPEATED, Notes
from mpdd.data.task import Entity, Example
from mpdd.data.windows import ACROSS, NER_CHARS, cut, windows

WHOLE = sys.maxsize


@dataclass(frozen=True)
class Mention:
    """A labelled span; its `pieces` are (start, end) in text order, with more than whitespace between them.

    `attributes` are what else its annotation says of it, for example `absent`.
    """

    label: str
    pieces: tuple[tuple[int, int], ...]
    attributes: tuple[str, ...] = ()

    @property
    def start(self) -> int:
        """Where the first piece starts."""
        return self.pieces[0][0]

    @property
    def end(self) -> int:
        """Where the last piece ends."""
        return self.pieces[-1][1]

    def form(self, text: str, offset: int = 0) -> Span:
        """Return the span, counted from `offset`, and its wording: the pieces joined by spaces."""
        wording = " ".join(text[start:end] for start, end in self.pieces)
        return self.start - offset, self.end - offset, wording


Related = tuple[str, Mention, Mention]


@dataclass(frozen=True)
class Document:
    """One text with its annotations; `name` is its path without suffix.

    `relations` are (type, first, second) of the relations, and (role, trigger, argument) of the events; `groups` are
    (type, members) of the `*` lines.
    """

    name: str
    text: str
    mentions: tuple[Mention, ...]
    relations: tuple[Related, ...]
    groups: tuple[tuple[str, tuple[Mention, ...]], ...]

    @property
    def stem(self) -> str:
        """The name without folders."""
        return PurePosixPath(self.name).name


def keys(documents: Sequence[Document]) -> list[str]:
    """Return a name for each document: the stems where they tell the documents apart, else the whole names."""
    stems = [document.stem for document in documents]
    return stems if len(set(stems)) == len(stems) else [document.name for document in documents]


def ner_examples(
    documents: Sequence[Document],
    labels: Mapping[str, str],
    notes: Notes,
    *,
    corpus: str,
    document: Callable[[str], str],
    max_chars: int = NER_CHARS,
) -> list[Example]:
    """Return windows of each text with its mentions as entities; `labels` maps upstream types to the card's.

    A type may be narrowed to the mentions with an attribute, as in `problem:absent`; the plain type has the others.

    `corpus` starts the example ids; `document` gives the document id for a document's key (see `keys`). A discontinuous
    mention cannot be an entity: it counts as `lost` in the window where it starts, and is noted.
    """
    examples = []
    for key, source in zip(keys(documents), documents, strict=True):
        labelled = list(_labelled(source.mentions, labels, notes))
        entities = [Entity(m.start, m.end, label) for m, label in labelled if len(m.pieces) == 1]
        apart = [(m.start, label) for m, label in labelled if len(m.pieces) > 1]
        notes.count("discontinuous mentions", len(apart))
        _lose(notes, ENTITY, (label for _, label in apart), DISCONTINUOUS)
        repeated = Counter(entities) - Counter(set(entities))
        notes.count("repeated mentions", repeated.total())
        _lose(notes, ENTITY, (entity.label for entity in repeated.elements()), REPEATED)
        for example in cut(f"{corpus}:{key}", source.text, entities, notes, max_chars):
            lost = sum(example.offset <= start < example.offset + len(example.text) for start, _ in apart)
            examples.append(replace(example, document=document(key), lost=example.lost + lost))
    return examples


def _labelled(mentions: Iterable[Mention], labels: Mapping[str, str], notes: Notes) -> Iterator[tuple[Mention, str]]:
    """Yield the mentions whose types are asked for, with the card's labels."""
    others = []
    for mention in mentions:
        label = _label(mention.label, mention, labels)
        if label is None:
            others.append(mention.label)
        else:
            yield mention, label
    notes.count("mentions of other types", len(others))
    _lose(notes, ENTITY, others, NOT_ON_CARD)


def _lose(notes: Notes, kind: str, labels: Iterable[str], reason: str) -> None:
    for label, number in Counter(labels).items():
        notes.lose((kind, label), reason, number)


def re_examples(
    documents: Sequence[Document],
    labels: Mapping[str, str],
    notes: Notes,
    *,
    corpus: str,
    document: Callable[[str], str],
    arguments: Collection[str] | None = None,
    max_chars: int = WHOLE,
    in_text: bool = False,
) -> list[Example]:
    """Return windows of each text with its relations; mentions of the same wording are one argument.

    `labels` maps the types of relations and groups to the card's; a type may be narrowed to the relations whose second
    mention has an attribute, as in `Status:past`. `arguments` are the mention types that may take part (all, if None).
    A group becomes pairs of neighbours in the text. A relation over a window's edge is `lost` in the window where it
    starts, and noted. With `in_text`, windows keep the two ends of relations together where they can, and a relation with
    a discontinuous argument, whose wording the text does not hold, is lost too.
    """
    examples = []
    for key, source in zip(keys(documents), documents, strict=True):
        relations = list(_relations(source, labels, arguments, notes))
        split = [pair for pair in relations if in_text and not _is_whole(pair)]
        notes.count("relations with a discontinuous argument", len(split))
        _lose(notes, RELATION, (label for label, *_ in split), DISCONTINUOUS)
        together = [(min(a.start, b.start), max(a.end, b.end)) for _, a, b in relations] if in_text else []
        for start, end in windows(source.text, max_chars, together):
            here = [pair for pair in relations if start <= min(pair[1].start, pair[2].start) < end]
            usable = [pair for pair in here if not in_text or _is_whole(pair)]
            gold = [pair for pair in usable if max(pair[1].end, pair[2].end) <= end]
            across = [pair for pair in usable if max(pair[1].end, pair[2].end) > end]
            notes.count("relations across a window's edge", len(across))
            _lose(notes, RELATION, (label for label, *_ in across), ACROSS)
            notes.count("discontinuous arguments", sum(len(m.pieces) > 1 for m in {m for _, *ab in gold for m in ab}))
            pairs = [(label, a.form(source.text, start), b.form(source.text, start)) for label, a, b in gold]
            name = f"{corpus}:{key}@{start}"
            example = wording_example(name, document(key), source.text[start:end], pairs, notes)
            examples.append(replace(example, offset=start, lost=example.lost + len(here) - len(gold)))
    return examples


def _is_whole(pair: Related) -> bool:
    return len(pair[1].pieces) == len(pair[2].pieces) == 1


def _relations(source: Document, labels: Mapping[str, str], arguments: Collection[str] | None, notes: Notes) -> Iterator[Related]:
    """Yield the relations, and the neighbours of each group, whose types are asked for."""
    groups = [(kind, *pair) for kind, members in source.groups for pair in pairwise(in_order(members))]
    for kind, first, second in (*source.relations, *groups):
        label = _label(kind, second, labels)
        if label is None:
            notes.count("relations of other types")
            notes.lose((RELATION, kind), NOT_ON_CARD)
        elif arguments is not None and not {first.label, second.label} <= set(arguments):
            notes.count("relations with a mention of another type")
        else:
            yield label, first, second


def _label(kind: str, mention: Mention, labels: Mapping[str, str]) -> str | None:
    """Return the card's label for a type with one of the mention's attributes, else for the type alone."""
    names = (*(f"{kind}:{attribute}" for attribute in mention.attributes), kind)
    return next((labels[name] for name in names if name in labels), None)


def in_order(mentions: Iterable[Mention]) -> list[Mention]:
    """Return the mentions in text order."""
    return sorted(mentions, key=lambda mention: (mention.pieces, mention.label))


def pieces(text: str, spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the spans in text order without outer whitespace, joined where they overlap or only whitespace parts them."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        surface = text[start:end]
        start, end = start + len(surface) - len(surface.lstrip()), start + len(surface.rstrip())
        if joined and start < end and not text[joined[-1][1] : start].strip():
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif start < end:
            joined.append((start, end))
    return tuple(joined)


def decode(where: str, content: bytes, notes: Notes) -> str | None:
    """Return a file's text, as long as it is there in characters: a carriage return becomes a space or a line's end.

    A file that is not UTF-8 is noted as bad, and None is returned.
    """
    text = as_it_stands(where, content, notes)
    return None if text is None else without_returns(text)


def as_it_stands(where: str, content: bytes, notes: Notes) -> str | None:
    """Return a file's text with its carriage returns and byte order mark; errors as those of `decode`."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        notes.bad(f"{where} line {line}", "file that is not UTF-8 text", wanted="UTF-8")
        return None


def without_returns(text: str) -> str:
    """Return a text of the same length whose carriage returns and byte order mark are spaces or ends of lines."""
    text = f" {text[1:]}" if text.startswith("\ufeff") else text
    return text.replace("\r\n", " \n").replace("\r", "\n")
