"""Where a method fails: its errors counted by kind, without a word of any text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, TaskCard
from mpdd.data.types.choice import index_of, options
from mpdd.data.types.multiple import indexes_of
from mpdd.evaluation.metrics import metrics_for
from mpdd.evaluation.row import after_numbers

Item = Entity | Relation | str
Pairs = Sequence[tuple[Example, Parsed]]
ERRORS: Mapping[str, tuple[str, ...]] = {  # by what is counted; those that a gold item can meet, and then the rest
    "entities": ("wrong_boundary", "wrong_label", "missed", "spurious"),
    "relations": ("wrong_label", "turned_round", "missed", "spurious"),
    "labels": ("missed", "spurious"),
}


def failures(
    card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed], cut_inputs: int | None = None
) -> dict[str, Any]:
    """Return the errors of one output for each example as JSON values; `kind` says what is counted.

    `entities`, `relations`, `labels`: for each label of the card its gold items (`lost` ones apart), how many of them are right
    or meet an error, and the predictions that are left over (`spurious`); `none` counts the examples without a gold item, and the
    outputs that say so. `choices`: `confusion` counts examples by gold label
    (rows) and predicted label (columns, the last for none). `choices`, `options`, `extracts`: `outcomes` counts examples.
    `texts`: the median ratio of words to those of the gold answer, and how many outputs are empty or stand word for word in
    the input. All have the number of unparseable outputs, ungrounded items, and inputs that were cut (None: not known).
    """
    pairs = list(zip(examples, parsed, strict=True))
    return {
        **_counted(card, pairs),
        "examples": len(pairs),
        "unparseable": sum(output.unparseable for _, output in pairs),
        "ungrounded": sum(output.ungrounded for _, output in pairs),
        "cut_inputs": cut_inputs,
    }


def failures_of(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the failures of finished cells, each beside what names it; cells of older runs have none."""
    names = ("target", "method", "shots", "seed")
    return [{**{name: c["row"][name] for name in names}, **c["failures"]} for c in cells if "failures" in c]


def _counted(card: TaskCard, pairs: Pairs) -> dict[str, Any]:
    if card.type == "summarization" or card.form == "free":
        return _texts(pairs)
    if card.form == "extractive":
        return {"kind": "extracts", "outcomes": _tally(_EXTRACTS, (_extracted(card, *pair) for pair in pairs))}
    if card.type in ("ner", "re") or card.form == "multiple":
        return _items(card, pairs)
    return _choices(card, pairs)


def _tally(names: Sequence[str], outcomes: Iterable[str]) -> dict[str, int]:
    counts = Counter(outcomes)
    return {name: counts[name] for name in names}


# Items: entities, relations and labels. Right ones are those of the strict metric; of what is left on both sides, each gold
# item takes at most one prediction, for the first reason that fits.


def _same_span(gold: Entity, other: Entity) -> bool:
    return (gold.start, gold.end) == (other.start, other.end)


def _overlaps(gold: Entity, other: Entity) -> bool:
    return gold.label == other.label and gold.start < other.end and other.start < gold.end


def _same_pair(gold: Relation, other: Relation) -> bool:
    return (gold.head, gold.tail) == (other.head, other.tail)


def _turned(gold: Relation, other: Relation) -> bool:
    return (gold.label, gold.head, gold.tail) == (other.label, other.tail, other.head)


_REASONS: Mapping[str, tuple[tuple[str, Callable[[Any, Any], bool]], ...]] = {
    "entities": (("wrong_label", _same_span), ("wrong_boundary", _overlaps)),
    "relations": (("wrong_label", _same_pair), ("turned_round", _turned)),
    "labels": (),
}


def _items(card: TaskCard, pairs: Pairs) -> dict[str, Any]:
    kind = {"ner": "entities", "re": "relations"}.get(card.type, "labels")
    outcome_counts: Counter[tuple[str, str]] = Counter()
    for example, output in pairs:
        gold, predicted = _of(card, example, example.gold), _of(card, example, output.answer)
        outcome_counts.update((_label(item), outcome) for item, outcome in _outcomes(gold, predicted, kind))
        outcome_counts.update((_label(item), "gold") for item in gold)
    labels = dict.fromkeys([*card.labels, *sorted({label for label, _ in outcome_counts})])
    names = ("gold", "right", *ERRORS[kind])
    return {
        "kind": kind,
        "labels": {label: {name: outcome_counts[label, name] for name in names} for label in labels},
        "lost": sum(example.lost for example, _ in pairs),
        "none": {
            "gold": sum(not _of(card, example, example.gold) for example, _ in pairs),
            "predicted": sum(_says_none(card, example, output) for example, output in pairs),
        },
    }


def outcomes(card: TaskCard, example: Example, output: Parsed) -> list[tuple[Item, str]]:
    """Return what became of each gold entity, relation or label (`right`, or an error of `ERRORS`), and the spurious ones."""
    kind = {"ner": "entities", "re": "relations"}.get(card.type, "labels")
    return list(_outcomes(_of(card, example, example.gold), _of(card, example, output.answer), kind))


def _says_none(card: TaskCard, example: Example, output: Parsed) -> bool:
    """Whether an output says that there is no item; one whose items are all dropped, or that cannot be read, does not."""
    return not (_of(card, example, output.answer) or output.ungrounded or output.unparseable)


def _of(card: TaskCard, example: Example, answer: Answer) -> set[Item]:
    if card.form == "multiple":
        return {card.labels[index] for index in indexes_of(card, example, answer)}
    return {*answer.entities, *answer.relations}


def _label(item: Item) -> str:
    return item if isinstance(item, str) else item.label


def _outcomes(gold: set[Item], predicted: set[Item], kind: str) -> Iterator[tuple[Item, str]]:
    """Each gold item with what became of it, and each left-over prediction as spurious.

    Going through gold by its end, the prediction that ends first is the right one to take where several overlap: any that
    a later item could want instead overlaps that one too. So the most items find a partner.
    """
    yield from ((item, "right") for item in gold & predicted)
    left, free = sorted(gold - predicted, key=_by_end), sorted(predicted - gold, key=_by_end)
    for reason, fits in _REASONS[kind]:
        for item in tuple(left):
            partner = next((other for other in free if fits(item, other)), None)
            if partner is not None:
                left.remove(item)
                free.remove(partner)
                yield item, reason
    yield from ((item, "missed") for item in left)
    yield from ((item, "spurious") for item in free)


def _by_end(item: Item) -> Any:
    return (item.end, item) if isinstance(item, Entity) else item


# Choices, extracts and texts

_CHOICES = ("right", "wrong", "unparseable")
_EXTRACTS = ("exact", "overlapping", "wrong", "unparseable")


def _choices(card: TaskCard, pairs: Pairs) -> dict[str, Any]:
    """With a confusion table where every example is answered by the card's labels."""
    chosen = [(index_of(card, example, example.gold), output.answer.choice) for example, output in pairs]
    summary = {"outcomes": _tally(_CHOICES, (_chosen(gold, choice) for gold, choice in chosen))}
    if any(options(card, example) != card.labels for example, _ in pairs):
        return {"kind": "options", **summary}
    columns = [*range(len(card.labels)), None]
    counts = Counter(chosen)
    confusion = [[counts[gold, choice] for choice in columns] for gold in range(len(card.labels))]
    return {"kind": "choices", **summary, "labels": list(card.labels), "confusion": confusion}


def _chosen(gold: int, choice: int | None) -> str:
    return "unparseable" if choice is None else "right" if choice == gold else "wrong"


def _extracted(card: TaskCard, example: Example, output: Parsed) -> str:
    """By the counts of the metrics: every word of the gold answer and no other, some of its words, or none."""
    scores = {metric.name: float(metric.counts(card, example, output)[0]) for metric in metrics_for(card)}
    if scores["exact_match"]:
        return "exact"
    return "unparseable" if output.unparseable else "overlapping" if scores["token_f1"] else "wrong"


def _texts(pairs: Pairs) -> dict[str, Any]:
    words = [(len(output.answer.text.split()), len(example.gold.text.split())) for example, output in pairs]
    ratios = [ours / gold for ours, gold in words if ours and gold]
    return {
        "kind": "texts",
        "median_ratio": round(median(ratios), 4) if ratios else None,
        "empty": sum(not ours for ours, _ in words),
        "copied": sum(_copied(example, output.answer.text) for example, output in pairs),
        "gold_copied": sum(_copied(example, example.gold.text) for example, _ in pairs),
    }


def _copied(example: Example, text: str) -> bool:
    """Whether a text that is not empty stands in the input as it is, but for spacing."""
    inputs = (example.text, *(value for _, value in example.fields))
    return bool(text.split()) and any(" ".join(text.split()) in " ".join(value.split()) for value in inputs)


# Examples worth a look


def at_most_shots(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the place of each method's first row (the first seed's) among those with the most shots."""
    place_of: dict[str, int] = {}
    for place, row in enumerate(rows):
        before = place_of.get(row["method"])
        if before is None or after_numbers(row["shots"]) > after_numbers(rows[before]["shots"]):
            place_of[row["method"]] = place
    return place_of


def instructive_examples(
    card: TaskCard, examples: Sequence[Example], counts: Sequence[Sequence[float]] | None, most: int
) -> list[Example]:
    """Return one example that is answered right and others that are not, in their order and filled up with the first ones.

    `counts` are those of the headline metric, a row for each example (None: not known, so the first ones). Right is what
    counts as the gold answer does.
    """
    if counts is None:
        return list(examples[:most])
    count = metrics_for(card)[0].counts
    right = [count(card, e, Parsed(e.gold)).tolist() == list(scored) for e, scored in zip(examples, counts, strict=True)]
    places = [place for place, is_right in enumerate(right) if is_right][:1]
    places += [place for place, is_right in enumerate(right) if not is_right][: most - 1]
    places += [place for place in range(len(examples)) if place not in places]
    return [examples[place] for place in sorted(places[:most])]
