"""An automaton over bytes that says what an answer may go on with, and where it is taken up again behind other words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Place = tuple[Any, ...]  # where an answer stands between two pieces of text: a name, and what it depends on
Edge = tuple[bytes, Place]  # what is written next (nothing: b""), and where that leads
END: Place = ("end",)


@dataclass(frozen=True)
class State:
    """What may follow: pieces begun, each with the bytes written of it, and whether the answer may end here."""

    pieces: frozenset[tuple[bytes, int, Place]]
    may_end: bool


@dataclass(frozen=True)
class Anchor:
    """A place in an answer, `at` so many bytes from its beginning, where it can be followed again: `piece` comes next, and then
    what may be written at `place`."""

    at: int
    piece: bytes
    place: Place


class Grammar:
    """The automaton of one request. `edges` says what may be written at a place, and `anchor` where an answer that holds other
    words can be followed again, by all that was written of it; the rest is bookkeeping."""

    def __init__(self, edges: Callable[[Place], Iterable[Edge]], first: Place, anchor: Callable[[bytes], Anchor | None]) -> None:
        self._edges, self._anchor = edges, anchor
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

    def after(self, state: State, written: bytes) -> State | None:
        """The state behind some bytes; None where they may not be written."""
        for byte in written:
            following = self.moves(state).get(byte)
            if following is None:
                return None
            state = following
        return state

    def taken_up(self, answer: bytes) -> State | None:
        """The state of an answer that holds other words, where those are over; None where they are not."""
        anchor = self._anchor(answer)
        if anchor is None:
            return None
        state = State(frozenset({(anchor.piece, 0, anchor.place)}), False) if anchor.piece else self._expand(anchor.place)
        return self.after(state, answer[anchor.at :])

    def accepts(self, answer: bytes) -> bool:
        """Whether an answer, its leading space included, is one that may be written."""
        state = self.after(self.start, answer)
        return state is not None and state.may_end

    def _expand(self, place: Place) -> State:
        """What may be written at a place, edges without text followed."""
        if place not in self._expanded:
            pieces, may_end, seen, todo = set(), False, {place}, [place]
            while todo:
                here = todo.pop()
                may_end |= here == END
                for piece, there in () if here == END else self._edges(here):
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
