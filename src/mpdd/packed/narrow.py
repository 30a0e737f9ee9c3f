"""The last layer's feed-forward part, only for the tokens whose output is looked at.

A step looks at the last layer only where an answer token is predicted, but transformers computes it everywhere. Hooks on
its `mlp`, which works token by token, leave out the others; with few layers that is a good part of a step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mpdd.packed.group import rounded

_wanted = threading.local()  # .at: the tokens looked at, while a packed pass runs in this thread


def install(layers: nn.ModuleList) -> None:
    """Put the hooks on the last layer, where there is an `mlp`; they rest until `only` is on."""
    mlp = getattr(layers[-1], "mlp", None)
    if isinstance(mlp, nn.Module):
        mlp.register_forward_pre_hook(_before)
        mlp.register_forward_hook(_after)


@contextmanager
def only(at: Tensor) -> Iterator[None]:
    """Within, the last layer's feed-forward part of a packed pass is right at the tokens `at`, and zero elsewhere."""
    _wanted.at = at
    try:
        yield
    finally:
        _wanted.at = None


def _before(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    at = getattr(_wanted, "at", None)
    if at is None:
        return None
    _wanted.size = given[0].shape[1]
    return (functional.pad(given[0].index_select(1, at), (0, 0, 0, rounded(len(at)) - len(at))), *given[1:])


def _after(_module: nn.Module, _given: tuple[Any, ...], found: Any) -> Any:
    at = getattr(_wanted, "at", None)
    if at is None:
        return None
    first, *others = found if isinstance(found, tuple) else (found,)
    whole = first.new_zeros(first.shape[0], _wanted.size, first.shape[2]).index_copy(1, at, first[:, : len(at)])
    return (whole, *others) if isinstance(found, tuple) else whole
