"""What a prompt tells of the notes it was trained on: can one see by its losses which notes those were?

Two attacks of someone who has the prompt, the backbone and a note with its answer (Yeom et al. 2018, arXiv 1709.01604; Carlini et
al. 2022, arXiv 2112.03570): notes with a low loss are taken for training notes; or those whose loss the prompt lowers most
against a reference, which takes into account how easy a note is. An area under the curve of 0.5 is no better than guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import encode
from mpdd.data.task import Example, TaskCard
from mpdd.training.passes import Row, row_losses

_DRAWS = 2000  # of the bootstrap over examples
FALSE_ALARMS = 0.05  # share of fresh notes that an attacker may take for training notes


@dataclass(frozen=True)
class Attack:
    """How well scores tell training examples from fresh ones: area under the ROC curve with its 95 % interval, and the share of
    training examples that are found where `FALSE_ALARMS` of the fresh ones are taken for such."""

    name: str
    auc: float
    low: float
    high: float
    found: float


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
    drawn = [area(generator.choice(members, len(members)), generator.choice(fresh, len(fresh))) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    threshold = np.quantile(fresh, 1 - FALSE_ALARMS)
    return Attack(name, area(members, fresh), float(low), float(high), float(np.mean(members > threshold)))


def area(members: Float[np.ndarray, " members"], fresh: Float[np.ndarray, " fresh"]) -> float:
    """The chance that a training example scores above a fresh one; of equals, half."""
    ordered = np.sort(fresh)
    below, not_above = np.searchsorted(ordered, members, "left"), np.searchsorted(ordered, members, "right")
    return float(np.mean(below + not_above) / (2 * len(fresh)))


def attacks(
    backbone: Backbone, card: TaskCard, members: Sequence[Example], fresh: Sequence[Example],
    rows: Float[Tensor, "length width"], reference: Float[Tensor, "length width"] | None,
) -> list[Attack]:  # fmt: skip
    """Both attacks on the prompt `rows`; `reference` is what it was adapted from (None: the bare backbone)."""
    under = [losses(backbone, card, part, rows) for part in (members, fresh)]
    before = [losses(backbone, card, part, reference) for part in (members, fresh)]
    gains = [was - now for was, now in zip(before, under, strict=True)]
    return [attack("loss", -under[0], -under[1]), attack("loss against the reference", gains[0], gains[1])]
