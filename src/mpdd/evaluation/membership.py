"""What a prompt tells of the notes it was trained on: can one see by its losses which notes those were?

Three attacks of someone who has the prompt, the backbone and a note with its answer. Notes with a low loss are taken for
training notes (Yeom et al. 2018, arXiv 1709.01604); or those whose loss the prompt lowers most against a reference, which takes
into account how easy a note is; or those whose confidence under the prompt is highest against what shadow prompts give that
were adapted without them (the offline likelihood ratio of Carlini et al. 2022, arXiv 2112.03570). An area under the curve of 0.5
is no better than guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import encode
from mpdd.data.task import Example, TaskCard
from mpdd.training.passes import Row, row_losses

_DRAWS = 2000  # of the bootstrap over examples
_LEAST_LOSS = 1e-9  # nats; below it a confidence has no odds in floating point
FALSE_ALARMS = 0.05  # share of fresh notes that an attacker may take for training notes
LOSS, REFERENCE, LIKELIHOOD_RATIO = "loss", "loss against the reference", "likelihood ratio"


@dataclass(frozen=True)
class Attack:
    """How well scores tell training examples from fresh ones, with 95 % intervals of a bootstrap over examples.

    `auc` is the area under the ROC curve, `tpr` the share of training examples that are recognised (the true-positive rate) where
    `FALSE_ALARMS` of the fresh ones are taken for such.
    """

    name: str
    auc: float
    auc_low: float
    auc_high: float
    tpr: float
    tpr_low: float
    tpr_high: float


def losses(
    backbone: Backbone, card: TaskCard, examples: Sequence[Example], rows: Float[Tensor, "length width"] | None
) -> Float[np.ndarray, " examples"]:
    """The cross-entropy of each example's right answer under a prompt (None: the bare backbone), in nats an answer."""
    room = backbone.context - (0 if rows is None else len(rows))
    encoded = [encode(backbone.tokenizer, card, example, room, backbone.template) for example in examples]
    given = None if rows is None else rows.to(backbone.device)
    return row_losses(backbone, [Row(row, "prompt") for row in encoded], {"prompt": given}).cpu().numpy().astype(float)


def attack(name: str, members: Float[np.ndarray, " members"], fresh: Float[np.ndarray, " fresh"], *, seed: int = 0) -> Attack:
    """The attack that takes the highest scores for training examples."""
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(_DRAWS):
        again = generator.choice(members, len(members)), generator.choice(fresh, len(fresh))
        drawn.append((area(*again), true_positives(*again)))
    (auc_low, tpr_low), (auc_high, tpr_high) = np.quantile(drawn, [0.025, 0.975], axis=0).tolist()
    return Attack(name, area(members, fresh), auc_low, auc_high, true_positives(members, fresh), tpr_low, tpr_high)


def area(members: Float[np.ndarray, " members"], fresh: Float[np.ndarray, " fresh"]) -> float:
    """The chance that a training example scores above a fresh one; of equals, half."""
    ordered = np.sort(fresh)
    below, not_above = np.searchsorted(ordered, members, "left"), np.searchsorted(ordered, members, "right")
    return float(np.mean(below + not_above) / (2 * len(fresh)))


def true_positives(members: Float[np.ndarray, " members"], fresh: Float[np.ndarray, " fresh"]) -> float:
    """The share of training examples above the score that `FALSE_ALARMS` of the fresh ones are above."""
    return float(np.mean(members > np.quantile(fresh, 1 - FALSE_ALARMS)))


def attacks(
    backbone: Backbone, card: TaskCard, members: Sequence[Example], fresh: Sequence[Example],
    rows: Float[Tensor, "length width"], reference: Float[Tensor, "length width"] | None,
) -> list[Attack]:  # fmt: skip
    """Both attacks by losses on the prompt `rows`; `reference` is what it was adapted from (None: the bare backbone)."""
    under = [losses(backbone, card, part, rows) for part in (members, fresh)]
    before = [losses(backbone, card, part, reference) for part in (members, fresh)]
    return by_losses(under, before)


def by_losses(under: Sequence[Float[np.ndarray, " examples"]], before: Sequence[Float[np.ndarray, " examples"]]) -> list[Attack]:
    """Both attacks from the losses of training and of fresh examples, after training and `before` it."""
    gains = [was - now for was, now in zip(before, under, strict=True)]
    return [attack(LOSS, -under[0], -under[1]), attack(REFERENCE, gains[0], gains[1])]


def log_odds(loss: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The log-odds of a right answer whose cross-entropy is `loss` nats: log(p / (1 - p)), which are nearly normal over prompts
    (Carlini et al. 2022, section 4.1)."""
    at_least = np.maximum(loss, _LEAST_LOSS)
    odds: Float[np.ndarray, "*shape"] = -at_least - np.log(-np.expm1(-at_least))
    return odds


def halves(documents: Sequence[str], shadows: int, seed: int) -> Bool[np.ndarray, "shadows examples"]:
    """Which examples each shadow prompt is adapted to: a random half of the documents, and for every other one the other half.

    So each example is left out by half of the shadows, or by one more or less where their number is odd.
    """
    generator, names = np.random.default_rng(seed), list(dict.fromkeys(documents))
    rows: list[Bool[np.ndarray, " examples"]] = []
    while len(rows) < shadows:
        drawn = set(generator.permutation(len(names))[: len(names) // 2].tolist())
        chosen = {name for number, name in enumerate(names) if number in drawn}
        half = np.array([document in chosen for document in documents])
        rows += [half, ~half]
    return np.array(rows[:shadows])


def likelihood_ratio(
    target: Float[np.ndarray, " examples"], shadows: Float[np.ndarray, "shadows examples"],
    left_out: Bool[np.ndarray, "shadows examples"],
) -> Float[np.ndarray, " examples"]:  # fmt: skip
    """How far each example's log-odds under a prompt lie above those under the shadows that leave it out, in their standard
    deviations. These are pooled over examples, as few shadows give no good one for each (section 6.2 of the paper)."""
    count = left_out.sum(0)
    mean = np.where(left_out, shadows, 0.0).sum(0) / count
    spread = np.where(left_out, (shadows - mean) ** 2, 0.0).sum() / max(1, int((count - 1).sum()))
    scores: Float[np.ndarray, " examples"] = (target - mean) / max(float(np.sqrt(spread)), 1e-12)
    return scores
