"""Every metric as counts for each example, their sum, and a value of the sum on a 0 to 100 scale.

So a bootstrap over documents only resamples and adds rows. Where a ratio has nothing to divide by (no gold item
and no prediction, say) its value is 0.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, TaskCard
from mpdd.data.types.choice import index_of
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
    `unparseable` is the share of outputs that could not be read, `ungrounded` the share of predicted items that
    name something outside the text; both are 0 to 100. Ungrounded items are not answers, so no metric counts them,
    except that extractive QA scores every answer by its words.
    """

    values: dict[str, float]
    headline: str
    counts: Counts
    documents: tuple[str, ...]
    unparseable: float
    ungrounded: float
    n_examples: int


def score(card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed]) -> Scored:
    """Score outputs against gold answers by every metric of the task's type.

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
    if card.extractive:
        return _percent(dropped, sum(not output.unparseable for output in parsed))
    grounded = sum(len(output.answer.entities) + len(output.answer.relations) for output in parsed)
    return _percent(dropped, grounded + dropped)


def _percent(part: float, whole: float) -> float:
    return float(100 * part / whole) if whole else 0.0


def metrics_for(card: TaskCard) -> tuple[Metric, ...]:
    """Return the metrics of a task's type (extractive QA has its own), the headline first."""
    if card.extractive:
        return _EXTRACTIVE
    if card.type not in _METRICS:
        raise InputError(f"Task {card.name} has an unknown type", found=repr(card.type), wanted=sorted(_METRICS))
    return _METRICS[card.type]


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


def _strict(gold: set[Entity] | set[Relation], predicted: set[Entity] | set[Relation], lost: int) -> Counts:
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


# Choices: accuracy's vector is (right, all); macro-F1's is (matched, predicted, gold) for each label.


def _right(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    return np.array([parsed.answer.choice == index_of(card, example, example.gold), 1], dtype=np.float64)


def _ratio(counts: Counts) -> float:
    return _percent(counts[0], counts[1])


def _by_label(card: TaskCard, example: Example, parsed: Parsed) -> Counts:
    counts = np.zeros((3, len(card.labels)))
    gold, choice = index_of(card, example, example.gold), parsed.answer.choice
    counts[2, gold] = 1
    if choice is not None:
        counts[1, choice] = 1
        counts[0, gold] = choice == gold
    return counts.reshape(-1)


def _macro_f1(counts: Counts) -> float:
    """Mean F1 over all labels of the card; one without gold items and predictions counts as 0."""
    return float(np.mean([_f1(label) for label in counts.reshape(3, -1).T]))


# Extracted answers: a vector is (the example's score from 0 to 1, 1).


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


_METRICS: dict[str, tuple[Metric, ...]] = {
    "ner": (
        Metric("strict_f1", _strict_entities, _f1),
        Metric("lenient_f1", _lenient_entities, _f1),
        Metric("strict_precision", _strict_entities, _precision),
        Metric("strict_recall", _strict_entities, _recall),
    ),
    "re": (
        Metric("strict_f1", _strict_relations, _f1),
        Metric("strict_precision", _strict_relations, _precision),
        Metric("strict_recall", _strict_relations, _recall),
    ),
    "qa": (Metric("accuracy", _right, _ratio),),
    "nli": (Metric("macro_f1", _by_label, _macro_f1), Metric("accuracy", _right, _ratio)),
    "summarization": tuple(Metric(name, partial(_rouge, name), _ratio) for name in ("rougeL", "rouge1", "rouge2")),
}

_EXTRACTIVE = (Metric("token_f1", _shared_tokens, _ratio), Metric("exact_match", _same_tokens, _ratio))


def chance(card: TaskCard, examples: Sequence[Example]) -> float:
    """Return the headline value of an answer that needs no model.

    Always the same label, the best one for these examples (NLI, and QA with fixed answers); a random option (QA with
    options); "none" (NER, RE), or no answer (extractive QA); the lead, which is the text's first sentence (summarization).
    """
    if not examples:
        raise InputError(f"Task {card.name} has no chance level", found="no examples", wanted="one or more")
    if card.type == "nli":
        return max((_always(card, examples, choice) for choice in range(len(card.labels))), default=0.0)
    if card.type == "qa" and not card.extractive:
        return _guess(card, examples)
    if card.type == "summarization":
        leads = [Parsed(Answer(text=_lead(example.text))) for example in examples]
        return _headline(card, examples, leads)
    return _headline(card, examples, [Parsed(Answer())] * len(examples))


def _headline(card: TaskCard, examples: Sequence[Example], parsed: Sequence[Parsed]) -> float:
    metric = metrics_for(card)[0]
    return metric.value(_table(card, examples, parsed, metric.counts).sum(axis=0))


def _always(card: TaskCard, examples: Sequence[Example], choice: int) -> float:
    return _headline(card, examples, [Parsed(Answer(choice=choice))] * len(examples))


def _guess(card: TaskCard, examples: Sequence[Example]) -> float:
    """The expected share of right answers: 1/options where there are options, else the most frequent label."""
    random = sum(1 / len(example.choices) for example in examples if example.choices)
    fixed = Counter(index_of(card, example, example.gold) for example in examples if not example.choices)
    return _percent(random + max(fixed.values(), default=0), len(examples))


def _lead(text: str) -> str:
    """The text up to the first full stop, question or exclamation mark before whitespace, or up to an empty line."""
    return re.split(r"(?<=[.!?])\s|\n\s*\n", text.strip(), maxsplit=1)[0]
