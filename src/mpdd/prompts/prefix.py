"""The keys and values of each distinct prompt, computed once and expanded over the rows that stand under it.

A prompt comes before the text, so under causal attention nothing of it depends on the text: one pass over the distinct
prompts of a batch serves all rows, with exact gradients (a row's share is added up where its prompt was taken from).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from mpdd.backbone import Backbone


@dataclass(frozen=True)
class Prefix:
    """What rows attend to before their text: cached keys and values, which columns are real, and each prompt's length."""

    cache: DynamicCache
    mask: Bool[Tensor, "batch longest"]
    lengths: Int[Tensor, " batch"]


def prefix(backbone: Backbone, prompts: Sequence[Float[Tensor, "_ width"]]) -> Prefix:
    """Return the prefix of each row, given its prompt; rows with the same tensor share one pass.

    Shorter prompts are padded on the left. Positions count from 0 at each prompt's first row.
    """
    distinct = list({id(prompt): prompt for prompt in prompts}.values())
    number = {id(prompt): n for n, prompt in enumerate(distinct)}
    of_row = torch.tensor([number[id(prompt)] for prompt in prompts], device=backbone.device)
    lengths = torch.tensor([len(prompt) for prompt in distinct], device=backbone.device)
    longest = int(lengths.max())
    block = torch.stack([torch.nn.functional.pad(p.to(backbone.table), (0, 0, longest - len(p), 0)) for p in distinct])
    mask = torch.arange(longest, device=backbone.device)[None] >= longest - lengths[:, None]
    cache = backbone.read_prefix(block, mask)
    if len(distinct) < len(prompts):
        _expand(cache, of_row)
    return Prefix(cache, mask[of_row], lengths[of_row])


def _expand(cache: DynamicCache, of_row: Int[Tensor, " batch"]) -> None:
    """Give each row the keys and values of its prompt, so that gradients add up in the same order every time.

    Backward, indexing adds up with atomics on a CPU in fp32, and `index_select` does so on a GPU; each is exact where the
    other is not.
    """
    layers = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
    if of_row.device.type != "cpu" or len(layers) < len(cache.layers):
        cache.batch_select_indices(of_row)
        return
    for layer in layers:
        if layer.keys is not None and layer.values is not None:
            layer.keys, layer.values = layer.keys.index_select(0, of_row), layer.values.index_select(0, of_row)
