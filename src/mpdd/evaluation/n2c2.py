"""Entities and relations scored as by the evaluation script of n2c2 2018 track 2, quirks included.

Strict: same type and offsets; lenient: same type and overlap (of both arguments, for relations). The script goes through
the predictions; each uses up every gold item that it matches, and one that meets an item used up before is left out of
the count: neither right nor wrong. Micro pools all items. "Macro" is the mean over documents, 0 for one without
items. Documents that only one side has are skipped. So gold in need not give 100: not by macro where a document is
empty, and not by lenient where gold items of one type overlap.

Two things differ: the script reads a file's items in its order, here they go by place, and its relations have typed
arguments, ours have not. Gold items that an example lost count as missed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mpdd.data.task import Answer, Example, Parsed, Task
from mpdd.evaluation.metrics import score

_PLACE = re.compile(r"([0-9]+):([0-9]+)(#[0-9]+)?")


@dataclass(frozen=True)
class Place:
    """Characters `start` to `end` of a text; `mark` tells discontinuous ones from and to the same characters apart."""

    text: str
    start: int
    end: int
    mark: str = ""


@dataclass(frozen=True)
class Item:
    """An entity (one place) or a relation (two); an argument that is a concept has no place, and is its id."""

    label: str
    places: tuple[Place | str, ...]


@dataclass
class Document:
    """The items of one side of a document; `lost` counts those that are known to be missing from them."""

    items: set[Item] = field(default_factory=set)
    lost: int = 0


def scores(examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, float]:
    """Return the script's F1, 0 to 100, of one output for each example; the windows of a document are joined."""
    gold = documents(examples, [example.gold for example in examples], [example.lost for example in examples])
    return compare(gold, documents(examples, [output.answer for output in parsed], [0] * len(examples)))


def documents(examples: Sequence[Example], answers: Sequence[Answer], lost: Sequence[int]) -> dict[str, Document]:
    """Return the items of the answers by document, their offsets moved from the window to its text."""
    by_id: dict[str, Document] = {}
    for example, answer, missing in zip(examples, answers, lost, strict=True):
        document = by_id.setdefault(example.document, Document())
        document.items.update(_items(example, answer))
        document.lost += missing
    return by_id


def _items(example: Example, answer: Answer) -> Iterator[Item]:
    for entity in answer.entities:
        yield Item(entity.label, (_place(example, entity.start, entity.end),))
    for relation in answer.relations:
        yield Item(relation.label, (_argument(example, relation.head), _argument(example, relation.tail)))


def _place(example: Example, start: int, end: int, mark: str = "") -> Place:
    text = example.id.removesuffix(f"@{example.offset}")  # a document may be several texts
    return Place(text, example.offset + start, example.offset + end, mark)


def _argument(example: Example, key: str) -> Place | str:
    match = _PLACE.fullmatch(key)
    return _place(example, int(match[1]), int(match[2]), match[3] or "") if match else key


def compare(gold: Mapping[str, Document], predicted: Mapping[str, Document]) -> dict[str, float]:
    """Return strict and lenient, micro and macro F1, 0 to 100, over the documents that both sides have."""
    both = [(document, predicted[name]) for name, document in gold.items() if name in predicted]
    values = {}
    for mode, matches in _MODES.items():
        counts = [_counts(document, answer, matches) for document, answer in both]
        values[f"n2c2_{mode}_micro_f1"] = _f1(*(sum(column) for column in zip(*counts, strict=True))) if counts else 0.0
        values[f"n2c2_{mode}_macro_f1"] = sum(_f1(*row) for row in counts) / len(counts) if counts else 0.0
    return values


def _counts(gold: Document, predicted: Document, matches: Callable[[Item, Item], bool]) -> tuple[int, int, int]:
    """Return how many items are matched, predicted (without those left out) and gold."""
    used: set[Item] = set()
    matched = left_out = 0
    for item in _in_order(predicted.items):
        matching = {other for other in gold.items if matches(item, other)}
        left_out += not matching.isdisjoint(used)
        matched += bool(matching) and matching.isdisjoint(used)
        used |= matching
    return matched, len(predicted.items) - left_out, len(gold.items) + gold.lost


def _in_order(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (*(_sortable(place) for place in item.places), item.label))


def _sortable(place: Place | str) -> tuple[str, int, int, str]:
    return (place, 0, 0, "") if isinstance(place, str) else (place.text, place.start, place.end, place.mark)


def _is_same(item: Item, other: Item) -> bool:
    return item == other


def _overlaps(item: Item, other: Item) -> bool:
    return item.label == other.label and all(map(_meet, item.places, other.places))


def _meet(place: Place | str, other: Place | str) -> bool:
    if isinstance(place, str) or isinstance(other, str):
        return place == other
    return place.text == other.text and place.start < other.end and other.start < place.end


_MODES = {"strict": _is_same, "lenient": _overlaps}


def _f1(matched: int, predicted: int, gold: int) -> float:
    return 200 * matched / (predicted + gold) if predicted + gold else 0.0


_BY_COARSE_LABELS = ("strict_f1", "lenient_f1")


def other_values(task: Task, examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, float]:
    """Return further values, 0 to 100, by name, of one output for each example; none for most types.

    `n2c2_*` for entities and relations (see `scores`), `coarse_*` where the task has coarser labels.
    """
    values = scores(examples, parsed) if task.card.type in ("ner", "re") else {}
    if task.coarse is not None:
        gold = [replace(example, gold=task.coarse(example.gold)) for example in examples]
        coarse = score(task.card, gold, [replace(output, answer=task.coarse(output.answer)) for output in parsed]).values
        values |= {f"coarse_{name}": coarse[name] for name in _BY_COARSE_LABELS if name in coarse}
    return values
