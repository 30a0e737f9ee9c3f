"""Other ways to ask the same example: a part of the labels, in another order, in other words; fewer options in another order.

A metaprompt that has only ever seen one question for each source learns which source is asked, and not to read the question.
Rows that are asked otherwise, with the answer that then is right, teach it to read (an idea of ours; instruction tuning for
entities does much the same: Wang et al. 2023, InstructUIE, arXiv 2304.08085).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from mpdd.data.task import Example, TaskCard

Item = TypeVar("Item")
_ENTITIES = ("List the {} in the text.", "Find every {}.", "Which mentions are {}?", "Mark {}.")
_RELATIONS = ("List the relations {} of the text.", "Which terms are related by {}?", "Find every {}.")
_ANSWERS = ("{} Answer {}.", "{} Choose {}.")
_FEWEST = 2  # options that are left of a question's


def varied(card: TaskCard, example: Example, rng: random.Random) -> tuple[TaskCard, Example]:
    """The example asked in another way, with its gold answer to that; the same where its kind of answer has no other way.

    Entities, relations: some of the labels, in most cases one of the answer's among them, in any order. Options: some of
    them, the right one among them, in any order. Labels to choose from: named in the question.
    """
    way = _WAYS.get(card.kind)
    return way(card, example, rng) if way else (card, example)


def asked(card: TaskCard, examples: Sequence[Example], share: float, seed: int) -> Iterator[tuple[TaskCard, Example]]:
    """Each example with its card, and `share` of them (0 to 1, drawn one by one from the seed and their ids) asked otherwise."""
    for example in examples:
        rng = random.Random(f"vary/{seed}/{card.name}/{example.id}")  # a seed's text: another would draw others
        yield varied(card, example, rng) if rng.random() < share else (card, example)


def _entities(card: TaskCard, example: Example, rng: random.Random) -> tuple[TaskCard, Example]:
    labels = _some(card.labels, {e.label for e in example.gold.entities}, rng)
    gold = replace(example.gold, entities=tuple(e for e in example.gold.entities if e.label in labels))
    return _reworded(card, labels, _ENTITIES, rng), replace(example, gold=gold)


def _relations(card: TaskCard, example: Example, rng: random.Random) -> tuple[TaskCard, Example]:
    labels = _some(card.labels, {r.label for r in example.gold.relations}, rng)
    gold = replace(example.gold, relations=tuple(r for r in example.gold.relations if r.label in labels))
    return _reworded(card, labels, _RELATIONS, rng), replace(example, gold=gold)


def _choice(card: TaskCard, example: Example, rng: random.Random) -> tuple[TaskCard, Example]:
    """Options of the example's own are drawn; labels of the card's are named."""
    right = example.gold.choice
    if not example.choices or right is None:
        named = rng.choice(_ANSWERS).format(card.instruction, _joined(_shuffled(card.labels, rng), "or"))
        return replace(card, instruction=named), example
    wrong = _shuffled([i for i in range(len(example.choices)) if i != right], rng)
    fewest = min(_FEWEST, len(example.choices))
    drawn = _shuffled([right, *wrong[: rng.randint(fewest, len(example.choices)) - 1]], rng)
    choices = tuple(example.choices[i] for i in drawn)
    return card, replace(example, choices=choices, gold=replace(example.gold, choice=drawn.index(right)))


_WAYS: Mapping[str, Callable[[TaskCard, Example, random.Random], tuple[TaskCard, Example]]] = {
    "ner": _entities, "re": _relations, "qa choice": _choice, "nli": _choice, "classification single": _choice,
}  # fmt: skip


def _some(labels: Sequence[str], present: set[str], rng: random.Random) -> tuple[str, ...]:
    """One to all of the labels, in any order; nine times in ten at least one of those that are present, if any are."""
    drawn = _shuffled(labels, rng)[: rng.randint(1, len(labels))] if labels else []
    if present and not present.intersection(drawn) and rng.random() < 0.9:
        drawn[rng.randrange(len(drawn))] = rng.choice(sorted(present))
    return tuple(drawn)


def _reworded(card: TaskCard, labels: tuple[str, ...], wordings: Sequence[str], rng: random.Random) -> TaskCard:
    """The card with these labels alone, asked in its own words or in others that name them."""
    named = rng.choice(wordings).format(_joined([label.lower() for label in labels], "and"))
    return replace(card, labels=labels, instruction=rng.choice((card.instruction, named)))


def _joined(words: Sequence[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def _shuffled(items: Sequence[Item], rng: random.Random) -> list[Item]:
    return rng.sample(list(items), len(items))
