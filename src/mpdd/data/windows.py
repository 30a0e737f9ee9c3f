"""Windows of whole sentences over long documents, for entity tasks; the rule looks at the text only, never at gold.

The rule: a sentence ends at a line break, or after `.`, `!` or `?` (and closing quotes or brackets) where whitespace
and then a capital, a digit or an opening mark follow, unless a known abbreviation or an initial stands before the
full stop. It also ends after the full stops of other scripts (Chinese, Japanese, Hindi, Urdu, Ethiopic, Burmese and
Armenian), with or without whitespace behind. Sentences are packed into windows of up to `max_chars` characters. A longer
sentence is cut between words. A longer word is kept whole up to 1,000 bytes of UTF-8, and otherwise (as a sentence of a
script without spaces is) cut after every `max_chars` characters. A placeholder of de-identification is never cut
(`mpdd.data.placeholders`), whatever spaces, full stops and line ends it holds.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mpdd.data.placeholders import PATTERN, Placeholders
from mpdd.data.readers.base import ENTITY, Notes
from mpdd.data.task import Answer, Entity, Example

NER_CHARS = 400
ACROSS = "across the edge of a window"
LONGEST_WORD = 1000  # bytes of UTF-8 that are kept together without a space in them
Span = tuple[int, int]
_OTHER_SCRIPTS = "。！？｡।॥۔؟።፧။։"  # marks that end a sentence and nothing else
_END = re.compile(  # possessive, and never from within a run of marks: linear in the text, whatever it holds
    rf"""\n|[{_OTHER_SCRIPTS}]++["'”’)\]」』》）]*+|(?<![.!?])[.!?]++["'”’)\]]*+(?=\s++["'“‘(\[]*+[^\W_a-zß-ÿ])"""
)
_WORD = re.compile(rf"(?:{PATTERN}|\S)++")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[A-Za-z]|e\.g|i\.e|vs|cf|al|ca|approx|resp|dr|mr|mrs|ms|prof|st|figs?|nos?|refs?|eqs?)\.\Z",
    re.IGNORECASE,
)
_LOOK_BACK = 12


def sentences(text: str) -> list[Span]:
    """Return the (start, end) offsets of the sentences, without the whitespace around them."""
    return _sentences(text, Placeholders(text))


def _sentences(text: str, placeholders: Placeholders) -> list[Span]:
    ends = (match.end() for match in _END.finditer(text) if not _abbreviates(text, match))
    edges = [end for end in ends if placeholders.around(end) is None]
    between = zip([0, *edges], [*edges, len(text)], strict=True)
    return [span for start, end in between for span in _trim(text, start, end)]


def windows(text: str, max_chars: int = NER_CHARS, together: Sequence[Span] = ()) -> list[Span]:
    """Return windows in order as (start, end) offsets; only whitespace lies between, before and after them.

    Each is at most `max_chars` characters, but for a single longer word of at most `LONGEST_WORD` bytes. Edges lie so that
    they cut as few of the spans `together` as can be; without such spans each window is filled before the next begins.
    """
    pieces: list[Span] = []
    placeholders = Placeholders(text)
    for start, end in _sentences(text, placeholders):
        if end - start <= max_chars:
            pieces.append((start, end))
        else:
            words = (match.span() for match in _WORD.finditer(text, start, end))
            pieces += _pack((part for word in words for part in _parts(text, *word, max_chars, placeholders)), max_chars)
    packed = _pack(pieces, max_chars)
    return _pack_together(pieces, max_chars, together) if together and len(packed) > 1 else packed


def cut(document: str, text: str, entities: Sequence[Entity], notes: Notes, max_chars: int = NER_CHARS) -> list[Example]:
    """Return a document's windows as examples, entity offsets relative to each; `document` is its id.

    An entity that reaches over its window's end is counted in `lost` of the window where it starts, and noted.
    """
    examples = []
    for start, end in windows(text, max_chars):
        here = [entity for entity in entities if start <= entity.start < end]
        whole = [Entity(e.start - start, e.end - start, e.label) for e in here if e.end <= end]
        lost = len(here) - len(whole)
        notes.count("entities across a window's edge", lost)
        for label, number in Counter(e.label for e in set(here) if e.end > end).items():
            notes.lose((ENTITY, label), ACROSS, number)
        answer = Answer(entities=tuple(sorted(set(whole))))
        examples.append(Example(f"{document}@{start}", document, text[start:end], answer, offset=start, lost=lost))
    return examples


def _abbreviates(text: str, match: re.Match[str]) -> bool:
    if match[0] != ".":
        return False
    return _ABBREVIATION.search(text, max(0, match.start() - _LOOK_BACK), match.end()) is not None


def _trim(text: str, start: int, end: int) -> list[Span]:
    piece = text[start:end]
    if not piece.strip():
        return []
    return [(start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip()))]


def _parts(text: str, start: int, end: int, max_chars: int, placeholders: Placeholders) -> Iterator[Span]:
    """Cut a word that is too long; an accent (a mark that combines with the letter before it) stays with its letter, and a
    placeholder whole."""
    if end - start <= max_chars or len(text[start:end].encode("utf-8", "surrogatepass")) <= LONGEST_WORD:
        yield start, end
        return
    while end - start > max_chars:
        longest = start + max_chars
        edges = range(longest, max(start, longest - _LOOK_BACK), -1)
        edge = next((edge for edge in edges if not unicodedata.combining(text[edge])), longest)
        if around := placeholders.around(edge):
            edge = around[0] if around[0] > start else around[1]
        yield start, edge
        start = edge
    if start < end:
        yield start, end


def _pack(spans: Iterable[Span], max_chars: int) -> list[Span]:
    """Join neighbouring spans greedily as long as they fit."""
    packed: list[Span] = []
    for start, end in spans:
        if packed and end - packed[-1][0] <= max_chars:
            packed[-1] = (packed[-1][0], end)
        else:
            packed.append((start, end))
    return packed


def _pack_together(spans: Sequence[Span], max_chars: int, together: Sequence[Span]) -> list[Span]:
    """Join neighbouring spans as long as they fit, with the edges that cut the fewest of `together`; of these the fewest."""
    starts, ends = sorted(start for start, _ in together), sorted(end for _, end in together)
    # how many of `together` begin before each span and end after its beginning: what an edge before that span cuts
    cuts = [bisect_left(starts, start) - bisect_right(ends, start) for start, _ in spans]
    best: list[tuple[tuple[int, int], int]] = [((0, 0), 0)]  # by number of spans: (cuts, windows), where the last window begins
    for last, (_, end) in enumerate(spans):
        fitting = [last]
        while fitting[-1] > 0 and end - spans[fitting[-1] - 1][0] <= max_chars:
            fitting.append(fitting[-1] - 1)
        costs = [((best[first][0][0] + (cuts[first] if first else 0), best[first][0][1] + 1), first) for first in fitting]
        best.append(min(costs))
    packed: list[Span] = []
    count = len(spans)
    while count:
        first = best[count][1]
        packed.append((spans[first][0], spans[count - 1][1]))
        count = first
    return packed[::-1]
