"""Reads brat standoff: each `.ann` with the `.txt` beside it, in a folder, a zip or a tar.

Format: https://brat.nlplab.org/standoff.html. A parser of our own, because that of the package `bioc` loses the order
of fragments and repeated event roles, quotes the text in its errors, and reads folders only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

from mpdd.data.arguments import Span, wording_example
from mpdd.data.readers import container
from mpdd.data.readers.base import Notes, usable
from mpdd.data.task import Entity, Example
from mpdd.data.windows import NER_CHARS, cut, windows

WHOLE = sys.maxsize
_KINDS = "TERAMN*#"
_PLACE = re.compile(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)")
Line = tuple[str, str]


@dataclass(frozen=True)
class Mention:
    """A labelled span; its `pieces` are (start, end) in text order, with more than whitespace between them."""

    label: str
    pieces: tuple[tuple[int, int], ...]

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


def ner_examples(
    path: Path,
    labels: Mapping[str, str],
    notes: Notes,
    *,
    corpus: str,
    document: Callable[[str], str],
    max_chars: int = NER_CHARS,
) -> list[Example]:
    """Return windows of each text with its mentions as entities; `labels` maps upstream types to the card's.

    `corpus` starts the example ids; `document` gives the document id for a file's stem. A discontinuous mention
    cannot be an entity: it counts as `lost` in the window where it starts, and is noted.
    """
    examples = []
    for found in read(path, notes):
        known = [mention for mention in found.mentions if mention.label in labels]
        notes.count("mentions of other types", len(found.mentions) - len(known))
        entities = [Entity(m.start, m.end, labels[m.label]) for m in known if len(m.pieces) == 1]
        apart = [m.start for m in known if len(m.pieces) > 1]
        notes.count("discontinuous mentions", len(apart))
        notes.count("repeated mentions", len(entities) - len(set(entities)))
        for example in cut(f"{corpus}:{found.stem}", found.text, entities, notes, max_chars):
            lost = sum(example.offset <= start < example.offset + len(example.text) for start in apart)
            examples.append(replace(example, document=document(found.stem), lost=example.lost + lost))
    return examples


def re_examples(
    path: Path,
    labels: Mapping[str, str],
    notes: Notes,
    *,
    corpus: str,
    document: Callable[[str], str],
    arguments: Collection[str] | None = None,
    max_chars: int = WHOLE,
) -> list[Example]:
    """Return windows of each text with its relations; mentions of the same wording are one argument.

    `labels` maps the types of relations and groups to the card's; `arguments` are the mention types that may take
    part (all, if None). A group becomes pairs of neighbours in the text. A relation over a window's edge is `lost` in
    the window where it starts, and noted.
    """
    examples = []
    for found in read(path, notes):
        relations = list(_relations(found, labels, arguments, notes))
        for start, end in windows(found.text, max_chars):
            here = [(label, a, b) for label, a, b in relations if start <= min(a.start, b.start) < end]
            whole = [(label, a, b) for label, a, b in here if max(a.end, b.end) <= end]
            notes.count("relations across a window's edge", len(here) - len(whole))
            notes.count("discontinuous arguments", sum(len(m.pieces) > 1 for m in {m for _, *ab in whole for m in ab}))
            pairs = [(label, a.form(found.text, start), b.form(found.text, start)) for label, a, b in whole]
            name = f"{corpus}:{found.stem}@{start}"
            example = wording_example(name, document(found.stem), found.text[start:end], pairs, notes)
            examples.append(replace(example, offset=start, lost=example.lost + len(here) - len(whole)))
    return examples


def _relations(found: Document, labels: Mapping[str, str], arguments: Collection[str] | None, notes: Notes) -> Iterator[Related]:
    """Yield the relations, and the neighbours of each group, whose types are asked for."""
    groups = [(kind, *pair) for kind, members in found.groups for pair in pairwise(_in_order(members))]
    for kind, first, second in (*found.relations, *groups):
        if kind not in labels:
            notes.count("relations of other types")
        elif arguments is not None and not {first.label, second.label} <= set(arguments):
            notes.count("relations with a mention of another type")
        else:
            yield labels[kind], first, second


def _in_order(mentions: Collection[Mention]) -> list[Mention]:
    return sorted(mentions, key=lambda mention: (mention.pieces, mention.label))


def read(path: Path, notes: Notes) -> list[Document]:
    """Return the documents in the order of their names; a text without annotation file is no document.

    Offsets are those of the files: a carriage return counts as a character (and becomes a space), as does a byte
    order mark. What cannot be read is noted as bad. Raise `InputError` as `container.read` does, or if nothing is left.
    """
    files = container.read(path, (".ann", ".txt"))
    names = [name.removesuffix(".ann") for name in files if name.endswith(".ann")]
    documents = (_document(path, name, files, notes) for name in names)
    return usable(path, [document for document in documents if document is not None])


def _document(path: Path, name: str, files: Mapping[str, bytes], notes: Notes) -> Document | None:
    where = f"{path}/{name}"
    if f"{name}.txt" not in files:
        notes.bad(f"{where}.ann", "annotations without a text", wanted="a .txt file of the same name beside it")
        return None
    text, annotations = (_decode(where + suffix, files[name + suffix], notes) for suffix in (".txt", ".ann"))
    if text is None or annotations is None:
        return None
    if not text.strip():
        notes.bad(f"{where}.txt", "text that is empty", wanted="the text that the annotations are about")
        return None
    return _annotated(f"{where}.ann", name, text, annotations.split("\n"), notes)


def _decode(where: str, content: bytes, notes: Notes) -> str | None:
    """Return a file's text, as long as it is there in characters."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        notes.bad(f"{where} line {line}", "file that is not UTF-8 text", wanted="UTF-8")
        return None
    text = f" {text[1:]}" if text.startswith("\ufeff") else text
    return text.replace("\r\n", " \n").replace("\r", "\n")


def _annotated(where: str, name: str, text: str, lines: list[str], notes: Notes) -> Document:
    kinds: dict[str, list[Line]] = {kind: [] for kind in _KINDS}
    for number, line in enumerate(lines, 1):
        if line.strip() and line.lstrip()[0] in kinds:
            kinds[line.lstrip()[0]].append((f"{where} line {number}", line.strip()))
        elif line.strip():
            notes.bad(f"{where} line {number}", "line of an unknown kind", wanted=f"one that starts with {' '.join(_KINDS)}")
    mentions = dict(_mentions(kinds["T"], text, notes))
    triggers = dict(_triggers(kinds["E"], mentions, notes))
    known = mentions | triggers
    relations = [*_pairs(kinds["R"], known, notes), *_roles(kinds["E"], known, notes)]
    groups = tuple(_groups(kinds["*"], known, notes))
    return Document(name, text, tuple(_in_order(mentions.values())), tuple(relations), groups)


def _mentions(lines: list[Line], text: str, notes: Notes) -> Iterator[tuple[str, Mention]]:
    seen: set[str] = set()
    for where, line in lines:
        key, place, wording = (*line.split("\t", 2), "", "")[:3]
        match = _PLACE.fullmatch(place)
        if key in seen:
            notes.bad(where, "mention with an id that another has", wanted="an id of its own")
            continue
        seen.add(key)
        if match is None:
            notes.bad(where, "mention cut short or malformed", wanted="an id, 'type start end' and the text, tab separated")
            continue
        spans = [(int(start), int(end)) for start, end in (part.split() for part in match[2].split(";"))]
        given = " ".join(text[start:end] for start, end in spans)
        if not given.strip() or given.split() != wording.split() or max(end for _, end in spans) > len(text):
            notes.bad(where, "mention that its offsets do not give", wanted=f"the text at {match[2]}")
            continue
        notes.count("mentions trimmed of whitespace", int(any(text[s:e] != text[s:e].strip() for s, e in spans)))
        yield key, Mention(match[1], _pieces(text, spans))


def _pieces(text: str, spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the spans in text order without outer whitespace, joined where they overlap or only whitespace parts them."""
    pieces: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        surface = text[start:end]
        start, end = start + len(surface) - len(surface.lstrip()), start + len(surface.rstrip())
        if pieces and start < end and not text[pieces[-1][1] : start].strip():
            pieces[-1] = (pieces[-1][0], max(end, pieces[-1][1]))
        elif start < end:
            pieces.append((start, end))
    return tuple(pieces)


def _triggers(lines: list[Line], mentions: Mapping[str, Mention], notes: Notes) -> Iterator[tuple[str, Mention]]:
    for where, line in lines:
        key, words = _words(line)
        trigger = words[0].partition(":")[2] if words else ""
        if trigger in mentions:
            yield key, mentions[trigger]
        else:
            notes.bad(where, "event without a known trigger", wanted="'type:id' with the id of a mention")


def _roles(lines: list[Line], known: Mapping[str, Mention], notes: Notes) -> Iterator[Related]:
    for where, line in lines:
        key, words = _words(line)
        for word in words[1:] if key in known else ():
            role, _, argument = word.partition(":")
            if argument in known:
                yield role, known[key], known[argument]
            else:
                notes.bad(where, "event with an unknown argument", wanted="'role:id' with the id of a mention or event")


def _pairs(lines: list[Line], known: Mapping[str, Mention], notes: Notes) -> Iterator[Related]:
    for where, line in lines:
        kind, *arguments = _words(line)[1] or [""]
        ends = [known[key] for _, _, key in (word.partition(":") for word in arguments) if key in known]
        if len(ends) == len(arguments) == 2:
            yield kind, ends[0], ends[1]
        else:
            notes.bad(where, "relation without two known arguments", wanted="'type Arg1:id Arg2:id' with ids of mentions")


def _groups(lines: list[Line], known: Mapping[str, Mention], notes: Notes) -> Iterator[tuple[str, tuple[Mention, ...]]]:
    for where, line in lines:
        kind, *keys = _words(line)[1] or [""]
        if keys and all(key in known for key in keys):
            yield kind, tuple(known[key] for key in keys)
        else:
            notes.bad(where, "group with an unknown member", wanted="'* type id id' with ids of mentions")


def _words(line: str) -> tuple[str, list[str]]:
    """Return a line's id and the words of its second cell."""
    key, second = (*line.split("\t"), "")[:2]
    return key, second.split()
