"""Keys and values that an earlier pass has left, of tokens that later passes stand behind without running them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.packed.attention import Layout, Wanted

KeysValues = tuple[Float[Tensor, "groups tokens size"], Float[Tensor, "groups tokens size_v"]]


@dataclass(frozen=True)
class Known:
    """The keys and values of `length` tokens, by layer."""

    length: int
    by_layer: Mapping[int, KeysValues]

    def part(self, start: int, end: int) -> Known:
        """Those of some of the tokens, in memory of their own."""
        cut = {layer: (k[:, start:end].clone(), v[:, start:end].clone()) for layer, (k, v) in self.by_layer.items()}
        return Known(end - start, cut)


def joined(found: Sequence[Known]) -> Known:
    """Several, one behind the other."""
    layers = found[0].by_layer if found else {}
    keys_values = {
        layer: (torch.cat([k.by_layer[layer][0] for k in found], 1), torch.cat([k.by_layer[layer][1] for k in found], 1))
        for layer in layers
    }
    return Known(sum(k.length for k in found), keys_values)


class Recorder:
    """A layout that keeps all keys and values of a pass."""

    def __init__(self, layout: Layout, length: int) -> None:
        """Take the layout of the pass, of which the first `length` tokens count."""
        self._layout, self._length = layout, length
        self._found: dict[int, KeysValues] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> Tensor:
        """The layout's own outputs."""
        self._found[layer] = key.detach(), value.detach()
        return self._layout.attend(layer, query, key, value, wanted)

    @property
    def known(self) -> Known:
        """What the pass has left."""
        return Known(self._length, self._found)
