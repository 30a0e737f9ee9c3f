"""A prompt as keys and values: what each layer's attention reads of its tokens, as transformers caches it.

A prompt, at the input or before every layer, is the same for every text behind it (attention is causal), so its keys and
values are fixed numbers. They are taken after the position embedding: the prompt has the positions from 0 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from mpdd.backbone.model import Backbone
from mpdd.backbone.packed.deep import deep_rows, given
from mpdd.data.task import TaskCard
from mpdd.errors import InputError

KeysValues = tuple[Float[Tensor, "heads length key_size"], Float[Tensor, "heads length value_size"]]
_PROBE = 24  # tokens that an export is tried with


@torch.no_grad()
def keys_values(backbone: Backbone, rows: Float[Tensor, "length width"]) -> list[KeysValues]:
    """Run a prompt [length, width] (deep: [length, layers * width]) alone, and return what each layer caches of it.

    Raise `InputError` for a backbone that keeps other than keys and values of every token in every layer.
    """
    cache: Any = DynamicCache()
    positions = torch.arange(len(rows), device=backbone.device)
    deep = deep_rows([rows], [positions], backbone.width, backbone.device)
    with given(deep, len(rows)):
        backbone.decoder(
            inputs_embeds=rows[None, :, : backbone.width].to(backbone.table),
            position_ids=positions[None],
            past_key_values=cache,
            use_cache=True,
            **backbone.rows_by_id(torch.full_like(positions, -1)[None]),
        )
    layers: list[Any] = [layer for layer in cache.layers if type(layer) is DynamicLayer and layer.is_initialized]
    if len(layers) != backbone.depth:
        raise InputError(
            f"The backbone {backbone.name!r} does not keep keys and values of every token in every layer",
            found=f"them in {len(layers)} of {backbone.depth} layers",
            wanted="a backbone whose tokens meet in attention alone, in every layer",
        )
    return [(layer.keys[0].contiguous(), layer.values[0].contiguous()) for layer in layers]


def cache_of(prompt: Sequence[KeysValues]) -> DynamicCache:
    """A cache of transformers that begins with a prompt, for one row."""
    return DynamicCache([(keys[None], values[None]) for keys, values in prompt])


@torch.no_grad()
def require_same_logits(
    backbone: Backbone, card: TaskCard, rows: Float[Tensor, "length width"],
    logits: Callable[[Int[Tensor, "1 tokens"]], Float[Tensor, "1 tokens vocabulary"]], *, where: str,
) -> None:  # fmt: skip
    """Raise `InputError` unless `logits`, a model behind the exported prompt, gives those of our own pass behind `rows`.

    They are compared on the first tokens of the task's instruction. `where` names the program that runs the model.
    """
    ids = backbone.tokenizer(card.instruction, add_special_tokens=False)["input_ids"][:_PROBE] or [backbone.end]
    text = torch.tensor([ids], device=backbone.device)
    ours = _own_logits(backbone, rows, text[0])
    theirs = logits(text)[0].float()
    difference = float((ours - theirs).norm() / ours.norm())
    is_exact = backbone.table.dtype in (torch.float32, torch.float64)
    if not difference <= (1e-3 if is_exact else 5e-2):
        raise InputError(
            f"Behind this export {where} gives other logits for the backbone {backbone.name!r} than mpdd does",
            found=f"a difference of {difference:.1%}",
            wanted="the same",
            next_step="Answer with mpdd itself, and please report the architecture.",
        )


def _own_logits(backbone: Backbone, rows: Tensor, ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens vocabulary"]:
    length = len(rows)
    embeddings = torch.cat([rows[:, : backbone.width].to(backbone.table), backbone.embed(ids)])[None]
    positions = torch.arange(embeddings.shape[1], device=backbone.device)
    deep = deep_rows([rows], [positions[:length]], backbone.width, backbone.device)
    with_rows = torch.cat([torch.full_like(positions[:length], -1), ids])[None]
    every = torch.ones_like(with_rows, dtype=torch.bool)
    at = positions[None] >= length
    return backbone.logits(backbone.states(embeddings, every, positions[None], at, deep=deep, ids=with_rows))
