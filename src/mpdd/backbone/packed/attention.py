"""The place where a model's attention is exchanged for ours, for rows laid end to end.

Everything but attention works token by token, so a packed sequence goes through any transformers model that takes its
attention from `AttentionInterface`; `install` puts ours there. Calls without a `layout` get the attention that the
model came with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

_PREFIX = "mpdd_"
_KNOWN = {"position_ids", "cache_position", "use_cache", "output_hidden_states", "output_attentions", "is_causal"}


class UnsupportedAttentionError(Exception):
    """The model wants something of its attention that packed rows do not have."""


@dataclass(frozen=True)
class Wanted:
    """What a model's layer asks of its attention besides queries, keys and values.

    `window` is how many positions back a token sees, itself included (None: all); `sinks` [heads] are logits of
    attending to nothing (gpt-oss); `softcap` bounds scores by c * tanh(score / c) (Gemma 2).
    """

    scale: float
    window: int | None = None
    sinks: Tensor | None = None
    softcap: float | None = None


@runtime_checkable
class Layout(Protocol):
    """Says which keys and values each query of a packed sequence sees."""

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "heads tokens size"],
        key: Float[Tensor, "groups tokens size"],
        value: Float[Tensor, "groups tokens size_v"],
        wanted: Wanted,
    ) -> Float[Tensor, "tokens heads size_v"]:
        """The outputs of all tokens, in their order."""
        ...


def install(model: Any) -> None:
    """Let `model` take its attention from here, where it can; without a `layout` nothing changes."""
    config = model.config.get_text_config()
    stock = config._attn_implementation
    if stock in _STOCK and getattr(model, "_supports_attention_backend", False):
        config._attn_implementation = f"{_PREFIX}{stock}"


def is_installed(model: Any) -> bool:
    """Whether `model` takes its attention from here: it uses transformers' attention interface, and `install` was called."""
    return str(model.config.get_text_config()._attn_implementation).startswith(_PREFIX)


def _forward(stock: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
        *args: Any, layout: Layout | None = None, **options: Any,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        if layout is None:
            result: tuple[Tensor, Tensor | None] = _stock(stock, module)(module, query, key, value, mask, *args, **options)
            return result
        return _attend(layout, module.layer_idx, query, key, value, _wanted(query, options)), None

    return attention


def _attend(layout: Layout, layer: int, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> Tensor:
    return layout.attend(layer, query[0], key[0], value[0], wanted)[None]


def leave_uncompiled() -> None:
    """Keep torch's compiler out of our attention, where what sees what is told by data, not by shapes; call it before compiling
    layers. (Not done at import, because it loads the compiler, which takes longer than answering a note.)"""
    global _attend
    if not hasattr(_attend, "_torchdynamo_disable"):
        _attend = torch.compiler.disable(_attend)  # type: ignore[no-untyped-call]


def _stock(name: str, module: Any) -> Callable[..., Any]:
    """The attention that the model came with; eager ones stand in each model's own file."""
    if name == "sdpa":
        return sdpa_attention_forward
    eager: Callable[..., Any] = sys.modules[type(module).__module__].eager_attention_forward
    return eager


def _wanted(query: Tensor, options: Mapping[str, Any]) -> Wanted:
    scale = options.get("scaling")
    supported = {"scaling", "dropout", "sliding_window", "s_aux", "softcap", *_KNOWN}
    if unknown := [name for name, value in options.items() if name not in supported and value is not None]:
        raise UnsupportedAttentionError(", ".join(unknown))
    if options.get("softcap") is not None and options.get("s_aux") is not None:
        raise UnsupportedAttentionError("softcap beside s_aux")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return Wanted(scale, options.get("sliding_window"), options.get("s_aux"), options.get("softcap"))


_STOCK = {"sdpa": sdpa_mask, "eager": eager_mask}
for _name, _mask in _STOCK.items():
    AttentionInterface.register(f"{_PREFIX}{_name}", _forward(_name))
    AttentionMaskInterface.register(f"{_PREFIX}{_name}", _mask)  # type: ignore[arg-type]
