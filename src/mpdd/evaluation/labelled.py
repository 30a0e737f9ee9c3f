"""Scores of answers to labelled examples, with 95 % intervals: over all, for each label, and each error where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mpdd.data.task import Entity, Example, Parsed, Relation, TaskCard
from mpdd.data.types.choice import index_of, options
from mpdd.data.types.multiple import indexes_of
from mpdd.evaluation.compare import Counts, Interval, bootstrap_interval
from mpdd.evaluation.failures import outcomes
from mpdd.evaluation.metrics import chance, metrics_for, score

Found = Mapping[str, Any]
_ABOUT = 120  # characters of the text around an error that are shown


@dataclass(frozen=True)
class LabelScore:
    """Precision, recall and F1 of one label (0 to 100), and its gold items and predictions."""

    precision: Interval
    recall: Interval
    f1: Interval
    gold: int
    predicted: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of one prompt on labelled examples.

    `metrics` are those of the task's type, the headline first, each with its 95 % interval over documents; `labels` has those
    of each label of the card, where there are labels. `baseline` is what an answer that needs no model scores (the most
    frequent label, say). `unparseable` and `ungrounded` are percentages, `cut_inputs` counts texts that were not read in full.
    `errors` names each error without its text; `reading` counts what the reader skipped.
    """

    task: str
    examples: int
    documents: int
    metrics: Mapping[str, Interval]
    labels: Mapping[str, LabelScore]
    baseline: float
    unparseable: float
    ungrounded: float
    cut_inputs: int
    errors: tuple[Found, ...]
    reading: Mapping[str, int]

    @property
    def headline(self) -> Interval:
        """The metric that stands for the task."""
        return next(iter(self.metrics.values()))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def evaluated(
    card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed], *, cut_inputs: int = 0,
    reading: Mapping[str, int] | None = None, show_text: bool = False,
) -> Evaluation:  # fmt: skip
    """Score one output for each example. `errors` hold text of the examples only with `show_text`.

    Raise `InputError` where there is no example, or not one output for each.
    """
    scored = score(card, examples, parsed)
    documents = scored.documents
    metrics = {
        metric.name: bootstrap_interval(_table(card, examples, parsed, metric.counts), documents, metric.value)
        for metric in metrics_for(card)
    }
    errors = (error for pair in zip(examples, parsed, strict=True) for error in _errors(card, *pair, show_text))
    return Evaluation(
        card.name, len(examples), len(set(documents)), metrics, _by_label(card, examples, parsed, documents),
        chance(card, examples), scored.unparseable, scored.ungrounded, cut_inputs, tuple(errors), dict(reading or {}),
    )  # fmt: skip


def _table(card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed], counts: Any) -> Counts:
    return np.stack([counts(card, *pair) for pair in zip(examples, parsed, strict=True)])


# By label: a row has (matched, predicted, gold)


def _by_label(
    card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed], documents: Sequence[str]
) -> dict[str, LabelScore]:
    scores = {}
    for label in card.labels:
        rows = np.array([_counts(card, label, *pair) for pair in zip(examples, parsed, strict=True)], dtype=np.float64)
        precision, recall, f1 = (bootstrap_interval(rows, documents, value) for value in (_precision, _recall, _f1))
        _, predicted, gold = rows.sum(axis=0)
        scores[label] = LabelScore(precision, recall, f1, int(gold), int(predicted))
    return scores


def _counts(card: TaskCard, label: str, example: Example, output: Parsed) -> tuple[int, int, int]:
    gold, predicted = (set(_items(card, example, answer, label)) for answer in (example.gold, output.answer))
    return len(gold & predicted), len(predicted), len(gold)


def _items(card: TaskCard, example: Example, answer: Any, label: str) -> Iterator[object]:
    """The items of an answer with this label; of a choice, the label itself."""
    if card.type in ("ner", "re"):
        yield from (item for item in (*answer.entities, *answer.relations) if item.label == label)
    elif card.form == "multiple":
        yield from (index for index in indexes_of(card, example, answer) if card.labels[index] == label)
    elif (choice := _choice(card, example, answer)) is not None and options(card, example)[choice] == label:
        yield label


def _choice(card: TaskCard, example: Example, answer: Any) -> int | None:
    return None if answer.choice is None else index_of(card, example, answer)


def _ratio(part: float, whole: float) -> float:
    return float(100 * part / whole) if whole else 0.0


def _precision(counts: Counts) -> float:
    return _ratio(counts[0], counts[1])


def _recall(counts: Counts) -> float:
    return _ratio(counts[0], counts[2])


def _f1(counts: Counts) -> float:
    return _ratio(2 * counts[0], counts[1] + counts[2])


# Errors


def _errors(card: TaskCard, example: Example, output: Parsed, show_text: bool) -> Iterator[Found]:
    if card.type in ("ner", "re") or card.form == "multiple":
        for item, outcome in outcomes(card, example, output):
            if outcome != "right":
                yield _place(example, outcome) | _item(example, item, show_text)
        return
    yield from _error_of_whole(card, example, output, show_text)


def _error_of_whole(card: TaskCard, example: Example, output: Parsed, show_text: bool) -> Iterator[Found]:
    """The error of an answer to a whole text; of written answers, each that is not word for word the gold one."""
    gold, answer = example.gold, output.answer
    if card.type == "summarization" or card.form in ("extractive", "free"):
        if gold.text.split() != answer.text.split():
            words = {"gold": gold.text, "predicted": answer.text} if show_text else {}
            yield _place(example, "unparseable" if output.unparseable else "other_words") | words
        return
    names = options(card, example)
    wanted, chosen = index_of(card, example, gold), answer.choice
    if wanted != chosen:
        shown: dict[str, str | None] = {"gold": names[wanted], "predicted": None if chosen is None else names[chosen]}
        shown_names = shown if card.labels or show_text else {}
        text = {"text": example.text[:_ABOUT]} if show_text else {}
        yield _place(example, "unparseable" if chosen is None else "wrong") | shown_names | text


def _place(example: Example, outcome: str) -> dict[str, Any]:
    return {"example": example.id, "error": outcome}


def _item(example: Example, item: Entity | Relation | str, show_text: bool) -> dict[str, Any]:
    if isinstance(item, str):
        return {"label": item}
    if isinstance(item, Relation):
        words = {"head": _wording(example, item.head), "tail": _wording(example, item.tail)} if show_text else {}
        return {"label": item.label} | words
    place = {"label": item.label, "start": example.offset + item.start, "end": example.offset + item.end}
    if not show_text:
        return place
    around = example.text[max(0, item.start - _ABOUT // 2) : item.end + _ABOUT // 2]
    return place | {"text": example.text[item.start : item.end], "around": around}


def _wording(example: Example, key: str) -> str:
    """The words of a relation's end: its first form, or the piece of the text that the key `start:end` names."""
    if forms := example.arguments.get(key):
        return forms[0]
    start, _, end = key.partition(":")
    return example.text[int(start) : int(end)] if start.isdigit() and end.isdigit() else key
