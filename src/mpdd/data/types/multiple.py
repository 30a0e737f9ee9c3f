"""Several labels of the card as text: on one line, in the card's order, between semicolons, or "none"."""

from __future__ import annotations

from mpdd.data.task import Answer, Example, Parsed, TaskCard
from mpdd.data.types.choice import are_distinct
from mpdd.data.types.spans import NONE, escape, fold, is_none, split, unescape
from mpdd.errors import InputError


def indexes_of(card: TaskCard, example: Example, answer: Answer) -> tuple[int, ...]:
    """Return the indexes of the answer's labels, sorted; raise `InputError` where one is out of range."""
    indexes = sorted(set(answer.labels))
    if indexes and not 0 <= indexes[0] <= indexes[-1] < len(card.labels):
        raise InputError(
            f"Example {example.id} of task {card.name} has labels that its card lacks",
            found=indexes,
            wanted=f"indexes into its {len(card.labels)} labels",
        )
    return tuple(indexes)


def target(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the labels, or "none"; raise `InputError` for an invalid index or for labels that cannot be told apart."""
    if not are_distinct(card.labels) or any(map(is_none, card.labels)):
        raise InputError(
            f"Task {card.name} needs labels that differ in more than case and whitespace",
            found=list(card.labels),
            wanted=f"distinct, non-empty labels other than {NONE!r}",
        )
    return "; ".join(escape(card.labels[index], ";") for index in indexes_of(card, example, answer)) or NONE


def parse(card: TaskCard, example: Example, output: str) -> Parsed:
    """Read labels back in any order and case; only an empty output is unparseable, unknown labels are ungrounded."""
    items = [item for line in output.split("\n") for item in split(line.strip(), ";") if item]
    named = {fold(unescape(item)) for item in items if not is_none(item)}
    index_of = {fold(label): index for index, label in enumerate(card.labels)}
    indices = tuple(sorted(index_of[name] for name in named if name in index_of))
    return Parsed(Answer(labels=indices), unparseable=not items, ungrounded=len(named) - len(indices))
