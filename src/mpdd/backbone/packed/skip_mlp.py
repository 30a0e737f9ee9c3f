"""The feed-forward parts, only for the tokens whose output is looked at.

A step looks at the last layer only where an answer token is predicted, and what a layer makes at the tokens of deep prompts is
replaced before the next one; but transformers computes both everywhere. Hooks on each layer's `mlp`, which works token by token,
leave those tokens out: with few layers, or many prompts, a good part of a step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from mpdd.backbone.packed.group import rounded

_wanted = threading.local()  # .last, .below: the tokens looked at of the last layer and of those below it (None: all), in a pass


def install(layers: nn.ModuleList) -> None:
    """Put the hooks on every layer that has an `mlp`; they rest until `only` is on."""
    for number, layer in enumerate(layers):
        mlp = getattr(layer, "mlp", None)
        if isinstance(mlp, nn.Module):
            which = "last" if number == len(layers) - 1 else "below"
            mlp.register_forward_pre_hook(partial(_before, which))
            mlp.register_forward_hook(partial(_after, which))


@contextmanager
def only(at: Int[Tensor, " n"], tokens: int, replaced: Int[Tensor, " m"] | None = None) -> Iterator[None]:
    """Within, of a packed pass of so many `tokens`, the last layer's feed-forward part is right at the tokens `at`, and those of
    the layers below at all but the `replaced` ones; they are zero elsewhere."""
    _wanted.last, _wanted.below = at, None
    if replaced is not None:
        others = torch.ones(tokens, dtype=torch.bool, device=replaced.device)
        others[replaced] = False
        _wanted.below = others.nonzero()[:, 0]
    try:
        yield
    finally:
        _wanted.last = _wanted.below = None


def _before(which: str, _module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    at = getattr(_wanted, which, None)
    if at is None:
        return None
    _wanted.size = given[0].shape[1]
    return (functional.pad(given[0].index_select(1, at), (0, 0, 0, rounded(len(at)) - len(at))), *given[1:])


def _after(which: str, _module: nn.Module, _given: tuple[Any, ...], output: Any) -> Any:
    at = getattr(_wanted, which, None)
    if at is None:
        return None
    first, *others = output if isinstance(output, tuple) else (output,)
    whole = first.new_zeros(first.shape[0], _wanted.size, first.shape[2]).index_copy(1, at, first[:, : len(at)])
    return (whole, *others) if isinstance(output, tuple) else whole
