"""Finds annotated words in a text, whatever way the file counts its offsets.

Tools count in characters (Python), in UTF-16 units (JavaScript, Java, C#) or in UTF-8 bytes; some count a line end of two
characters (CRLF) as one, or leave out a byte order mark. A file does not say which, but most files quote the words of
each annotation: the way of counting under which the most offsets give the quoted words is that of the document.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, product

from mpdd.data.readers.base import Notes

Span = tuple[int, int]
NEAR = 8  # characters: a place this near is taken even where the words stand elsewhere too
_BYTE_ORDER_MARK = "\ufeff"
_UNITS: Mapping[str, Callable[[str], int]] = {
    "characters": lambda char: 1,
    "UTF-16 units": lambda char: 1 + (ord(char) > 0xFFFF),
    "UTF-8 bytes": lambda char: len(char.encode("utf-8", "surrogatepass")),
}


@dataclass(frozen=True)
class Counting:
    """One way to count a text's length; the default counts every character, carriage returns and byte order mark too."""

    unit: str = "characters"
    skips_returns: bool = False
    skips_mark: bool = False

    def __str__(self) -> str:
        """Return the words for messages, such as "UTF-16 units, without carriage returns"."""
        skipped = ["carriage returns"] * self.skips_returns + ["the byte order mark"] * self.skips_mark
        return self.unit + (f", without {' and '.join(skipped)}" if skipped else "")

    def widths(self, text: str) -> list[int]:
        """Return how much each character of the text adds to an offset."""
        width = _UNITS[self.unit]
        widths = [width(char) for char in text]
        if self.skips_returns:
            for match in re.finditer("\r\n", text):
                widths[match.start()] = 0
        if self.skips_mark and text.startswith(_BYTE_ORDER_MARK):
            widths[0] = 0
        return widths


CHARACTERS = Counting()


@dataclass(frozen=True)
class Quote:
    """An annotation as its file gives it: offsets as the file counts them (end exclusive), and the words it quotes there.

    `words` is None where the file quotes none; several spans are the pieces of a discontinuous annotation.
    """

    spans: tuple[Span, ...]
    words: str | None = None


@dataclass
class Offsets:
    """A text, as it stands in its file, against offsets that may be counted in several ways."""

    text: str
    _ends: dict[Counting, list[int]] = field(default_factory=dict)

    def countings(self) -> list[Counting]:
        """Return the ways to count that differ on this text, the default first."""
        units = ["characters"]
        if not self.text.isascii():
            units += ["UTF-16 units"] * (max(self.text) > "\uffff") + ["UTF-8 bytes"]
        returns = (False, True) if "\r\n" in self.text else (False,)
        mark = (False, True) if self.text.startswith(_BYTE_ORDER_MARK) else (False,)
        return [Counting(unit, skipped, left_out) for unit, skipped, left_out in product(units, returns, mark)]

    def counting(self, quotes: Sequence[Quote]) -> Counting:
        """Return the way to count under which the most quoted words are right, then the most without outer whitespace."""
        worded = [quote for quote in quotes if quote.words is not None]

        def fitting(counting: Counting) -> tuple[int, int]:
            right = [spans for quote in worded if (spans := self.spans(quote, counting))]
            return len(right), sum(self._is_tight(spans) for spans in right)

        return self._best(fitting)

    def counting_of_starts(self, starts: Sequence[tuple[int, str]]) -> Counting:
        """Return the way to count under which the most words stand where they start by the file's (start, words) pairs."""
        return self._best(lambda counting: sum(self._stands(*pair, counting) for pair in starts))

    def character(self, start: int, counting: Counting) -> int:
        """Return the character at which an offset of the file starts, or the one next to that; from 0 to the text's length."""
        return max(0, min(self._start(start, counting, rough=True), len(self.text)))

    def _is_tight(self, spans: Sequence[Span]) -> bool:
        return all(self.text[start:end] == self.text[start:end].strip() for start, end in spans)

    def _best(self, fitting: Callable[[Counting], int | tuple[int, int]]) -> Counting:
        """Return the way to count that fits best, the earlier of equal ones."""
        countings = self.countings()
        return countings[0] if len(countings) == 1 else max(countings, key=fitting)

    def _stands(self, start: int, words: str, counting: Counting) -> bool:
        place = self._start(start, counting)
        return place >= 0 and self.text.startswith(words, place)

    def spans(self, quote: Quote, counting: Counting) -> tuple[Span, ...] | None:
        """Return a quote's spans in characters of the text, or None where they do not give its words."""
        spans = tuple((self._start(start, counting), self._end(end, counting)) for start, end in quote.spans)
        if any(not 0 <= start < end for start, end in spans):
            return None
        given = " ".join(self.text[start:end] for start, end in spans).split()
        return spans if given and (quote.words is None or given == quote.words.split()) else None

    def nearest(self, quote: Quote, counting: Counting, *, reach: int | None = None, ignore_case: bool = False) -> Span | None:
        """Return where the words of a quote in one piece stand nearest to its offset.

        None where they stand nowhere, where another place is nearly as near (less than twice as far, and more than `NEAR`
        characters off), or where the nearest is more than `reach` characters off. Whole words come before parts of words.
        """
        if quote.words is None or not quote.words.strip() or len(quote.spans) != 1:
            return None
        start = self.character(quote.spans[0][0], counting)
        pattern = r"\s+".join(map(re.escape, quote.words.split()))
        flags = re.IGNORECASE if ignore_case else re.NOFLAG
        for bounded in (rf"(?<!\w){pattern}(?!\w)", f"(?={pattern})"):
            places = sorted(re.finditer(bounded, self.text, flags), key=lambda match: abs(match.start() - start))
            if places:
                return self._clear(places, start, reach, re.compile(pattern, flags))
        return None

    def _clear(self, places: Sequence[re.Match[str]], start: int, reach: int | None, words: re.Pattern[str]) -> Span | None:
        """Return the span of the first of the places, which come nearest first, if it is near enough and clearly nearest."""
        nearest, *others = (abs(match.start() - start) for match in places[:2])
        if (reach is not None and nearest > reach) or (others and nearest > NEAR and others[0] < 2 * nearest):
            return None
        match = words.match(self.text, places[0].start())
        return match.span() if match else None

    def _start(self, offset: int, counting: Counting, *, rough: bool = False) -> int:
        """Return the character at which an offset starts; -1 inside a character or past the end, unless `rough`."""
        if counting == CHARACTERS:
            return offset if rough or offset <= len(self.text) else -1
        ends = self._cumulative(counting)
        place = bisect_right(ends, offset) - 1
        return place if rough or (place >= 0 and ends[place] == offset) else -1

    def _end(self, offset: int, counting: Counting) -> int:
        if counting == CHARACTERS:
            return offset if offset <= len(self.text) else -1
        ends = self._cumulative(counting)
        place = bisect_left(ends, offset)
        return place if place < len(ends) and ends[place] == offset else -1

    def _cumulative(self, counting: Counting) -> list[int]:
        """Return the offset at which each character of the text starts, and that of its end."""
        if counting not in self._ends:
            self._ends[counting] = list(accumulate(counting.widths(self.text), initial=0))
        return self._ends[counting]


def locate(
    text: str, quotes: Iterable[Quote], notes: Notes, *, noun: str = "mentions", nearest: bool = True, reach: int | None = None
) -> list[tuple[Span, ...] | None]:
    """Return the spans of each quote of one document in characters of its text; None for what cannot be found.

    Another way of counting than characters, and mentions taken where their words stand nearest (unless `nearest` is
    false), are counted in `notes`; `noun` is what these notes call the quotes.
    """
    quotes, offsets = list(quotes), Offsets(text)
    counting = offsets.counting(quotes)
    located: list[tuple[Span, ...] | None] = []
    by_offset = by_words = 0
    for quote in quotes:
        spans = offsets.spans(quote, counting)
        by_offset += spans is not None
        if spans is None and nearest and (span := offsets.nearest(quote, counting, reach=reach)):
            spans, by_words = (span,), by_words + 1
        located.append(spans)
    if counting != CHARACTERS:
        notes.count(f"{noun} with offsets in {counting}", by_offset)
    notes.count(f"{noun} taken where their words stand nearest to the offset", by_words)
    return located


@dataclass(frozen=True)
class Starts:
    """The offsets at which answers start in one text, where a file gives no ends; counted in the way that fits most of them."""

    offsets: Offsets
    counting: Counting

    @classmethod
    def of(cls, text: str, starts: Sequence[tuple[int, str]]) -> Starts:
        """Choose the way of counting by (start, words) pairs of this text."""
        offsets = Offsets(text)
        return cls(offsets, offsets.counting_of_starts(starts))

    def character(self, start: int, notes: Notes, *, noun: str = "answers") -> int:
        """Return the character at which an offset starts; another way of counting than in characters is noted, by `noun`."""
        if self.counting == CHARACTERS:
            return start
        notes.count(f"{noun} with offsets in {self.counting}")
        return self.offsets.character(start, self.counting)
