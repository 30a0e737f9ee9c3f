"""One forward pass of a training batch, each row under its own prompt, logits at answer tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mpdd.backbone import Backbone
from mpdd.data.batch import Batch
from mpdd.prompts.attach import attach, move


@dataclass(frozen=True)
class Outputs:
    """fp32 logits of the n answer tokens and, if asked for, the hidden states of every layer there."""

    logits: Float[Tensor, "n vocabulary"]
    layers: Float[Tensor, "layers n width"] | None


def forward(
    backbone: Backbone, batch: Batch, prompts: Sequence[Float[Tensor, "_ width"]] | None, *, all_layers: bool = False
) -> Outputs:
    """Run `batch` with `prompts` (one a row; None for no prompt)."""
    embeddings = backbone.embed(batch.ids)
    empty = embeddings.new_zeros(0, embeddings.shape[-1])
    attached = attach(prompts or [empty] * len(batch.tasks), embeddings, batch.mask, side="right")
    at = move(batch.predicts, attached)
    states = backbone.states(attached.embeddings, attached.mask, attached.positions, at, all_layers=all_layers)
    return Outputs(backbone.logits(states), states.layers)
