"""Segments of similar length that attend together, padded to the longest of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

Tokens = NDArray[np.int64]
_NEVER = 2**30


class Group:
    """Segments that attend together: each one's tokens, which of them are `real`, the tokens it sees, and how many positions back
    (`distance`) each of these is (-1: not seen)."""

    queries: Int[Tensor, "rows length"]
    real: Bool[Tensor, "rows length"]
    keys: Int[Tensor, "rows seen"]
    distance: Int[Tensor, "rows length seen"]

    def __init__(self, before: Sequence[Tokens], segments: Sequence[Tokens], device: torch.device | str, cached: int = 0) -> None:
        """Each of the `segments` of tokens behind its tokens `before`; the first `cached` tokens have keys and no queries."""
        length = rounded(max(map(len, segments)))
        head = rounded(max(map(len, before)) + length) - length
        more = rounded(len(segments), 1, 4) - len(segments)  # whole rows of padding
        first_own = np.array([tokens[0] for tokens in (*segments, *[segments[0]] * more)])[
            :, None
        ]  # what goes wrong in a row stays there
        queries, keys = first_own.repeat(length, axis=1), first_own.repeat(head + length, axis=1)
        real, at = np.zeros(queries.shape, bool), np.full(keys.shape, _NEVER)
        for row, (first, then) in enumerate(zip(before, segments, strict=True)):
            queries[row, : len(then)], real[row, : len(then)] = then, True
            keys[row, : len(first)], keys[row, head : head + len(then)] = first, then
            at[row, : len(first)], at[row, head : head + len(then)] = np.arange(len(first)), len(first) + np.arange(len(then))
        distance = at[:, head:, None] - at[:, None, :]
        distance[(distance < 0) | (at[:, None, :] == _NEVER)] = -1
        distance[~real, 0] = 0  # padding sees something, so that its shares are numbers
        self.queries, self.real, self.keys, self.distance = (
            torch.from_numpy(array).to(device) for array in (queries - cached, real, keys, distance.astype(np.int32))
        )

    def sees(self, window: int | None) -> Bool[Tensor, "rows length seen"]:
        """What each token sees, at most `window` positions."""
        return self.distance >= 0 if window is None else (self.distance >= 0) & (self.distance < window)


def rounded(length: int, least: int = 32, parts: int = 16) -> int:
    """`length`, up to `least` - 1 or one of `parts` more: the first product of each shape costs as much as several, and what
    oneDNN makes for it stays in memory, so few shapes are better."""
    step = max(least, 1 << max(0, (length - 1).bit_length() - parts.bit_length() + 1))
    return -(-length // step) * step


def take(packed: Float[Tensor, "heads tokens size"], places: Int[Tensor, " places"]) -> Float[Tensor, "heads places size"]:
    """Tokens by their places, so that gradients add up in the same order every time: on a CPU indexing does not, on a GPU
    `index_select` does not. Without gradients, whole tokens or four bf16 numbers are moved as one, in about half the time."""
    if packed.device.type != "cpu":
        return packed[:, places]
    if packed.requires_grad:
        return packed.index_select(1, places)
    if packed.transpose(0, 1).is_contiguous():
        return packed.transpose(0, 1).index_select(0, places).transpose(0, 1)
    if packed.is_contiguous() and packed.element_size() == 2 and packed.shape[2] % 4 == 0:
        return packed.view(torch.int64).index_select(1, places).view(packed.dtype)
    return packed.index_select(1, places)


def order(places: Sequence[Int[Tensor, " _"]], stands: Int[Tensor, " places"] | None = None) -> Int[Tensor, " places"]:
    """Where each place, from 0 on, is found when the n-th of all `places` stands at `stands[n]` (None: at n)."""
    joined = torch.cat(list(places))
    stands = torch.arange(len(joined), device=joined.device) if stands is None else stands
    return torch.empty_like(joined).scatter_(0, joined, stands)
