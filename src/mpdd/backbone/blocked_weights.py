"""Weights in the CPU library's own blocked layout, while answers are written a token at a time.

A product of few rows takes less time than laying out the weights for it, which oneDNN otherwise does in every call: for
ten rows, with bf16 weights 576 wide, a layout made once saves a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_BYTES = 2**30  # of weights: the layout is a copy
# torch's compiler uses these operations; they have no public name, so another version may lack them.
_OPERATIONS_THERE = torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
    hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
)


@contextmanager
def blocked(model: nn.Module, rows: int) -> Iterator[None]:
    """Let frozen linear layers on a CPU multiply about so many `rows` by blocked copies of their weights, within.

    Only without gradient: another thread that trains on the same model meanwhile gets plain products, as these operations
    have no gradient. Copies are made anew each time, so that they are never those of other weights. Nothing changes
    where torch lacks these operations, something else has taken over the forward pass of a module (torch's compiler, which
    cannot lower them, or hooks), weights are elsewhere or quantized, or the copies would take more than `MOST_BYTES`.
    """
    modules = list(model.modules()) if _OPERATIONS_THERE else []
    taken_over = any("forward" in vars(module) for module in modules)
    layers: list[Any] = [] if taken_over else [module for module in modules if _can_be_blocked(module)]
    bytes_wanted = sum(layer.weight.numel() * layer.weight.element_size() for layer in layers)
    if bytes_wanted > MOST_BYTES:
        layers = []
    try:
        for layer in layers:
            layer.forward = _with_blocked_weight(layer, rows)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _can_be_blocked(module: nn.Module) -> bool:
    """Whether this is a plain linear layer on a CPU, frozen, of a number format that the operations are fast with."""
    if type(module) is not nn.Linear or module.weight.device.type != "cpu":
        return False
    fast = module.weight.dtype == torch.float32 or (
        module.weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return fast and not module.weight.requires_grad


def _with_blocked_weight(layer: Any, rows: int) -> Callable[[Tensor], Tensor]:
    weight, bias = torch.ops.mkldnn._reorder_linear_weight(layer.weight, rows), layer.bias

    def forward(states: Tensor) -> Tensor:
        if torch.is_grad_enabled():  # which every thread has for itself
            return functional.linear(states, layer.weight, bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
        return product

    return forward
