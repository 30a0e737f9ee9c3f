"""Entities as text: one line for each label, mentions in reading order, offsets found again by the parser.

A predicted mention stands where the text has it, else where it has it in another case, else where it has its words over
any white space (`grounding`). It does not stand where it would begin or end within a placeholder of de-identification: a
model that writes "Name" does not mean a part of `[**Name**]`. Gold annotations that lie so are written with ranks of their own
(`Name @01`), by which they are read back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, TaskCard
from mpdd.data.types.grounding import Grounding, Span
from mpdd.data.types.spans import escape, is_in_placeholder, is_none, item_places, pick, read_lines, read_mention, write_lines
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

    def free(self, label: str, mention: str, *, cuts: bool) -> list[Entity]:
        """Return the places with exactly this mention, best first: unused, at or after the cursor, else from the beginning.

        With `cuts` those that begin or end within a placeholder, else the others.
        """
        return self._unused(label, self._with_cuts(next(self.grounding.places(mention)), cuts))

    def free_alike(self, label: str, mention: str, *, cuts: bool) -> list[Entity]:
        """Return, ordered as `free` does, the exact places, else those in another case, else those with the same words."""
        for spans in self.grounding.places(mention):
            if unused := self._unused(label, self._with_cuts(spans, cuts)):
                return unused
        return []

    def holds(self, mention: str, *, cuts: bool) -> bool:
        """Say whether the text has the mention's words at all, taken or not."""
        return any(self._with_cuts(spans, cuts) for spans in self.grounding.places(mention))

    def cuts(self, entity: Entity) -> bool:
        """Say whether a span begins or ends within a placeholder."""
        return self.grounding.placeholders.cut_by(entity.start, entity.end)

    def _unused(self, label: str, spans: Iterable[Span]) -> list[Entity]:
        unused = [entity for start, end in spans if (entity := Entity(start, end, label)) not in self.taken]
        return [entity for entity in unused if entity.start >= self.cursor[label]] or unused

    def _with_cuts(self, spans: Iterable[Span], cuts: bool) -> list[Span]:
        return [span for span in spans if self.grounding.placeholders.cut_by(*span) == cuts]


def target(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the lines that name these entities; raise `InputError` for a span outside the text."""
    places = _Places(example.text)
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for entity in sorted(set(answer.entities), key=lambda span: (span.start, -span.end, span.label)):
        _check(card, example, entity)
        mention = example.text[entity.start : entity.end]
        cuts = places.cuts(entity)
        rank = places.free(entity.label, mention, cuts=cuts).index(entity) + 1
        places.take(entity)
        item = escape(mention, ";")
        is_plain = rank == 1 and not is_none(item) and not cuts
        lines[entity.label].append(item if is_plain else f"{item} @{'0' * cuts}{rank}")
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
        (mention, rank), cuts = read_mention(raw), is_in_placeholder(raw)
        free = places.free_alike(label, mention, cuts=cuts)
        if free:
            places.take(pick(free, rank))
            written[pick(free, rank)] = at
        elif not places.holds(mention, cuts=cuts):
            ungrounded += 1
    return Parsed(Answer(entities=tuple(sorted(places.taken))), not (items or says_none), ungrounded, written)
