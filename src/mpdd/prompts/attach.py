"""The only place where a prompt meets a batch: directly before the text, whichever side the padding is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mpdd.backbone.packed.deep import DeepRows, deep_rows

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Attached:
    """Embeddings with prompts in place, their attention mask (true = real) and explicit positions from 0.

    `order[b, j]` is the column of the unordered row (prompt block, then text block) that came to stand at j. `deep` has what
    deep prompts put before the layers.
    """

    embeddings: Float[Tensor, "batch total width"]
    mask: Bool[Tensor, "batch total"]
    positions: Int[Tensor, "batch total"]
    order: Int[Tensor, "batch total"]
    deep: DeepRows | None = None


def attach(
    prompts: Sequence[Float[Tensor, "_ _"]],
    embeddings: Float[Tensor, "batch length width"],
    mask: Bool[Tensor, "batch length"],
    *,
    side: Side,
) -> Attached:
    """Put row b's prompt directly before row b's text and gather all padding on `side`.

    Prompts may differ in length and may be empty (zero rows); one is deep where it is wider than the embeddings, [length,
    layers * width]. The text may be padded on either side.
    """
    block, block_mask = _stack(prompts, embeddings)
    joined = torch.cat([block, embeddings], dim=1)
    real = torch.cat([block_mask, mask.to(embeddings.device)], dim=1)
    order = torch.argsort(real.int(), dim=1, stable=True, descending=side == "right")
    mask_in_order = real.gather(1, order)
    moved = joined.gather(1, order[..., None].expand_as(joined))
    positions = (mask_in_order.long().cumsum(1) - 1).clamp(min=0)
    if side == "right":  # the same for real tokens, and plainly counting for the padding after them
        positions = torch.arange(order.shape[1], device=order.device).expand_as(order)
    stands = order.argsort(1) + order.shape[1] * torch.arange(len(order), device=order.device)[:, None]
    places = [row[: len(prompt)] for row, prompt in zip(stands, prompts, strict=True)]
    deep = deep_rows(prompts, places, embeddings.shape[2], embeddings.device)
    return Attached(moved, mask_in_order, positions, order, deep)


def move(
    values: Bool[Tensor, "batch length"] | Int[Tensor, "batch length"], attached: Attached, *, front: int = 0
) -> Bool[Tensor, "batch total"] | Int[Tensor, "batch total"]:
    """Carry a mask or ids over text positions to the attached layout; prompt positions are false, or have the id `front`."""
    batch, length = values.shape
    before = values.new_full((batch, attached.order.shape[1] - length), front)
    return torch.cat([before, values], dim=1).to(attached.order.device).gather(1, attached.order)


def _stack(prompts: Sequence[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    """Prompts as one zero-padded block [batch, longest, width] and its mask."""
    longest = max(p.shape[0] for p in prompts)
    padded = [torch.nn.functional.pad(p[:, : like.shape[2]].to(like), (0, 0, 0, longest - p.shape[0])) for p in prompts]
    sizes = torch.tensor([p.shape[0] for p in prompts], device=like.device)
    return torch.stack(padded), torch.arange(longest, device=like.device)[None] < sizes[:, None]
