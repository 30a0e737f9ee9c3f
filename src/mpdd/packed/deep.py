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

_given = threading.local()  # .rows: the deep rows of the packed pass that runs in this thread; .layers: the same, layer by layer


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
    _given.rows = rows
    _given.layers = () if rows is None else rows.rows.unbind(1)  # at once: a slice's gradient is as large as the whole
    try:
        yield
    finally:
        _given.rows, _given.layers = None, ()


def _before(number: int, _layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    found: DeepRows | None = getattr(_given, "rows", None)
    if found is None:
        return None
    states: Tensor = arguments[0]
    rows = _given.layers[number].to(states)[None]
    return (torch.index_copy(states, 1, found.places, rows), *arguments[1:])
