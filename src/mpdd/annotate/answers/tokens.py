"""Cuts a text into tokens at given spans, for formats that annotate tokens instead of characters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_PIECE = re.compile(r"\w+|[^\w\s]|\s")


@dataclass(frozen=True, slots=True)
class Token:
    """A token `text[start:end]`; `space` says whether a single space follows that is no token of its own."""

    start: int
    end: int
    space: bool


def tokens(text: str, spans: Sequence[tuple[int, int]]) -> list[Token]:
    """Tokens that give `text` again when they are joined, each with its space; every span is a run of whole tokens.

    Words, single marks and single white space characters are tokens. A space behind a token belongs to that token, unless a
    span starts with the space or ends with it.
    """
    starts, ends = {start for start, _ in spans}, {end for _, end in spans}
    token_list: list[Token] = []
    for start, end in _pieces(text, starts | ends):
        belongs = text[start:end] == " " and start not in starts and end not in ends
        if belongs and token_list and not token_list[-1].space:
            token_list[-1] = Token(token_list[-1].start, token_list[-1].end, True)
        else:
            token_list.append(Token(start, end, False))
    return token_list


def run_of(tokens: Sequence[Token], start: int, end: int) -> tuple[int, int]:
    """The first and the last token (inclusive) of a span that the tokens were made for."""
    first = next(number for number, token in enumerate(tokens) if token.start == start)
    last = next(number for number, token in enumerate(tokens[first:], start=first) if token.end == end)
    return first, last


def _pieces(text: str, cuts: set[int]) -> Iterator[tuple[int, int]]:
    for match in _PIECE.finditer(text):
        start = match.start()
        for edge in range(match.start() + 1, match.end()):
            if edge in cuts:
                yield start, edge
                start = edge
        yield start, match.end()
