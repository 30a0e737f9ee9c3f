"""Reads brat standoff: each `.ann` with the `.txt` beside it, in a folder, a zip or a tar.

Format: https://brat.nlplab.org/standoff.html. A parser of our own, because that of the package `bioc` loses the order
of fragments and repeated event roles, quotes the text in its errors, and reads folders only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from mpdd.data.readers import container
from mpdd.data.readers.base import Notes, usable
from mpdd.data.readers.standoff import Document, Mention, Related, decode, in_order, pieces

_KINDS = "TERAMN*#"
_PLACE = re.compile(r"(\S+) (\d{1,9} \d{1,9}(?:;\d{1,9} \d{1,9})*)")
Line = tuple[str, str]


def read(path: Path, notes: Notes) -> list[Document]:
    """Return the documents in the order of their names; a text without annotation file is no document, and counted.

    Offsets are those of the files: a carriage return counts as a character (and becomes a space), as does a byte
    order mark. What cannot be read is noted as bad. Raise `InputError` as `container.read` does, or if nothing is left.
    """
    files = container.read(path, (".ann", ".txt"))
    names = [name.removesuffix(".ann") for name in files if name.endswith(".ann")]
    texts = {name.removesuffix(".txt") for name in files if name.endswith(".txt")}
    notes.count("texts without annotations", len(texts.difference(names)))
    documents = (_document(path, name, files, notes) for name in names)
    return usable(path, [document for document in documents if document is not None])


def _document(path: Path, name: str, files: Mapping[str, bytes], notes: Notes) -> Document | None:
    where = f"{path}/{name}"
    if f"{name}.txt" not in files:
        notes.bad(f"{where}.ann", "annotations without a text", wanted="a .txt file of the same name beside it")
        return None
    text, annotations = (decode(where + suffix, files[name + suffix], notes) for suffix in (".txt", ".ann"))
    if text is None or annotations is None:
        return None
    if not text.strip():
        notes.bad(f"{where}.txt", "text that is empty", wanted="the text that the annotations are about")
        return None
    return _annotated(f"{where}.ann", name, text, annotations.split("\n"), notes)


def _annotated(where: str, name: str, text: str, lines: list[str], notes: Notes) -> Document:
    kinds: dict[str, list[Line]] = {kind: [] for kind in _KINDS}
    for number, line in enumerate(lines, 1):
        if line.strip() and line.lstrip()[0] in kinds:
            kinds[line.lstrip()[0]].append((f"{where} line {number}", line.strip()))
        elif line.strip():
            notes.bad(f"{where} line {number}", "line of an unknown kind", wanted=f"one that starts with {' '.join(_KINDS)}")
    mentions = dict(_mentions(kinds["T"], text, notes))
    triggers = dict(_triggers(kinds["E"], mentions, notes))
    for key, values in _attributes([*kinds["A"], *kinds["M"]], triggers).items():
        if key in mentions:
            mentions[key] = replace(mentions[key], attributes=tuple(values))
    known = mentions | {event: mentions[key] for event, key in triggers.items()}
    relations = [*_pairs(kinds["R"], known, notes), *_roles(kinds["E"], known, notes)]
    groups = tuple(_groups(kinds["*"], known, notes))
    return Document(name, text, tuple(in_order(mentions.values())), tuple(relations), groups)


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
        yield key, Mention(match[1], pieces(text, spans))


def _triggers(lines: list[Line], mentions: Mapping[str, Mention], notes: Notes) -> Iterator[tuple[str, str]]:
    """Yield the id of each event and that of the mention which is its trigger."""
    for where, line in lines:
        key, words = _words(line)
        trigger = words[0].partition(":")[2] if words else ""
        if trigger in mentions:
            yield key, trigger
        else:
            notes.bad(where, "event without a known trigger", wanted="'type:id' with the id of a mention")


def _attributes(lines: list[Line], triggers: Mapping[str, str]) -> dict[str, list[str]]:
    """Return each mention's attributes by its id: their values, or the names of those without; an event's are its trigger's."""
    values: defaultdict[str, list[str]] = defaultdict(list)
    for _, line in lines:
        name, key, *value = (*_words(line)[1], "", "")
        values[triggers.get(key, key)].append(" ".join(value).strip() or name)
    return values


def _roles(lines: list[Line], known: Mapping[str, Mention], notes: Notes) -> Iterator[Related]:
    for where, line in lines:
        key, words = _words(line)
        roles = {word.partition(":")[0] for word in words[1:]}
        for word in words[1:] if key in known else ():
            role, _, argument = word.partition(":")
            numberless = role.rstrip("0123456789")  # a role that an event has twice is numbered: Type, Type2
            if argument in known:
                yield numberless if numberless in roles else role, known[key], known[argument]
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
