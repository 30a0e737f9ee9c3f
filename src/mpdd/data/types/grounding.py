"""Finds a mention in a text by its words: spacing, line ends, invisible characters and typographic forms do not matter.

Notes are wrapped by hand, exported with no-break spaces, and set with ligatures and soft hyphens; a model names what it
reads in plain words. The offsets that are given back always point into the text as it stands.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cached_property, lru_cache

from mpdd.data.placeholders import Placeholders
from mpdd.data.types.spans import best_first, occurrences

Span = tuple[int, int]
_BREAK = "\u200b"  # zero-width space: nothing within a word, or the space between two
_VARIATIONS = {*map(chr, range(0xFE00, 0xFE10)), "\u034f"}  # change how the character before them looks


def plain(text: str) -> str:
    """Return `text` as its words are compared: one case, single spaces, no invisible characters, no typographic forms."""
    return " ".join("".join(map(_plain, text)).split())


def is_invisible(character: str) -> bool:
    """Return whether a mention may leave this character of the text out: soft hyphens, zero-width characters and the like."""
    return not _plain(character)


def is_same_word(first: str, second: str) -> bool:
    """Return whether two letters are another case of each other, as words are compared."""
    return len(first) == len(second) == 1 and first.isalpha() and _plain(first) == _plain(second)


def is_accent(text: str, position: int) -> bool:
    """Return whether an accent stands here, invisible characters left out, so that no mention may end before it."""
    visible = next((plain for character in text[position:] if (plain := _plain(character))), "")
    return unicodedata.combining(visible[:1] or " ") > 0


class Grounding:
    """Where mentions stand in one text; what that needs is computed at the first question and kept."""

    def __init__(self, text: str) -> None:
        self.text = text

    def spans(self, mention: str) -> list[Span]:
        """Return the (start, end) offsets of each place with the words of `mention`.

        Whole words come before parts of words, and these before parts of placeholders, each in reading order. A place never
        ends within a character of the text, say within a ligature. No words are nowhere.
        """
        wanted = plain(mention)
        spans = next((spans for view in self._views if (spans := list(_spans(*view, wanted)))), []) if wanted else []
        return best_first(self.text, self.placeholders, spans)

    def places(self, mention: str) -> Iterator[list[Span]]:
        """Yield the places of a mention: as it stands, in another case, and by its words (`spans`)."""
        for ignore_case in (False, True):
            starts = occurrences(self.text, mention, ignore_case=ignore_case, placeholders=self.placeholders)
            yield [(start, start + len(mention)) for start in starts]
        yield self.spans(mention)

    @cached_property
    def placeholders(self) -> Placeholders:
        """The placeholders of the text."""
        return Placeholders(self.text)

    @cached_property
    def _views(self) -> list[tuple[str, list[int]]]:
        """The plain text, and for each of its characters the place in the text that it comes from."""
        views = [_view(self.text)]
        return [*views, _view(self.text.replace(_BREAK, " "))] if _BREAK in self.text else views


def _view(text: str) -> tuple[str, list[int]]:
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for part in _plain(character):
            if part != " " or (characters and characters[-1] != " "):
                characters.append(part)
                places.append(place)
    return "".join(characters), places


def _spans(view: str, places: list[int], wanted: str) -> Iterator[Span]:
    start = view.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        if _is_edge(places, start) and _is_edge(places, end) and not _combines(view, end):
            yield places[start], places[end - 1] + 1
        start = view.find(wanted, start + 1)


def _is_edge(places: list[int], position: int) -> bool:
    """Whether a new character of the text begins at this position of the plain text."""
    return position in (0, len(places)) or places[position - 1] != places[position]


def _combines(view: str, position: int) -> bool:
    """Whether an accent stands here, which belongs to the letter before it."""
    return position < len(view) and unicodedata.combining(view[position]) > 0


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """A space for any white space, nothing for what is invisible, else the plain lower-case letters that it stands for."""
    if character.isspace():
        return " "
    if unicodedata.category(character) == "Cf" or character in _VARIATIONS:
        return ""
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(parts.split())
