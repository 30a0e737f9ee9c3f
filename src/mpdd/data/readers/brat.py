"""Reads brat standoff: each `.ann` with the `.txt` beside it, in a folder, a zip or a tar.

Format: https://brat.nlplab.org/standoff.html. A parser of our own, because that of the package `bioc` loses the order
of fragments and repeated event roles, quotes the text in its errors, and reads folders only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mpdd.data.readers import apart, offsets
from mpdd.data.readers.base import ENTITY, RELATION, Annotation, Notes, usable
from mpdd.data.readers.offsets import Quote
from mpdd.data.readers.standoff import (
    Document,
    Mention,
    Related,
    as_it_stands,
    decode,
    in_order,
    pieces,
    without_returns,
)

_KINDS = "TERAMN*#"
_PLACE = re.compile(r"(\S+) (\d{1,9} \d{1,9}(?:;\d{1,9} \d{1,9})*)")
_ROLES = {"head": -1, "from": -1, "source": -1, "subject": -1, "subj": -1, "tail": 1, "to": 1, "target": 1, "object": 1, "obj": 1}
Line = tuple[str, str]
Argument = TypeVar("Argument")


def read(
    path: Path, notes: Notes, *, relations: bool = True, nearest: bool = True, others: Sequence[Path] = ()
) -> list[Document]:
    """Return the documents in the order of their names; a text without annotation file is no document, and counted.

    The text of an annotation file lies beside it, or else is the only one of its name in `path`, or in the `others` if
    `path` has no texts. The documents of the `others` are not returned.

    Offsets may be counted in any way that `offsets` knows; where none fits, a mention is taken where its words stand
    nearest to its offset, unless `nearest` is false. Carriage returns and a byte order mark become spaces. What cannot be
    read is noted as bad; relations, events and groups are passed over if `relations` is false.

    Raise `InputError` as `container.read` does, if nothing is left, if several annotation files are about one text, or if
    texts and annotations lie apart, saying where.
    """
    files = apart.Files.of(path, others)
    if not files.ending(apart.ANNOTATIONS) and apart.serves_others(path, others):
        return []
    pairs = apart.pairs(path, files.contents)
    notes.count("texts without annotations", len(set(files.ending(apart.TEXT)).difference(pairs.values())))
    reading = Reading(notes, relations, nearest)
    documents = (_document(path, name, text, files.contents, reading) for name, text in pairs.items())
    return usable(path, [document for document in documents if document is not None])


@dataclass(frozen=True)
class Reading:
    """The options of one reading: where problems are noted, whether relations count, whether the nearest place is taken."""

    notes: Notes
    relations: bool
    nearest: bool


def _document(path: Path, name: str, text_name: str | None, files: Mapping[str, bytes], reading: Reading) -> Document | None:
    """Return a document; None, with all its annotations lost, where its text or its annotations cannot be read."""
    notes, before = reading.notes, reading.notes.counts.copy()
    document = _read_document(path, name, text_name, files, reading)
    if document is None:
        problem = next(iter(notes.counts - before))
        for annotation in _named(files[name].decode("utf-8", "replace"), reading.relations):
            notes.lose(annotation, problem.removeprefix("skipped: "))
    return document


def _named(content: str, relations: bool) -> Iterator[Annotation]:
    """Yield the kind and label of the annotations in a file, whether or not they are well-formed."""
    for line in content.split("\n"):
        kind, (_, words) = line.lstrip("\ufeff \t")[:1], _words(line.strip())
        if kind == "T":
            match = _PLACE.fullmatch(" ".join(words))
            yield ENTITY, match[1] if match else ""
        elif relations and kind == "R":
            yield RELATION, words[0] if len(words) == 3 else ""
        elif relations and kind == "E":
            yield from ((RELATION, word.partition(":")[0].rstrip("0123456789")) for word in words[1:])
        elif relations and kind == "*":
            yield from ((RELATION, words[0]) for _ in words[2:])


def _read_document(path: Path, name: str, text_name: str | None, files: Mapping[str, bytes], reading: Reading) -> Document | None:
    notes = reading.notes
    where = f"{path}/{name}"
    if text_name is None:
        notes.bad(where, "annotations without a text", wanted="a .txt file of the same name beside it")
        return None
    text_where = str(path / text_name)
    text = as_it_stands(text_where, files[text_name], notes)
    annotations = decode(where, files[name], notes)
    if text is None or annotations is None:
        return None
    if not text.strip():
        notes.bad(text_where, "text that is empty", wanted="the text that the annotations are about")
        return None
    return _annotated(where, name.removesuffix(apart.ANNOTATIONS), text, annotations.split("\n"), reading)


def _annotated(where: str, name: str, text: str, lines: list[str], reading: Reading) -> Document:
    notes = reading.notes
    kinds: dict[str, list[Line]] = {kind: [] for kind in _KINDS}
    for number, line in enumerate(lines, 1):
        if line.strip() and line.lstrip()[0] in kinds:
            kinds[line.lstrip()[0]].append((f"{where} line {number}", line.strip()))
        elif line.strip():
            notes.bad(f"{where} line {number}", "line of an unknown kind", wanted=f"one that starts with {' '.join(_KINDS)}")
    mentions = _mentions(kinds["T"], text, notes, reading.nearest)
    text = without_returns(text)
    triggers = dict(_triggers(kinds["E"], mentions, notes if reading.relations else Notes()))
    for key, values in _attributes([*kinds["A"], *kinds["M"]], triggers).items():
        if key in mentions:
            mentions[key] = replace(mentions[key], attributes=tuple(values))
    if not reading.relations:
        return Document(name, text, tuple(in_order(mentions.values())), (), ())
    mention_of = mentions | {event: mentions[key] for event, key in triggers.items()}
    relations = [*_pairs(kinds["R"], mention_of, notes), *_roles(kinds["E"], mention_of, notes)]
    groups = tuple(_groups(kinds["*"], mention_of, notes))
    return Document(name, text, tuple(in_order(mentions.values())), tuple(relations), groups)


def _mentions(lines: list[Line], text: str, notes: Notes, nearest: bool) -> dict[str, Mention]:
    """Return the mentions by their ids; `text` is as it stands in its file."""
    quoted = list(_quotes(lines, notes))
    places = offsets.locate(text, [quote for *_, quote in quoted], notes, nearest=nearest)
    mentions: dict[str, Mention] = {}
    for (where, key, label, quote), spans in zip(quoted, places, strict=True):
        if spans is None:
            wanted = ";".join(f"{start} {end}" for start, end in quote.spans)
            problem = "mention that its offsets do not give"
            notes.bad(where, problem, wanted=f"the text at {wanted}", annotation=(ENTITY, label))
            continue
        notes.count("mentions trimmed of whitespace", int(any(text[s:e] != text[s:e].strip() for s, e in spans)))
        mentions[key] = Mention(label, pieces(without_returns(text), spans))
    return mentions


def _quotes(lines: list[Line], notes: Notes) -> Iterator[tuple[str, str, str, Quote]]:
    """Yield where each well-formed mention stands, its id, its label, and its offsets with the words quoted."""
    seen: set[str] = set()
    for where, line in lines:
        key, place, wording = (*line.split("\t", 2), "", "")[:3]
        match = _PLACE.fullmatch(place)
        lost = (ENTITY, match[1] if match else "")  # what is no place may be words of the text, and is not shown
        if key in seen:
            notes.bad(where, "mention with an id that another has", wanted="an id of its own", annotation=lost)
            continue
        seen.add(key)
        if match is None:
            wanted = "an id, 'type start end' and the text, tab separated"
            notes.bad(where, "mention cut short or malformed", wanted=wanted, annotation=lost)
            continue
        spans = [(int(start), int(end)) for start, end in (part.split() for part in match[2].split(";"))]
        yield where, key, match[1], Quote(tuple(spans), wording)


def _triggers(lines: list[Line], mentions: Mapping[str, Mention], notes: Notes) -> Iterator[tuple[str, str]]:
    """Yield the id of each event and that of the mention which is its trigger."""
    for where, line in lines:
        key, words = _words(line)
        trigger = words[0].partition(":")[2] if words else ""
        if trigger in mentions:
            yield key, trigger
        else:
            notes.bad(where, "event without a known trigger", wanted="'type:id' with the id of a mention")
            for word in words[1:]:
                notes.lose((RELATION, word.partition(":")[0].rstrip("0123456789")), "event without a known trigger")


def _attributes(lines: list[Line], triggers: Mapping[str, str]) -> dict[str, list[str]]:
    """Return each mention's attributes by its id: their values, or the names of those without; an event's are its trigger's."""
    values: defaultdict[str, list[str]] = defaultdict(list)
    for _, line in lines:
        name, key, *value = (*_words(line)[1], "", "")
        values[triggers.get(key, key)].append(" ".join(value).strip() or name)
    return values


def _roles(lines: list[Line], mention_of: Mapping[str, Mention], notes: Notes) -> Iterator[Related]:
    for where, line in lines:
        key, words = _words(line)
        roles = {word.partition(":")[0] for word in words[1:]}
        for word in words[1:] if key in mention_of else ():
            role, _, argument = word.partition(":")
            numberless = role.rstrip("0123456789")  # a role that an event has twice is numbered: Type, Type2
            label = numberless if numberless in roles else role
            if argument in mention_of:
                yield label, mention_of[key], mention_of[argument]
            else:
                wanted = "'role:id' with the id of a mention or event"
                notes.bad(where, "event with an unknown argument", wanted=wanted, annotation=(RELATION, label))


def _pairs(lines: list[Line], mention_of: Mapping[str, Mention], notes: Notes) -> Iterator[Related]:
    for where, line in lines:
        kind, *arguments = _words(line)[1] or [""]
        named = [(role, mention_of[key]) for role, _, key in (word.partition(":") for word in arguments) if key in mention_of]
        if len(named) == len(arguments) == 2:
            head, tail = (mention for _, mention in in_roles(named))
            yield kind, head, tail
        else:
            wanted = "'type Arg1:id Arg2:id' with ids of mentions"
            notes.bad(where, "relation without two known arguments", wanted=wanted, annotation=(RELATION, kind))


def in_roles(arguments: list[tuple[str, Argument]]) -> list[tuple[str, Argument]]:
    """Return the two (role, argument) pairs of a relation, the head first, whatever their order in the file.

    The rule: roles that differ in their number go by it (`Arg1` is the head, `Arg2` the tail; no number is 1). Else
    `head`, `from`, `source` and `subject` are heads, `tail`, `to`, `target` and `object` are tails, and all others stay in
    the order of the file.
    """
    names = [role.lower().rstrip("0123456789") for role, _ in arguments]
    if len(set(names)) == 1:
        return sorted(arguments, key=lambda pair: int("0" + pair[0][len(names[0]) :]) or 1)
    return sorted(arguments, key=lambda pair: _ROLES.get(pair[0].lower().rstrip("0123456789"), 0))


def _groups(lines: list[Line], mention_of: Mapping[str, Mention], notes: Notes) -> Iterator[tuple[str, tuple[Mention, ...]]]:
    for where, line in lines:
        kind, *keys = _words(line)[1] or [""]
        if keys and all(key in mention_of for key in keys):
            yield kind, tuple(mention_of[key] for key in keys)
        else:
            notes.bad(where, "group with an unknown member", wanted="'* type id id' with ids of mentions")
            notes.lose((RELATION, kind), "group with an unknown member", max(0, len(keys) - 1))


def _words(line: str) -> tuple[str, list[str]]:
    """Return a line's id and the words of its second cell."""
    key, second = (*line.split("\t"), "")[:2]
    return key, second.split()
