"""Keys and values that an earlier pass has left, of tokens that later passes stand behind without running them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.backbone.packed.attention import Layout, Wanted

Shapes = tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]
KeysValues = tuple[Float[Tensor, "groups tokens size"], Float[Tensor, "groups tokens size_v"]]


@dataclass(frozen=True)
class KVCache:
    """The keys and values of `length` tokens, by layer."""

    length: int
    by_layer: Mapping[int, KeysValues]

    def part(self, start: int, end: int) -> CompactKVCache:
        """The cache of some of the tokens, in memory of its own."""
        cut = {layer: (k[:, start:end], v[:, start:end]) for layer, (k, v) in self.by_layer.items()}
        numbers = torch.cat([part.flatten() for pair in cut.values() for part in pair])
        shapes = tuple((layer, tuple(k.shape), tuple(v.shape)) for layer, (k, v) in cut.items())
        return CompactKVCache(end - start, numbers, _shared(shapes))


@dataclass(frozen=True, slots=True)
class CompactKVCache:
    """`KVCache` in one tensor, as a tensor costs hundreds of bytes beside its numbers. `shapes`: layer, keys' and values'."""

    length: int
    numbers: Float[Tensor, " numbers"]
    shapes: Shapes

    def by_layer(self) -> KVCache:
        """The same keys and values, by layer."""
        parts = iter(torch.split(self.numbers, [prod(shape) for _, *both in self.shapes for shape in both]))
        return KVCache(self.length, {layer: (next(parts).view(k), next(parts).view(v)) for layer, k, v in self.shapes})


@cache
def _shared(shapes: Shapes) -> Shapes:
    """One object for all prompts of a length."""
    return shapes


def joined(caches: Sequence[KVCache]) -> KVCache:
    """Several caches as one, one behind the other."""
    layers = caches[0].by_layer if caches else {}
    keys_values = {
        layer: (torch.cat([k.by_layer[layer][0] for k in caches], 1), torch.cat([k.by_layer[layer][1] for k in caches], 1))
        for layer in layers
    }
    return KVCache(sum(k.length for k in caches), keys_values)


class CacheWriter:
    """A layout that keeps all keys and values of a pass."""

    def __init__(self, layout: Layout, length: int) -> None:
        """Take the layout of the pass, of which the first `length` tokens count."""
        self._layout, self._length = layout, length
        self._cache: dict[int, KeysValues] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> Tensor:
        """The layout's own outputs."""
        self._cache[layer] = key.detach(), value.detach()
        return self._layout.attend(layer, query, key, value, wanted)

    @property
    def cache(self) -> KVCache:
        """The keys and values of the pass."""
        return KVCache(self._length, self._cache)
