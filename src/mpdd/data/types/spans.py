"""The small answer notation that entity and relation targets share, and finding mentions in a text.

An answer is lines of `Label: item; item`, or `none`. A backslash escapes what would otherwise be read as
notation: `\\\\`, `\\n` for a newline, `\\;` (and `\\:` in a label, `\\->` in a relation), `\\@` where a mention
itself ends like a rank, and `\\uXXXX` for whitespace at an end. ` @k` after a mention picks the k-th candidate, and
` @0k` the k-th of those that begin or end within a placeholder of de-identification, which are no candidates otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from mpdd.data.placeholders import Placeholders
from mpdd.data.task import Example, TaskCard
from mpdd.errors import InputError

T = TypeVar("T")
NONE = "none"
_ESCAPED = re.compile(r"\\([\\;:@-]|n|u[0-9a-f]{4})")
_RANK = re.compile(r"(.*\S)\s+@([0-9]{1,6})", re.DOTALL)


def fold(text: str) -> str:
    """Return `text` with case and runs of whitespace made equal, for comparisons only."""
    return " ".join(text.casefold().split())


def is_none(raw: str) -> bool:
    """Say whether a line or an item reads "none"."""
    return fold(raw).rstrip(".") == NONE


def escape(text: str, *marks: str) -> str:
    """Return `text` on one line, without bare `marks`, and with nothing that stripping would remove."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    for mark in marks:
        text = text.replace(mark, "\\" + mark)
    text = re.sub(r"\A\s+|\s+\Z", lambda edge: "".join(f"\\u{ord(char):04x}" for char in edge[0]), text)
    return re.sub(r"(?<=\s)@(?=[0-9]+\Z)", r"\\@", text)


def unescape(raw: str) -> str:
    """Undo `escape`; a backslash that starts no known escape stands for itself."""
    return _ESCAPED.sub(_unescaped, raw)


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code == "n":
        return "\n"
    return chr(int(code[1:], 16)) if code[0] == "u" else code


def split(raw: str, mark: str, maxsplit: int = -1) -> list[str]:
    """Split at each `mark` (at most `maxsplit` of them) that no backslash precedes, and strip the parts."""
    parts: list[str] = []
    start = 0
    for match in re.finditer(r"\\.|" + re.escape(mark), raw, re.DOTALL):
        if match[0] == mark and len(parts) != maxsplit:
            parts.append(raw[start : match.start()].strip())
            start = match.end()
    return [*parts, raw[start:].strip()]


def read_mention(raw: str) -> tuple[str, int]:
    """Return the mention that a stripped item names, and its rank (counted from 1; 1 where none is given)."""
    ranked = _RANK.fullmatch(raw)
    return (unescape(ranked[1]), int(ranked[2])) if ranked else (unescape(raw), 1)


def is_in_placeholder(raw: str) -> bool:
    """Return whether a stripped item means a place that begins or ends within a placeholder: whether its rank has a zero in
    front."""
    ranked = _RANK.fullmatch(raw)
    return ranked is not None and len(ranked[2]) > 1 and ranked[2].startswith("0")


def pick(candidates: Sequence[T], rank: int) -> T:
    """Return the candidate of this rank, or the first one where the rank does not exist."""
    return candidates[rank - 1 if 1 <= rank <= len(candidates) else 0]


def write_lines(card: TaskCard, example: Example, items: Mapping[str, Sequence[str]]) -> str:
    """Return one line for each label that has items, in the card's order, or "none"."""
    unknown = sorted(set(items) - set(card.labels))
    if unknown:
        raise InputError(
            f"Example {example.id} of task {card.name} has labels that its card lacks",
            found=unknown,
            wanted=list(card.labels),
        )
    filled = [label for label in dict.fromkeys(card.labels) if items.get(label)]
    return "\n".join(f"{escape(label, ':')}: {'; '.join(items[label])}" for label in filled) or NONE


def read_lines(labels: Sequence[str], output: str) -> tuple[list[tuple[str, str]], bool]:
    """Return the (label, raw item) pairs of an output, and whether it says "none" in at least one place.

    Lines that start with no known label are skipped.
    """
    items: list[tuple[str, str]] = []
    says_none = False
    for line in output.strip().split("\n"):
        says_none = says_none or is_none(line)
        for label, raw in _read_line(labels, line):
            if is_none(raw):
                says_none = True
            elif raw:
                items.append((label, raw))
    return items, says_none


def item_places(labels: Sequence[str], output: str) -> list[tuple[int, int]]:
    """Where each item of `read_lines` stands in the output, as (start, end) in characters."""
    places: list[tuple[int, int]] = []
    line_start = len(output) - len(output.lstrip())
    for line in output.strip().split("\n"):
        end = line_start + _after_label(line)
        for _, raw in _read_line(labels, line):
            start = output.index(raw, end)
            end = start + len(raw)
            if raw and not is_none(raw):
                places.append((start, end))
        line_start += len(line) + 1
    return places


def _after_label(line: str) -> int:
    return next((mark.end() for mark in re.finditer(r"\\.|:", line, re.DOTALL) if mark[0] == ":"), 0)


def _read_line(labels: Sequence[str], line: str) -> Iterator[tuple[str, str]]:
    name, *rest = split(line, ":", 1)
    label = _known_label(labels, unescape(name))
    if rest and label is not None:
        yield from ((label, raw) for raw in split(rest[0], ";"))


def _known_label(labels: Sequence[str], name: str) -> str | None:
    if name in labels:
        return name
    return next((label for label in labels if fold(label) == fold(name)), None)


def occurrences(text: str, mention: str, *, ignore_case: bool = False, placeholders: Placeholders | None = None) -> list[int]:
    """Return where `mention` starts in `text`: at word boundaries first, then inside words, last where it begins or ends within
    a placeholder, each in reading order. `placeholders` are those of the text, for a caller who knows them already.

    Every occurrence is as long as the mention, and occurrences may overlap each other.
    """
    starts = list(_starts(text, mention, ignore_case)) if mention else []
    known = placeholders or Placeholders(text)
    return sorted(starts, key=lambda start: _order(text, known, start, start + len(mention)))


def best_first(text: str, placeholders: Placeholders, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans of a text ordered as `occurrences` are."""
    return sorted(spans, key=lambda span: _order(text, placeholders, *span))


def _order(text: str, placeholders: Placeholders, start: int, end: int) -> tuple[bool, bool]:
    return placeholders.cut_by(start, end), not is_bounded(text, start, end)


def _starts(text: str, mention: str, ignore_case: bool) -> Iterator[int]:
    if ignore_case:  # a regular expression folds character by character, so offsets stay those of the text
        yield from (match.start() for match in re.finditer(f"(?={re.escape(mention)})", text, re.IGNORECASE))
        return
    start = text.find(mention)
    while start >= 0:
        yield start
        start = text.find(mention, start + 1)


def is_bounded(text: str, start: int, end: int) -> bool:
    """Say whether a span of a text neither begins nor ends within a word."""
    return not any(0 < edge < len(text) and _in_word(text, edge) for edge in (start, end))


def _in_word(text: str, position: int) -> bool:
    return all(char.isalnum() or char == "_" for char in text[position - 1 : position + 1])
