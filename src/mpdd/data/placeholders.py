"""Placeholders that de-identification leaves in a note, as `[**Name**]`, `___` or `<DATE>`: each counts as one word.

Windows do not end within one, texts are not cut within one, and a mention neither begins nor ends within one. Forms: MIMIC-III
(`[**...**]`, also over a line end), MIMIC-IV (three underscores or more), OpenI (`XXXX`), i2b2 2010 (`**NAME[...]`) and tags in
capitals (`<DATE>`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

Span = tuple[int, int]
# Each form is bounded in length, and a search skips to one of the first characters: so finding all is linear and fast.
PATTERN = (
    r"[\[*_X<](?:"
    r"(?<=\[)\*\*(?:(?!\[\*\*|\*\*\])[\s\S]){0,200}\*\*\]"
    r"|(?<=\*)\*[A-Z][A-Z-]{1,30}\[[^\[\]\n]{0,100}\]"
    r"|(?<=_)_{2,}"
    r"|(?<=X)(?<![^\W_]X)X{2,}(?![^\W_])"
    r"|(?<=<)[A-Z][A-Z0-9_-]{1,40}>"
    r")"
)
_PLACEHOLDER = re.compile(PATTERN)


class Placeholders:
    """Where the placeholders of one text stand: `spans` as (start, end) offsets, in order and without overlaps."""

    def __init__(self, text: str) -> None:
        self.spans: list[Span] = [match.span() for match in _PLACEHOLDER.finditer(text)]
        self._starts = [start for start, _ in self.spans]

    def around(self, position: int) -> Span | None:
        """The placeholder that this position lies within: behind its first character, before or at its last; else None."""
        number = bisect_right(self._starts, position) - 1
        if number < 0:
            return None
        start, end = self.spans[number]
        return (start, end) if start < position < end else None

    def cut_by(self, start: int, end: int) -> bool:
        """Whether a span of the text begins or ends within a placeholder."""
        return self.around(start) is not None or self.around(end) is not None

    def without_cuts(self, spans: Iterable[Span]) -> list[Span]:
        """The spans that neither begin nor end within a placeholder."""
        return [span for span in spans if not self.cut_by(*span)]


def last_edge(text: str, position: int) -> int:
    """The last position, at or before this one, that lies within no placeholder."""
    around = Placeholders(text).around(position)
    return position if around is None else around[0]
