"""Which answers a task allows for one text, as an automaton over bytes.

Entities and relations are lines of `Label: item; item`, with the card's labels in its order and items that are pieces of
the text; an extracted answer is such a piece; several labels are labels of the card. Copy-only grammars: Geng et al.
2023, arXiv 2305.13971. White space of the text may be written as one space, as answers are read back by words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from mpdd.data.task import Example, TaskCard
from mpdd.data.types.relation import ARROW
from mpdd.data.types.spans import NONE, escape, fold, unescape
from mpdd.inference.decoding.grammar import END, Anchor, Edge, Grammar, Place
from mpdd.inference.decoding.note import Note

_MARKS = re.compile(rb"\\.|[:;\n]", re.DOTALL)
_RANKS = ("", *(f" @{number}" for number in range(1, 10)))  # tell equal mentions apart


class Grammars:
    """The grammars of many requests. A text is prepared once for all of them, and requests about it that have the same form
    and labels, as the same note has for a task that is asked twice, share one grammar with all that is known of it."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}
        self._grammars: dict[tuple[str, str, tuple[str, ...], str, bool], Grammar | None] = {}

    def of(self, card: TaskCard, example: Example, space: bool) -> Grammar | None:
        """Return `grammar_of` this request."""
        key = (card.type, card.form, card.labels, example.text, space)
        if key not in self._grammars:
            note = self._notes.setdefault(example.text, Note(example.text))
            self._grammars[key] = grammar_of(card, note, space)
        return self._grammars[key]


def grammar_of(card: TaskCard, note: Note, space: bool) -> Grammar | None:
    """Return the answers that a task allows about a note, or None for tasks that answer in words of their own or by options.

    `space` says whether an answer begins with one space.
    """
    answers: _Answers
    if card.type in ("ner", "re"):
        answers = _Items(card, note)
    elif card.form == "extractive":
        answers = _Extract(note)
    elif card.form == "multiple":
        answers = _Labels(card)
    else:
        return None
    first = [(b" " if space else b"", ("start",))]
    return Grammar(lambda place: first if place == ("space",) else answers.edges(place), ("space",), answers.anchor)


class _Answers(Protocol):
    """The answers of a kind of task: what may be written at a place, and where words that may not are over."""

    def edges(self, place: Place) -> Iterable[Edge]:
        """What may be written next."""
        ...

    def anchor(self, written: bytes) -> Anchor | None:
        """The last place in an answer from which it can be followed again."""
        ...


@dataclass(frozen=True)
class _Items:
    """Entities or relations, in any order within their label."""

    card: TaskCard
    note: Note

    def edges(self, place: Place) -> Iterable[Edge]:
        kind, *rest = place
        follow: Callable[..., Iterable[Edge]] = getattr(self, f"_{kind}")
        return follow(*rest)

    def anchor(self, written: bytes) -> Anchor | None:
        """Behind the last separator of a line with a known label, or behind the last line end."""
        label, line, anchor = None, 0, None
        for mark in _MARKS.finditer(written):
            if mark[0] == b"\n":
                label, line, anchor = None, mark.end(), Anchor(mark.end(), b"", ("line", 0))
            elif label is None and mark[0] == b":":
                label = self._number(written[line : mark.start()])
            if label is not None and mark[0] in (b":", b";"):
                anchor = Anchor(mark.end(), b" ", ("item", label))
            elif label is None and mark[0] == b":":
                anchor = None  # an unknown label: its items are dropped
        return anchor

    def _number(self, written: bytes) -> int | None:
        """The number of a label as it is written; None for what is no label of the card."""
        name = fold(unescape(written.decode("utf-8", "replace").strip()))
        return next((number for number, label in enumerate(self.card.labels) if fold(label) == name), None)

    def _start(self) -> Iterable[Edge]:
        yield NONE.encode(), END
        yield b"", ("line", 0)

    def _line(self, least: int) -> Iterable[Edge]:
        """A label of the card that comes after those of the lines before."""
        for number in range(least, len(self.card.labels) if self.note.starts else 0):
            yield f"{escape(self.card.labels[number], ':')}: ".encode(), ("item", number)

    def _item(self, label: int) -> Iterable[Edge]:
        """The first character of an item."""
        kind = "head" if self.card.type == "re" else "mention"
        for start in self.note.starts:
            yield from self._further(kind, label, start)

    def _mention(self, label: int, at: int) -> Iterable[Edge]:
        if self.note.may_end(at):
            yield b"", ("after", label)
        yield from self._further("mention", label, at)

    def _head(self, label: int, at: int) -> Iterable[Edge]:
        if self.note.may_end(at):
            yield from ((f"{rank} {ARROW} ".encode(), ("tails", label)) for rank in _RANKS)
        yield from self._further("head", label, at)

    def _tails(self, label: int) -> Iterable[Edge]:
        for start in self.note.starts:
            yield from self._further("tail", label, start)

    def _tail(self, label: int, at: int) -> Iterable[Edge]:
        if self.note.may_end(at):
            yield b"", ("after", label)
        yield from self._further("tail", label, at)

    def _further(self, kind: str, label: int, at: int) -> Iterable[Edge]:
        """A mention that goes on with the character at `at`."""
        marks = (";", ARROW) if self.card.type == "re" else (";",)
        yield from ((piece, (kind, label, to)) for piece, to in self.note.mention(at, *marks))

    def _after(self, label: int) -> Iterable[Edge]:
        """Behind an item: another one, another label's line, or the end; a rank may tell equal mentions apart."""
        for rank in _RANKS:
            yield f"{rank}; ".encode(), ("item", label)
            if label + 1 < len(self.card.labels):
                yield f"{rank}\n".encode(), ("line", label + 1)
            yield rank.encode(), END


@dataclass(frozen=True)
class _Extract:
    """One piece of the text."""

    note: Note

    def edges(self, place: Place) -> Iterable[Edge]:
        if place == ("start",):
            yield from (edge for start in self.note.starts for edge in self._further(start))
            if not self.note.starts:
                yield b"", END
            return
        _, at = place
        if self.note.may_end(at):
            yield b"", END
        yield from self._further(at)

    def anchor(self, written: bytes) -> Anchor | None:
        """Nowhere: an answer that has left the text is none of its pieces."""
        return None

    def _further(self, at: int) -> Iterable[Edge]:
        """Extracted answers are written without escapes."""
        for piece, to in self.note.mention(at):
            yield piece.replace(b"\\n", b"\n").replace(b"\\\\", b"\\"), ("from", to)


@dataclass(frozen=True)
class _Labels:
    """Labels of the card in its order, or none."""

    card: TaskCard

    def edges(self, place: Place) -> Iterable[Edge]:
        if place == ("start",):
            yield NONE.encode(), END
            yield b"", ("label", 0)
            return
        kind, least = place
        if kind == "label":
            labels = self.card.labels
            yield from ((escape(labels[n], ";").encode(), ("after", n + 1)) for n in range(least, len(labels)))
        else:
            yield b"", END
            if least < len(self.card.labels):
                yield b"; ", ("label", least)

    def anchor(self, written: bytes) -> Anchor | None:
        """Behind the last semicolon; any label may follow."""
        ends = [mark.end() for mark in _MARKS.finditer(written) if mark[0] == b";"]
        return Anchor(ends[-1], b" ", ("label", 0)) if ends else None
