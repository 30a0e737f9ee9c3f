"""Prompts with rows of their own before every layer (P-tuning v2, Liu et al. 2022, arXiv 2110.07602).

Hooks before each layer but the first put the prompts' rows in place of what the layer below made at these tokens; the layer's
keys and values of these tokens, and so what a key-value cache keeps of them, are then those of the rows. This is so in packed
passes and in padded ones.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mpdd.errors import InputError

_given = threading.local()  # .places, .tokens, .layers: of the deep rows in this thread, layer by layer (None: it has none);
# .record: where a pass leaves what its layers made (None: nowhere)


@dataclass(frozen=True)
class DeepRows:
    """Rows for n tokens of a pass, before each layer but the first. `places` count over the rows of a batch, one behind the
    other: token j of row b in a batch of rows of so many tokens is at b * tokens + j. A packed pass is one row."""

    places: Int[Tensor, " n"]
    rows: Float[Tensor, "n layers_but_one width"]


def deep_rows(
    prompts: Sequence[Float[Tensor, "_ _"]], places: Sequence[Int[Tensor, " _"]], width: int, device: torch.device
) -> DeepRows | None:
    """Return what those of the `prompts` that are deep, [length, layers * width], put at their `places`; None where none is."""
    chosen = [(prompt, place) for prompt, place in zip(prompts, places, strict=True) if prompt.shape[1] > width]
    if not chosen:
        return None
    rows = [prompt[:, width:].reshape(len(prompt), -1, width).to(device) for prompt, _ in chosen]
    return DeepRows(torch.cat([place for _, place in chosen]).to(device), torch.cat(rows))


def install(layers: nn.ModuleList) -> None:
    """Put the hooks on; they rest until rows are `given` or states `recorded`."""
    for number, layer in enumerate(layers):
        if number:
            layer.register_forward_pre_hook(partial(_before, number - 1), with_kwargs=True)


@contextmanager
def given(rows: DeepRows | None, tokens: int) -> Iterator[None]:
    """Within, passes of so many `tokens`, over all rows of the batch, have these rows; passes of others (the later tokens that
    `generate` writes behind them, say) go as they are."""
    if rows is not None:
        _given.places, _given.tokens = rows.places, tokens
        _given.layers = rows.rows.unbind(1)  # at once: a slice's gradient is as large as the whole
    try:
        yield
    finally:
        _given.places = _given.layers = None


@contextmanager
def recorded(is_wanted: bool) -> Iterator[list[Float[Tensor, "batch length width"]]]:
    """Within, a pass leaves here, if wanted, what each layer but the last made: what the next is called with, without deep rows.

    Raises `InputError` in a pass of a model whose layers keep several states of a token.
    """
    states: list[Tensor] = []
    _given.record = states if is_wanted else None
    try:
        yield states
    finally:
        _given.record = None


def _before(
    number: int, _layer: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    layers: tuple[Tensor, ...] | None = getattr(_given, "layers", None)
    record: list[Tensor] | None = getattr(_given, "record", None)
    if layers is None and record is None:
        return None
    states: Tensor = arguments[0] if arguments else options["hidden_states"]
    if states.dim() != 3:
        raise InputError(
            "The layers of the backbone keep several states of a token",
            wanted="one state of a token, for deep prompts (prompt.depth) and for distilling hidden states",
        )
    if record is not None:
        record.append(states)
    if layers is None or states.shape[0] * states.shape[1] != _given.tokens:
        return None
    rows = layers[number].to(states)
    changed = torch.index_copy(states.flatten(0, 1), 0, _given.places, rows).view(states.shape)
    return ((changed, *arguments[1:]), options) if arguments else (arguments, {**options, "hidden_states": changed})
