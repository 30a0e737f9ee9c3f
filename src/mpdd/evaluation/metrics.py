"""Every metric as counts for each example, their sum, and a value of the sum on a 0 to 100 scale.

So a bootstrap over documents only resamples and adds rows. Where a ratio has nothing to divide by (no gold item
and no prediction, say) its value is 0.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpdd.data.task import Answer, Entity, Example, Parsed, TaskCard
from mpdd.data.types.choice import index_of
from mpdd.data.types.multiple import indexes_of
from mpdd.errors import InputError

Counts = NDArray[np.float64]
CountsOf = Callable[[TaskCard, Example, Parsed], Counts]


@dataclass(frozen=True)
class Metric:
    """`counts` gives one example's vector; `value` turns a sum of such vectors into 0 to 100."""

    name: str
    counts: CountsOf
    value: Callable[[Counts], float]


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of one task's outputs.

    `counts` has the headline metric's vectors, one row for each example, and `documents` the document of each row.
    `unparseable` is the share of outputs that could not be read, `ungrounded` the share of predicted items that name
    something outside the text, or no label of the card; both are 0 to 100. Ungrounded items are not answers, so no
    metric counts them, except that extractive QA scores every answer by its words.
    """

    values: dict[str, float]
    headline: str
    counts: Counts
    documents: tuple[str, ...]
    unparseable: float
    ungrounded: float
    n_examples: int


def score(card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed]) -> Scored:
    """Score outputs against gold answers by every metric of the task's type and form.

    Raise `InputError` where there is no example, or not one output for each.
    """
    if not examples or len(examples) != len(parsed):
        raise InputError(
            f"Task {card.name} cannot be scored",
            found=f"{len(parsed)} outputs for {len(examples)} examples",
            wanted="one output for each of one or more examples",
        )
    metrics = metrics_for(card)
    tables = {counts: _table(card, examples, parsed, counts) for counts in {metric.counts for metric in metrics}}
    return Scored(
        values={metric.name: metric.value(tables[metric.counts].sum(axis=0)) for metric in metrics},
        headline=metrics[0].name,
        counts=tables[metrics[0].counts],
        documents=tuple(example.document for example in examples),
        unparseable=_percent(sum(output.unparseable for output in parsed), len(parsed)),
        ungrounded=_ungrounded(card, parsed),
        n_examples=len(examples),
    )


def _table(card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed], counts: CountsOf) -> Counts:
    return np.stack([counts(card, example, output) for example, output in zip(examples, parsed, strict=True)])


def _ungrounded(card: TaskCard, parsed: Sequence[Parsed]) -> float:
    dropped = sum(output.ungrounded for output in parsed)
    if card.form == "extractive":
        return _percent(dropped, sum(not output.unparseable for output in parsed))
    answers = [output.answer for output in parsed]
    grounded = sum(len(answer.entities) + len(answer.relations) + len(answer.labels) for answer in answers)
    return _percent(dropped, grounded + dropped)


def _percent(part: float, whole: float) -> float:
    return float(100 * part / whole) if whole else 0.0


def metrics_for(card: TaskCard) -> tuple[Metric, ...]:
    """Return the metrics of a task's type and form, the headline first."""
    if (card.type, card.form) not in _METRICS:
        raise InputError(f"Task {card.name} has an unknown type", found=repr(card.type), wanted=sorted({k for k, _ in _METRICS}))
    return _METRICS[card.type, card.form]


# Items: a vector is (matched, predicted, gold); gold counts the items lost at a window's edge, too.


def _f1(counts: Counts) -> float:
    matched, predicted, gold = counts
    return _percent(2 * matched, predicted + gold)


def _precision(counts: Counts) -> float:
    return _percent(counts[0], counts[1])


def _recall(counts: Counts) -> float:
    return _percent(counts[0], counts[2])


def _strict_entities(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    return _strict(set(example.gold.entities), set(parsed.answer.entities), example.lost)


def _strict_relations(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    return _strict(set(example.gold.relations), set(parsed.answer.relations), example.lost)


def _strict_labels(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    return _strict(set(indexes_of(card, example, example.gold)), set(parsed.answer.labels), example.lost)


def _strict(gold: Set[object], predicted: Set[object], lost: int) -> Counts:
    return np.array([len(gold & predicted), len(predicted), len(gold) + lost], dtype=np.float64)


def _lenient_entities(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    gold, predicted = set(example.gold.entities), set(parsed.answer.entities)
    labels = {entity.label for entity in gold}
    matched = sum(_overlapping(_of(gold, label), _of(predicted, label)) for label in labels)
    return np.array([matched, len(predicted), len(gold) + example.lost], dtype=np.float64)


def _of(entities: set[Entity], label: str) -> list[Entity]:
    return [entity for entity in entities if entity.label == label]


def _overlapping(gold: Iterable[Entity], predicted: Iterable[Entity]) -> int:
    """Return the size of a maximum one-to-one matching of overlapping spans.

    Going through all spans by their end, each takes the first free span of the other side that it overlaps. That is
    the largest matching: all that overlap the span which ends first share its last character, and of those the one
    which ends first has the fewest other partners.
    """
    spans = sorted([(e.end, e.start, 0) for e in gold] + [(e.end, e.start, 1) for e in predicted])
    matched = 0
    while spans:
        end, _, side = spans.pop(0)
        partner = next((span for span in spans if span[2] != side and span[1] < end), None)
        if partner:
            spans.remove(partner)
            matched += 1
    return matched


# Choices and labels: accuracy's and exact match's vector is (right, all); macro-F1's has (matched, predicted, gold) for
# each label of the card, as rows of a matrix laid out flat.


def _right(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    return np.array([parsed.answer.choice == index_of(card, example, example.gold), 1], dtype=np.float64)


def _ratio(counts: Counts) -> float:
    return _percent(counts[0], counts[1])


def _same_labels(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    same = parsed.answer.labels == indexes_of(card, example, example.gold) and not parsed.unparseable
    return np.array([same, 1], dtype=np.float64)


def _by_choice(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    choice = parsed.answer.choice
    return _by_label(card, {index_of(card, example, example.gold)}, set() if choice is None else {choice})


def _by_labels(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    return _by_label(card, set(indexes_of(card, example, example.gold)), set(parsed.answer.labels))


def _by_label(card: TaskCard, gold: Set[int], predicted: Set[int]) -> Counts:
    counts = np.zeros((3, len(card.labels)))
    for row, labels in zip(counts, (gold & predicted, predicted, gold), strict=True):
        row[list(labels)] = 1
    return counts.reshape(-1)


def _macro_f1(counts: Counts) -> float:
    """Mean F1 over all labels of the card; one without gold items and predictions counts as 0."""
    matched, predicted, gold = counts.reshape(3, -1)
    there = predicted + gold
    return float(np.divide(200 * matched, there, out=np.zeros_like(there), where=there > 0).sum() / there.size)


# Extracted and free answers: a vector is (the example's score from 0 to 1, 1).


def _same_tokens(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    return np.array([_tokens(example.gold.text) == _tokens(parsed.answer.text), 1], dtype=np.float64)


def _shared_tokens(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    gold, predicted = _tokens(example.gold.text), _tokens(parsed.answer.text)
    shared = (Counter(gold) & Counter(predicted)).total()
    f1 = 2 * shared / (len(gold) + len(predicted)) if gold or predicted else 1.0
    return np.array([f1, 1], dtype=np.float64)


def _tokens(text: str) -> list[str]:
    """Words as SQuAD compares them: lower case, ASCII punctuation deleted, then articles left out."""
    bare = text.lower().translate(_NO_PUNCTUATION)
    return re.sub(r"\b(?:a|an|the)\b", " ", bare).split()


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


# Summaries: a vector is (the example's ROUGE F1, 1).


def _rouge(name: str, card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    f1 = _scorer(name).score(example.gold.text, parsed.answer.text)[name].fmeasure
    return np.array([f1, 1], dtype=np.float64)


@cache
def _scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([name], use_stemmer=True)


_TOKENS = (Metric("token_f1", _shared_tokens, _ratio), Metric("exact_match", _same_tokens, _ratio))
_CHOICE = (Metric("macro_f1", _by_choice, _macro_f1), Metric("accuracy", _right, _ratio))
_METRICS: dict[tuple[str, str], tuple[Metric, ...]] = {  # by type and form
    ("ner", ""): (
        Metric("strict_f1", _strict_entities, _f1),
        Metric("lenient_f1", _lenient_entities, _f1),
        Metric("strict_precision", _strict_entities, _precision),
        Metric("strict_recall", _strict_entities, _recall),
    ),
    ("re", ""): (
        Metric("strict_f1", _strict_relations, _f1),
        Metric("strict_precision", _strict_relations, _precision),
        Metric("strict_recall", _strict_relations, _recall),
    ),
    ("qa", "choice"): (Metric("accuracy", _right, _ratio),),
    ("qa", "extractive"): _TOKENS,
    ("qa", "free"): _TOKENS,
    ("nli", ""): _CHOICE,
    ("summarization", ""): tuple(Metric(name, partial(_rouge, name), _ratio) for name in ("rougeL", "rouge1", "rouge2")),
    ("classification", "single"): _CHOICE,
    ("classification", "multiple"): (
        Metric("micro_f1", _strict_labels, _f1),
        Metric("macro_f1", _by_labels, _macro_f1),
        Metric("exact_match", _same_labels, _ratio),
    ),
}

_VALUES = {metric.name: metric.value for metrics in _METRICS.values() for metric in metrics}
METRIC_NAMES = tuple(_VALUES)


def value_of(name: str) -> Callable[[Counts], float]:
    """The function of a metric, by its name, that makes its value of summed counts, from 0 to 100; the same for all types."""
    return _VALUES[name]


def chance(card: TaskCard, examples: Sequence[Example]) -> float:
    """Return the headline value of an answer that needs no model.

    Always the same label, the best one for these examples (NLI, classification, and QA with fixed answers); a random
    option (QA with options); "none" (NER, RE), or no answer (extractive and free QA); the lead, which is the text's first
    sentence (summarization).
    """
    if not examples:
        raise InputError(f"Task {card.name} has no chance level", found="no examples", wanted="one or more")
    if card.type == "nli" or card.form == "single":
        (choice,) = _most_frequent(index_of(card, example, example.gold) for example in examples)
        return _always(card, examples, Answer(choice=choice))
    if card.form == "multiple":
        frequent = _most_frequent(label for example in examples for label in indexes_of(card, example, example.gold))
        return _always(card, examples, Answer(labels=frequent))
    if card.form == "choice":
        return _guess(card, examples)
    if card.type == "summarization":
        leads = [Parsed(Answer(text=_lead(example.text))) for example in examples]
        return _headline(card, examples, leads)
    return _always(card, examples, Answer())


def _headline(card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed]) -> float:
    metric = metrics_for(card)[0]
    return metric.value(_table(card, examples, parsed, metric.counts).sum(axis=0))


def _always(card: TaskCard, examples: Sequence[Example], answer: Answer) -> float:
    return _headline(card, examples, [Parsed(answer)] * len(examples))


def _most_frequent(labels: Iterable[int]) -> tuple[int, ...]:
    """The most frequent label, or none of none: given to every example, it has the best F1, macro as micro."""
    return tuple(label for label, _ in Counter(labels).most_common(1))


def _guess(card: TaskCard, examples: Sequence[Example]) -> float:
    """The expected share of right answers: 1/options where there are options, else the most frequent label."""
    random = sum(1 / len(example.choices) for example in examples if example.choices)
    fixed = Counter(index_of(card, example, example.gold) for example in examples if not example.choices)
    return _percent(random + max(fixed.values(), default=0), len(examples))


def _lead(text: str) -> str:
    """The text up to the first full stop, question or exclamation mark before whitespace, or up to an empty line."""
    return re.split(r"(?<=[.!?])\s|\n\s*\n", text.strip(), maxsplit=1)[0]
