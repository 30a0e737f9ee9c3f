"""How sure a backbone is of each entity, relation or answer, and what that is worth: probabilities scaled on dev examples.

The scale is Platt's (1999): the log-odds of a raw probability times a slope (temperature scaling, Guo et al. 2017, arXiv
1706.04599) plus a shift, fitted by maximum likelihood with a prior towards leaving it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, tanh

import numpy as np
from transformers import PreTrainedTokenizerBase

from mpdd.data.task import Answer, Entity, Example, Relation, TaskCard
from mpdd.data.types.grounding import plain
from mpdd.inference.predict import Prediction

Item = Entity | Relation
_EDGE = 1e-6  # probabilities are kept so far from 0 and 1
_PRIOR = 1.0  # weight of the prior, in examples or so
_ROUNDS = 50


@dataclass(frozen=True)
class Scale:
    """Turns a raw probability into one that is right as often as it says."""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, raw: float) -> float:
        """The scaled probability."""
        return 0.5 + 0.5 * tanh(0.5 * (self.slope * _log_odds(raw) + self.shift))  # the logistic function; cannot overflow


def fit(raw: Sequence[float], right: Sequence[bool]) -> Scale:
    """Fit a scale to raw probabilities and whether what they stand for was right; without any, the one that changes nothing."""
    x = np.array([[_log_odds(p), 1.0] for p in raw]).reshape(-1, 2)
    y, start = np.array(right, dtype=float), np.array([1.0, 0.0])
    weights = start.copy()
    for _ in range(_ROUNDS):  # Newton's steps; the loss is convex
        p = 1 / (1 + np.exp(-(x @ weights)))
        gradient = x.T @ (p - y) + _PRIOR * (weights - start)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + _PRIOR * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights -= step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return Scale(max(0.0, float(weights[0])), float(weights[1]))


def units(
    tokenizer: PreTrainedTokenizerBase, card: TaskCard, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> list[tuple[float, bool]]:
    """Raw probability and rightness of each predicted entity or relation, or of each answer; none for texts, which are not
    right or wrong."""
    if card.type == "summarization" or card.form == "free":
        return []
    scored: list[tuple[float, bool]] = []
    for example, prediction in zip(examples, predictions, strict=True):
        if card.type in ("ner", "re"):
            gold = {*example.gold.entities, *example.gold.relations}
            scored += [(p, item in gold) for item, p in of_items(tokenizer, prediction).items()]
        elif prediction.confidence is not None:
            scored.append((prediction.confidence, _is_right(card, example.gold, prediction.parsed.answer)))
    return scored


def _is_right(card: TaskCard, gold: Answer, predicted: Answer) -> bool:
    if card.form == "extractive":
        return plain(gold.text) == plain(predicted.text)
    return (gold.choice, set(gold.labels)) == (predicted.choice, set(predicted.labels))


def of_items(tokenizer: PreTrainedTokenizerBase, prediction: Prediction) -> dict[Item, float]:
    """For each entity or relation the geometric mean of the probabilities of the tokens that wrote it; none where not known."""
    if not prediction.tokens:
        return {}
    ends = _ends(tokenizer, [token for token, _ in prediction.tokens], len(prediction.output))
    confidence_of = {}
    for item, (start, end) in prediction.parsed.places.items():
        log_ps = [
            log_p
            for (_, log_p), first, last in zip(prediction.tokens, (0, *ends[:-1]), ends, strict=True)
            if first < end and last > start
        ]
        if log_ps:
            confidence_of[item] = exp(sum(log_ps) / len(log_ps))
    return confidence_of


def _ends(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], length: int) -> list[int]:
    """Where in the stripped text each token ends, in characters."""
    texts = [str(tokenizer.decode(list(ids[: n + 1]), skip_special_tokens=True)) for n in range(len(ids))]
    before = len(texts[-1]) - len(texts[-1].lstrip())
    return [min(length, max(0, len(text) - before)) for text in texts]


def _log_odds(p: float) -> float:
    p = min(1 - _EDGE, max(_EDGE, p))
    return log(p / (1 - p))
