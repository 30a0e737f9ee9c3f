"""Reads the i2b2/VA 2010 release: notes, with files of their concepts, assertions and relations, in nested folders.

Format: Uzuner et al. 2011, doi:10.1136/amiajnl-2011-000203. A span is named by its first and its last token, each as
line:token; lines count from 1, tokens (what spaces part) from 0. Test notes lie apart from their annotations.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path, PurePosixPath

from mpdd.data.readers import container
from mpdd.data.readers.base import ENTITY, RELATION, Annotation, Notes, usable
from mpdd.data.readers.standoff import Document, Mention, Related, decode, in_order, pieces
from mpdd.data.types.spans import fold

_SPAN = r'c="(.*)" (\d{1,9}):(\d{1,9}) (\d{1,9}):(\d{1,9})'
_CONCEPT = re.compile(rf'{_SPAN}\|\|t="([^"]+)"')
_ASSERTION = re.compile(rf'{_SPAN}\|\|t="([^"]+)"\|\|a="([^"]+)"')
_RELATION = re.compile(rf'{_SPAN}\|\|r="([^"]+)"\|\|{_SPAN}')
_TOKENS = (re.compile(r"^(?= )|[^ \n]+"), re.compile(r"\S+"))  # tools differ on a space that starts a line: a token, or none
_LABEL = re.compile(r'\|\|([tr])="([^"]+)"')
_QUOTED = 'c="text" line:token line:token'
Line = tuple[str, str]
Span = tuple[int, int]


def read(path: Path, notes: Notes, *, relations: bool = True) -> list[Document]:
    """Return the documents that have a `.con` file, in the order of these files' names; texts without one are counted.

    A mention's attribute is its assertion (an `.ast` file is optional, as is a `.rel` file). An annotation whose quoted
    words are not those of its tokens is noted as bad; `.rel` files are passed over if `relations` is false.
    Raise `InputError` as `container.read` does, or if nothing is left.
    """
    files = container.read(path, (".txt", ".con", ".ast", *([".rel"] if relations else [])))
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name in files:
        places[PurePosixPath(name).name].append(name)
    concepts = [name for name in files if name.endswith(".con")]
    texts = [PurePosixPath(name) for name in files if name.endswith(".txt")]
    notes.count("texts without annotations", sum(text.with_suffix(".con").name not in places for text in texts))
    documents = (_document(path, name, files, places, notes) for name in concepts)
    return usable(path, [document for document in documents if document is not None])


def _document(
    path: Path, name: str, files: Mapping[str, bytes], places: Mapping[str, list[str]], notes: Notes
) -> Document | None:
    """Return a document; None, with all its annotations lost, where one of its files cannot be read."""
    before = notes.counts.copy()
    document = _read_document(path, name, files, places, notes)
    if document is None:
        problem = next(iter(notes.counts - before)).removeprefix("skipped: ")
        for part in (name, _beside(name, ".rel", places)):
            lines = files[part].decode("utf-8", "replace").split("\n") if part else []
            for match in filter(None, map(_LABEL.search, lines)):
                notes.lose((ENTITY if match[1] == "t" else RELATION, match[2]), problem)
    return document


def _read_document(
    path: Path, name: str, files: Mapping[str, bytes], places: Mapping[str, list[str]], notes: Notes
) -> Document | None:
    note = _beside(name, ".txt", places)
    if note is None:
        notes.bad(
            f"{path}/{name}", "concepts without a text", wanted="one .txt file of the same name in the folder txt beside it"
        )
        return None
    parts = [note, *(_beside(name, suffix, places) for suffix in (".con", ".ast", ".rel"))]
    contents = [decode(f"{path}/{part}", files[part].removeprefix(BOM_UTF8), notes) if part else "" for part in parts]
    text, *annotations = [content or "" for content in contents]
    if None in contents:
        return None
    lines = [_lines(f"{path}/{part}", content) for part, content in zip(parts[1:], annotations, strict=True)]
    return _Annotations(text, notes).document(note.removesuffix(".txt"), *lines)


def _lines(where: str, content: str) -> list[Line]:
    return [(f"{where} line {number}", line.strip()) for number, line in enumerate(content.split("\n"), 1) if line.strip()]


def _beside(name: str, suffix: str, places: Mapping[str, list[str]]) -> str | None:
    """Return the file of the same stem: the only one, or else the only one whose folder lies beside this one's."""
    file = PurePosixPath(name)
    candidates = places.get(file.with_suffix(suffix).name, [])
    if len(candidates) > 1:
        candidates = [other for other in candidates if PurePosixPath(other).parent.parent == file.parent.parent]
    return candidates[0] if len(candidates) == 1 else None


class _Annotations:
    """The annotations of one text."""

    def __init__(self, text: str, notes: Notes) -> None:
        self.text, self.notes = text, notes
        self.lines = text.split("\n")
        self.starts = list(accumulate((len(line) + 1 for line in self.lines), initial=0))

    def document(self, name: str, concepts: list[Line], assertions: list[Line], relations: list[Line]) -> Document:
        """Return the document."""
        asserted = {(span, kind): value for span, kind, value in self._assertions(assertions)}
        concept_mentions = list(self._concepts(concepts, asserted))
        mentions = {span: mention for span, mention in reversed(concept_mentions)}
        ordered = tuple(in_order(mention for _, mention in concept_mentions))
        return Document(name, self.text, ordered, tuple(self._relations(relations, mentions)), ())

    def _concepts(self, lines: list[Line], asserted: Mapping[tuple[Span, str], str]) -> Iterator[tuple[Span, Mention]]:
        for where, line in lines:
            match = _CONCEPT.fullmatch(line)
            if match is None:
                problem, annotation = "concept cut short or malformed", (ENTITY, "")
                self.notes.bad(where, problem, wanted=f'{_QUOTED}||t="type"', annotation=annotation)
            elif span := self._span(where, match.groups()[:5], (ENTITY, match[6])):
                value = asserted.get((span, match[6]))
                yield span, Mention(match[6], pieces(self.text, [span]), () if value is None else (value,))

    def _assertions(self, lines: list[Line]) -> Iterator[tuple[Span, str, str]]:
        for where, line in lines:
            match = _ASSERTION.fullmatch(line)
            if match is None:
                self.notes.bad(where, "assertion cut short or malformed", wanted=f'{_QUOTED}||t="type"||a="assertion"')
            elif span := self._span(where, match.groups()[:5]):
                yield span, match[6], match[7]

    def _relations(self, lines: list[Line], mentions: Mapping[Span, Mention]) -> Iterator[Related]:
        for where, line in lines:
            match = _RELATION.fullmatch(line)
            if match is None:
                problem, annotation = "relation cut short or malformed", (RELATION, "")
                self.notes.bad(where, problem, wanted=f'{_QUOTED}||r="type"||{_QUOTED}', annotation=annotation)
                continue
            annotation = (RELATION, match[6])
            first = self._span(where, match.groups()[:5], annotation)
            second = self._span(where, match.groups()[6:], annotation) if first else None
            if first and second and first in mentions and second in mentions:
                yield match[6], mentions[first], mentions[second]
            elif first and second:
                problem = "relation of what is no concept"
                self.notes.bad(where, problem, wanted="two concepts of the .con file", annotation=annotation)

    def _span(self, where: str, named: tuple[str, ...], annotation: Annotation | None = None) -> Span | None:
        """Return the offsets of (quoted words, line, token, line, token), end exclusive; note them as bad if they disagree."""
        quoted, (first_line, first, last_line, last) = named[0], map(int, named[1:])
        for pattern in _TOKENS:
            start, end = self._token(first_line, first, pattern), self._token(last_line, last, pattern)
            if quoted.strip() and start and end and fold(self.text[start[0] : end[1]]) == fold(quoted):
                return start[0], end[1]
        place = f"{first_line}:{first} to {last_line}:{last}"
        problem = "words that are not those of the tokens named"
        self.notes.bad(where, problem, wanted=f"the text at {place}", annotation=annotation)
        return None

    def _token(self, line: int, number: int, pattern: re.Pattern[str]) -> Span | None:
        if not 1 <= line <= len(self.lines):
            return None
        spans = [match.span() for match in pattern.finditer(self.lines[line - 1])]
        if number >= len(spans):
            return None
        start, end = spans[number]
        return self.starts[line - 1] + start, self.starts[line - 1] + end
