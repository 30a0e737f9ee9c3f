"""One forward pass of a training batch, each row under its own prompt, logits at answer tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Batch
from mpdd.prompts.attach import attach, move
from mpdd.prompts.pack import Text, pack


@dataclass(frozen=True)
class Outputs:
    """fp32 logits of the n answer tokens and, if asked for, the hidden states of every layer there."""

    logits: Float[Tensor, "n vocabulary"]
    layers: Float[Tensor, "layers n width"] | None


def forward(
    backbone: Backbone, batch: Batch, prompts: Sequence[Float[Tensor, "_ _"]] | None, *, all_layers: bool = False
) -> Outputs:
    """Run `batch` with `prompts` (one a row, the same tensor for rows that share it; None for no prompt).

    Rows go through laid end to end, what they share once; `forward_attached` is the plain way to the same numbers.
    """
    if not backbone.packs:
        return forward_attached(backbone, batch, prompts, all_layers=all_layers)
    ids = [row[mask].tolist() for row, mask in zip(batch.ids, batch.mask, strict=True)]
    answers = batch.predicts.sum(1).tolist()
    of_row: Sequence[Tensor | None] = prompts or [None] * len(ids)
    packed = pack(backbone, [Text(*given) for given in zip(ids, of_row, answers, strict=True)])
    at = torch.cat([torch.arange(end - count, end) for end, count in zip(packed.ends, answers, strict=True)])
    at = at.to(backbone.device)
    states = backbone.packed(
        packed.embeddings, packed.positions, packed.layout, at, all_layers=all_layers, deep=packed.deep, ids=packed.ids
    )
    return Outputs(backbone.logits(states), states.layers)


def forward_attached(
    backbone: Backbone, batch: Batch, prompts: Sequence[Float[Tensor, "_ _"]] | None, *, all_layers: bool = False
) -> Outputs:
    """The reference for `forward`, and the way of backbones that cannot be packed: each row carries its own copy of its
    prompt before its text."""
    embeddings = backbone.embed(batch.ids)
    empty = embeddings.new_zeros(0, embeddings.shape[-1])
    attached = attach(prompts or [empty] * len(batch.tasks), embeddings, batch.mask, side="right")
    at = move(batch.predicts, attached)
    states = backbone.states(
        attached.embeddings, attached.mask, attached.positions, at, all_layers=all_layers, deep=attached.deep,
        ids=move(batch.ids, attached, front=-1),
    )  # fmt: skip
    return Outputs(backbone.logits(states), states.layers)
