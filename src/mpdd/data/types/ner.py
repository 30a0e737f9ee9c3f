"""Entities as text: one line for each label, mentions in reading order, offsets found again by the parser.

A predicted mention stands where the text has it, else where it has it in another case, else where it has its words over
any white space (`grounding`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, TaskCard
from mpdd.data.types.grounding import Grounding, Span
from mpdd.data.types.spans import escape, is_none, item_places, occurrences, pick, read_lines, read_mention, write_lines
from mpdd.errors import InputError


class _Places:
    """Where a label's next mention may stand: both the renderer and the parser walk a text with this."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.grounding = Grounding(text)
        self.cursor: defaultdict[str, int] = defaultdict(int)
        self.taken: set[Entity] = set()

    def take(self, entity: Entity) -> None:
        """Use up this span for its label, and read on from its start."""
        self.taken.add(entity)
        self.cursor[entity.label] = entity.start

    def free(self, label: str, mention: str) -> list[Entity]:
        """Return the places with exactly this mention, best first: unused, at or after the cursor, else from the beginning."""
        return self._unused(label, self._exact(mention))

    def free_alike(self, label: str, mention: str) -> list[Entity]:
        """Return, ordered as `free` does, the exact places, else those in another case, else those with the same words."""
        for spans in self._alike(mention):
            if unused := self._unused(label, spans):
                return unused
        return []

    def holds(self, mention: str) -> bool:
        """Say whether the text has the mention's words at all, taken or not."""
        return any(self._alike(mention))

    def _unused(self, label: str, spans: Iterable[Span]) -> list[Entity]:
        unused = [entity for start, end in spans if (entity := Entity(start, end, label)) not in self.taken]
        return [entity for entity in unused if entity.start >= self.cursor[label]] or unused

    def _exact(self, mention: str, *, ignore_case: bool = False) -> list[Span]:
        starts = occurrences(self.text, mention, ignore_case=ignore_case)
        return [(start, start + len(mention)) for start in starts]

    def _alike(self, mention: str) -> Iterator[list[Span]]:
        yield self._exact(mention)
        yield self._exact(mention, ignore_case=True)
        yield self.grounding.spans(mention)


def target(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the lines that name these entities; raise `InputError` for a span outside the text."""
    places = _Places(example.text)
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for entity in sorted(set(answer.entities), key=lambda span: (span.start, -span.end, span.label)):
        _check(card, example, entity)
        mention = example.text[entity.start : entity.end]
        rank = places.free(entity.label, mention).index(entity) + 1
        places.take(entity)
        item = escape(mention, ";")
        lines[entity.label].append(item if rank == 1 and not is_none(item) else f"{item} @{rank}")
    return write_lines(card, example, lines)


def _check(card: TaskCard, example: Example, entity: Entity) -> None:
    if not 0 <= entity.start < entity.end <= len(example.text):
        raise InputError(
            f"Example {example.id} of task {card.name} has an entity outside its text",
            found=f"offsets {entity.start} to {entity.end}",
            wanted=f"a non-empty span within 0 to {len(example.text)}",
        )


def parse(card: TaskCard, example: Example, output: str) -> Parsed:
    """Read entities back, in offset order; a mention that the text lacks is counted as ungrounded and dropped."""
    items, says_none = read_lines(card.labels, output)
    places, ungrounded = _Places(example.text), 0
    written: dict[Entity | Relation, tuple[int, int]] = {}
    for (label, raw), at in zip(items, item_places(card.labels, output), strict=True):
        mention, rank = read_mention(raw)
        free = places.free_alike(label, mention)
        if free:
            places.take(pick(free, rank))
            written[pick(free, rank)] = at
        elif not places.holds(mention):
            ungrounded += 1
    return Parsed(Answer(entities=tuple(sorted(places.taken))), not (items or says_none), ungrounded, written)
