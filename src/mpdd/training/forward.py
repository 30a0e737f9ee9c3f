"""One forward pass of a training batch, each row under its own prompt, logits at answer tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.backbone import Backbone
from mpdd.data.batch import Batch
from mpdd.prompts.attach import attach, move
from mpdd.prompts.prefix import prefix


@dataclass(frozen=True)
class Outputs:
    """fp32 logits of the n answer tokens and, if asked for, the hidden states of every layer there."""

    logits: Float[Tensor, "n vocabulary"]
    layers: Float[Tensor, "layers n width"] | None


def forward(
    backbone: Backbone, batch: Batch, prompts: Sequence[Float[Tensor, "_ width"]] | None, *, all_layers: bool = False
) -> Outputs:
    """Run `batch` with `prompts` (one a row, the same tensor for rows that share it; None for no prompt).

    The distinct prompts are run once, for all rows together; `forward_attached` is the plain way to the same numbers.
    """
    if prompts is None or not max(map(len, prompts)):
        return forward_attached(backbone, batch, prompts, all_layers=all_layers)
    before, embeddings = prefix(backbone, prompts), backbone.embed(batch.ids)
    mask, at = batch.mask.to(embeddings.device), batch.predicts.to(embeddings.device)
    positions = before.lengths[:, None] + torch.arange(mask.shape[1], device=mask.device)[None]
    whole = torch.cat([before.mask, mask], dim=1)
    states = backbone.states(embeddings, whole, positions, at, all_layers=all_layers, cache=before.cache)
    return Outputs(backbone.logits(states), states.layers)


def forward_attached(
    backbone: Backbone, batch: Batch, prompts: Sequence[Float[Tensor, "_ width"]] | None, *, all_layers: bool = False
) -> Outputs:
    """The reference for `forward`: every row carries its own copy of its prompt before its text."""
    embeddings = backbone.embed(batch.ids)
    empty = embeddings.new_zeros(0, embeddings.shape[-1])
    attached = attach(prompts or [empty] * len(batch.tasks), embeddings, batch.mask, side="right")
    at = move(batch.predicts, attached)
    states = backbone.states(attached.embeddings, attached.mask, attached.positions, at, all_layers=all_layers)
    return Outputs(backbone.logits(states), states.layers)
