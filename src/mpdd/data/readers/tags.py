"""Spans from one tag a token: IOB1, IOB2, IOBES and BILOU by the same rule; a type without a letter counts as I."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TAG = re.compile(r"O|[BIESLUM]-\S.*")
_PARTS = re.compile(r"([BIESLUM])-(.+)")
_STARTS, _ENDS = "BSU", "ESLU"
Span = tuple[int, int, str]


def join(tokens: Iterable[str], tags: Iterable[str]) -> tuple[str, tuple[Span, ...]]:
    """Return the tokens joined by single spaces, and (start, end, type) in characters of what their tags mark.

    A span starts at B, S and U, and at any other letter that follows no open span of its type; E, S, L and U end one.
    """
    words = list(tokens)
    spans: list[Span] = []
    start, open_type = 0, ""
    for word, tag in zip(words, tags, strict=True):
        end = start + len(word)
        letter, kind = _letter_and_type(tag)
        if kind and kind == open_type and letter not in _STARTS:
            spans[-1] = (spans[-1][0], end, kind)
        elif kind:
            spans.append((start, end, kind))
        open_type = "" if letter in _ENDS else kind
        start = end + 1
    return " ".join(words), tuple(spans)


def is_tagged(tags: Sequence[object]) -> bool:
    """Say whether these are tags, at least one of which opens or goes on with a span."""
    return all(isinstance(tag, str) and TAG.fullmatch(tag) for tag in tags) and any(tag != "O" for tag in tags)


def _letter_and_type(tag: str) -> tuple[str, str]:
    """Return a tag's letter and type; O has no type."""
    if tag in ("O", ""):
        return "O", ""
    parts = _PARTS.fullmatch(tag)
    return (parts[1], parts[2]) if parts else ("I", tag)
