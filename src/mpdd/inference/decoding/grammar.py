"""Which answers a task allows for one text, as an automaton over bytes.

Entities and relations are lines of `Label: item; item`, with the card's labels in its order and items that are pieces of
the text; an extracted answer is such a piece; several labels are labels of the card. Copy-only grammars: Geng et al.
2023, arXiv 2305.13971. White space of the text may be written as one space, as answers are read back by words.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mpdd.data.task import Example, TaskCard
from mpdd.data.types.grounding import is_accent, is_invisible
from mpdd.data.types.relation import ARROW
from mpdd.data.types.spans import NONE, escape, is_bounded

Place = tuple[Any, ...]  # where an answer stands between two pieces of text: a name, and what it depends on
Edge = tuple[bytes, Place]  # what is written next (nothing: b""), and where that leads
_END: Place = ("end",)


@dataclass(frozen=True)
class State:
    """What may follow: pieces begun, each with the bytes written of it, and whether the answer may end here."""

    pieces: frozenset[tuple[bytes, int, Place]]
    may_end: bool


class Grammar:
    """The automaton of one request: `edges` says what may be written at a place, the rest is bookkeeping."""

    def __init__(self, edges: Callable[[Place], Iterable[Edge]], first: Place) -> None:
        self._edges = edges
        self._expanded: dict[Place, State] = {}
        self.start = self._expand(first)

    def moves(self, state: State) -> dict[int, State]:
        """Each byte that may be written, with the state after it."""
        after: defaultdict[int, list[State]] = defaultdict(list)
        begun: defaultdict[int, set[tuple[bytes, int, Place]]] = defaultdict(set)
        for piece, written, place in state.pieces:
            byte = piece[written]
            if written + 1 < len(piece):
                begun[byte].add((piece, written + 1, place))
            else:
                after[byte].append(self._expand(place))
        return {byte: _joined(begun[byte], after[byte]) for byte in {*begun, *after}}

    def accepts(self, answer: bytes) -> bool:
        """Whether an answer, its leading space included, is one that may be written."""
        state: State | None = self.start
        for byte in answer:
            state = self.moves(state).get(byte) if state else None
        return state is not None and state.may_end

    def _expand(self, place: Place) -> State:
        """What may be written at a place, edges without text followed."""
        if place not in self._expanded:
            pieces, may_end, seen, todo = set(), False, {place}, [place]
            while todo:
                here = todo.pop()
                may_end |= here == _END
                for piece, there in () if here == _END else self._edges(here):
                    if piece:
                        pieces.add((piece, 0, there))
                    elif there not in seen:
                        seen.add(there)
                        todo.append(there)
            self._expanded[place] = State(frozenset(pieces), may_end)
        return self._expanded[place]


def _joined(begun: set[tuple[bytes, int, Place]], after: list[State]) -> State:
    if not begun and len(after) == 1:
        return after[0]
    pieces = frozenset(begun).union(*(state.pieces for state in after))
    return State(pieces, any(state.may_end for state in after))


@dataclass(frozen=True)
class Note:
    """A text as its pieces may be written."""

    text: str

    @cached_property
    def bounds(self) -> list[bool]:
        """Whether a mention may begin or end before each character (and at the end): not within a word.

        Letters of scripts without upper and lower case, some of which set no spaces, count as words of their own.
        """
        letters = [unicodedata.category(character) == "Lo" for character in self.text]
        return [
            is_bounded(self.text, at, len(self.text)) or letters[at - 1] or letters[at] if 0 < at < len(self.text) else True
            for at in range(len(self.text) + 1)
        ]

    @cached_property
    def starts(self) -> list[int]:
        """Where a mention may begin."""
        return [
            at
            for at, character in enumerate(self.text)
            if self.bounds[at] and _is_written(character) and not is_accent(self.text, at)
        ]

    def steps(self, at: int, *marks: str) -> list[tuple[bytes, int]]:
        """How the text goes on at a character: what is written for it, and the next character.

        A run of white space is written as it stands (escaped), or as one space; `marks` are escaped.
        """
        character = self.text[at]
        if is_invisible(character):
            return [(character.encode(), at + 1), (b"", at + 1)]
        if character.isspace():
            end = at + 1
            while end < len(self.text) and self.text[end].isspace():
                end += 1
            run = self.text[at:end].replace("\n", "\\n").encode()
            return [(b" ", end)] if run == b" " else [(run, end), (b" ", end)]
        is_mark = character == "\\" or any(self.text.startswith(mark, at) for mark in marks)
        written = "\\" + character if is_mark else character
        return [(written.encode("utf-8", "surrogatepass"), at + 1)]

    def may_end(self, at: int) -> bool:
        """Whether a mention may end before this character: at the edge of a word, and not between a letter and its accent."""
        return at > 0 and self.bounds[at] and _is_written(self.text[at - 1]) and not is_accent(self.text, at)

    @cached_property
    def ends(self) -> list[int]:
        """For each place the next one, itself included, where a mention may end; past the text where there is none."""
        nearest = [len(self.text) + 1] * (len(self.text) + 2)
        for at in range(len(self.text), -1, -1):
            nearest[at] = at if self.may_end(at) else nearest[at + 1]
        return nearest

    def mention(self, start: int, at: int, limit: int, *marks: str) -> Iterable[tuple[bytes, int]]:
        """How a mention that began at `start` goes on at `at`, so that it can still end, and before `limit`."""
        if at < len(self.text):
            yield from ((piece, to) for piece, to in self.steps(at, *marks) if self.ends[max(to, start + 1)] < limit)

    @cached_property
    def no_limit(self) -> int:
        """A limit that every mention keeps."""
        return len(self.text) + 1


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
    first: Callable[[Place], Iterable[Edge]]
    if card.type in ("ner", "re"):
        first = _Items(card, note).edges
    elif card.form == "extractive":
        first = _Extract(note).edges
    elif card.form == "multiple":
        first = _Labels(card).edges
    else:
        return None
    leading = b" " if space else b""
    return Grammar(lambda place: [(leading, ("start",))] if place == ("space",) else first(place), ("space",))


@dataclass(frozen=True)
class _Items:
    """Entities or relations. Entities of a label stand in reading order, so that no item is written without end."""

    card: TaskCard
    note: Note

    def edges(self, place: Place) -> Iterable[Edge]:
        kind, *rest = place
        follow: Callable[..., Iterable[Edge]] = getattr(self, f"_{kind}")
        return follow(*rest)

    def _start(self) -> Iterable[Edge]:
        yield NONE.encode(), _END
        yield b"", ("line", 0)

    def _line(self, least: int) -> Iterable[Edge]:
        """A label of the card that comes after those of the lines before."""
        for number in range(least, len(self.card.labels) if self.note.starts else 0):
            yield f"{escape(self.card.labels[number], ':')}: ".encode(), ("item", number, -1, 0)

    def _item(self, label: int, after: int, end: int) -> Iterable[Edge]:
        """The beginning of an item: for entities behind the one before, or at the same place and shorter."""
        kind = "head" if self.card.type == "re" else "mention"
        for start, limit in self._openings(after, end):
            yield b"", (kind, label, start, start, limit)

    def _openings(self, after: int, end: int) -> Iterable[tuple[int, int]]:
        """Where an item may begin, and before where it must end."""
        anywhere = self.card.type == "re"
        for start in self.note.starts:
            if anywhere or start > after:
                yield start, self.note.no_limit
            elif start == after and self.note.ends[start + 1] < end:
                yield start, end

    def _mention(self, label: int, start: int, at: int, limit: int) -> Iterable[Edge]:
        if at > start and self.note.may_end(at) and at < limit:
            yield b"", ("after", label, start, at)
        yield from ((piece, ("mention", label, start, to, limit)) for piece, to in self.note.mention(start, at, limit, ";"))

    def _head(self, label: int, start: int, at: int, limit: int) -> Iterable[Edge]:
        if at > start and self.note.may_end(at):
            yield from ((f"{rank} {ARROW} ".encode(), ("tails", label)) for rank in _RANKS)
        pieces = self.note.mention(start, at, limit, ";", ARROW)
        yield from ((piece, ("head", label, start, to, limit)) for piece, to in pieces)

    def _tails(self, label: int) -> Iterable[Edge]:
        yield from ((b"", ("tail", label, start, start)) for start in self.note.starts)

    def _tail(self, label: int, start: int, at: int) -> Iterable[Edge]:
        if at > start and self.note.may_end(at):
            yield b"", ("after", label, 0, 0)
        pieces = self.note.mention(start, at, self.note.no_limit, ";", ARROW)
        yield from ((piece, ("tail", label, start, to)) for piece, to in pieces)

    def _after(self, label: int, start: int, end: int) -> Iterable[Edge]:
        """Behind an item: another one, another label's line, or the end; a rank may tell equal mentions apart."""
        more = any(True for _ in self._openings(start, end))
        for rank in _RANKS:
            if more:
                yield f"{rank}; ".encode(), ("item", label, start, end)
            if label + 1 < len(self.card.labels):
                yield f"{rank}\n".encode(), ("line", label + 1)
            yield rank.encode(), _END


_RANKS = ("", *(f" @{number}" for number in range(1, 10)))


@dataclass(frozen=True)
class _Extract:
    """One piece of the text."""

    note: Note

    def edges(self, place: Place) -> Iterable[Edge]:
        if place == ("start",):
            yield from ((b"", ("from", start, start)) for start in self.note.starts)
            if not self.note.starts:
                yield b"", _END
            return
        _, start, at = place
        if at > start and self.note.may_end(at):
            yield b"", _END
        pieces = self.note.mention(start, at, self.note.no_limit)
        yield from ((_unescaped(piece), ("from", start, to)) for piece, to in pieces)


def _unescaped(piece: bytes) -> bytes:
    """Extracted answers are written without escapes."""
    return piece.replace(b"\\n", b"\n").replace(b"\\\\", b"\\")


@dataclass(frozen=True)
class _Labels:
    """Labels of the card in its order, or none."""

    card: TaskCard

    def edges(self, place: Place) -> Iterable[Edge]:
        if place == ("start",):
            yield NONE.encode(), _END
            yield b"", ("label", 0)
            return
        kind, least = place
        if kind == "label":
            labels = self.card.labels
            yield from ((escape(labels[n], ";").encode(), ("after", n + 1)) for n in range(least, len(labels)))
        else:
            yield b"", _END
            if least < len(self.card.labels):
                yield b"; ", ("label", least)


def _is_written(character: str) -> bool:
    return not character.isspace() and not is_invisible(character)
