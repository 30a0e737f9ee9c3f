"""Prompts with rows of their own before every layer (P-tuning v2, Liu et al. 2022, arXiv 2110.07602), in packed passes.

Hooks before each layer but the first put the prompts' rows in place of what the layer below made at these tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_given = (
    threading.local()
)  # .places, .layers: of the deep rows of the packed pass in this thread, layer by layer (None: it has none)


@dataclass(frozen=True)
class DeepRows:
    """Rows for n tokens of a packed sequence, at `places`, before each layer but the first."""

    places: Int[Tensor, " n"]
    rows: Float[Tensor, "n layers_but_one width"]


def install(layers: nn.ModuleList) -> None:
    """Put the hooks on; they rest until `rows` are given."""
    for number, layer in enumerate(layers):
        if number:
            layer.register_forward_pre_hook(partial(_before, number - 1))


@contextmanager
def given(rows: DeepRows | None) -> Iterator[None]:
    """Within, packed passes have these rows."""
    if rows is not None:
        _given.places, _given.layers = rows.places, rows.rows.unbind(1)  # at once: a slice's gradient is as large as the whole
    try:
        yield
    finally:
        _given.places = _given.layers = None


def _before(number: int, _layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    layers: tuple[Tensor, ...] | None = getattr(_given, "layers", None)
    if layers is None:
        return None
    states: Tensor = arguments[0]
    rows = layers[number].to(states)[None]
    return (torch.index_copy(states, 1, _given.places, rows), *arguments[1:])
