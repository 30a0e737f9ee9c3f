"""Extractive QA over long texts: the gold-context setting, where the text given is the window that holds the answer.

A text is cut into windows of whole sentences by the rule in `windows`, which does not look at answers. Scores say how
well an answer is picked out of some 200 words, not out of a whole document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mpdd.data.readers.base import Notes
from mpdd.data.task import Example
from mpdd.data.types.spans import occurrences
from mpdd.data.windows import Span, windows

MAX_CHARS = 1200
EDGE = "answers across a window's edge"
ELSEWHERE = "answers that stand elsewhere than at their offset"


def gold_windows(placed: Iterable[tuple[Example, int, int]], notes: Notes, max_chars: int = MAX_CHARS) -> Iterator[Example]:
    """Yield each example with the window that holds its answer; one over a window's edge is dropped and noted.

    Examples bring their whole text, and the (start, end) offsets of the answer in it.
    """
    cut: dict[str, list[Span]] = {}
    for example, start, end in placed:
        if example.text not in cut:
            cut[example.text] = windows(example.text, max_chars)
        held = next((span for span in cut[example.text] if span[0] <= start and end <= span[1]), None)
        if held is None:
            notes.count(EDGE)
        else:
            yield replace(example, text=example.text[slice(*held)], offset=held[0])


def nearest(text: str, answer: str, start: int) -> int | None:
    """Return where `text` holds `answer`: at `start`, else where it stands nearest to that; None if nowhere."""
    if start >= 0 and text.startswith(answer, start):
        return start
    return min(occurrences(text, answer), key=lambda place: abs(place - start), default=None)
