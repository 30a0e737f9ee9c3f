"""The keys and values of rows that are being written on, one token of each row at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mpdd.backbone.packed.attention import Wanted
from mpdd.backbone.packed.group import rounded, take
from mpdd.backbone.packed.prefix_tree import PrefixTree


class DecodingCache:
    """A layout that first reads a packed sequence, as its tree says, then takes one more token of each row in every pass.

    Row i goes on from the last token of the tree's segment `segments[i]`. `lengths` [rows] says how many tokens a row has;
    that is also the position of its next one. There is room for `room` more of each.
    """

    def __init__(self, tree: PrefixTree, segments: Sequence[int], room: int, device: torch.device | str = "cpu") -> None:
        """Take the tree and who goes on."""
        chains = [tree.chains[segment] for segment in segments]
        longest = max(map(len, chains))
        places = np.zeros((len(chains), longest), dtype=np.int64)
        for row, chain in enumerate(chains):
            places[row, : len(chain)] = chain
        self.lengths = torch.tensor([len(chain) for chain in chains], device=device)
        self._tree, self._places = tree, torch.from_numpy(places).to(device)
        self._capacity = rounded(longest + room)
        self._longest = longest
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._bias: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> Tensor:
        """The tree's outputs at first, then those of one new token a row."""
        if layer not in self._layers:
            keys, values = self._tree.whole(layer, key, value)
            self._layers[layer] = self._room_for(keys), self._room_for(values)
            return self._tree.attend(layer, query, key, value, wanted)
        (heads, rows, size), (groups, _, size_v) = query.shape, value.shape
        seen = min(rounded(self._longest + 1), self._capacity)
        each, of_row = heads // groups, torch.arange(rows, device=query.device)
        for cached, new in zip(self._layers[layer], (key, value), strict=True):
            cached[of_row, :, self.lengths] = new.transpose(0, 1)
        keys, values = (cached.flatten(0, 1)[:, :seen] for cached in self._layers[layer])
        ours = (query * wanted.scale).view(groups, each, rows, size).permute(2, 0, 1, 3).reshape(rows * groups, each, size)
        products = torch.bmm(keys, ours.transpose(1, 2))  # on a CPU a third of the time of queries times keys
        scores = products.view(rows, groups, seen, each).transpose(2, 3).contiguous()
        if wanted.softcap is not None:
            scores = wanted.softcap * torch.tanh(scores / wanted.softcap)
        scores += self._sees(seen, wanted.window, scores.dtype)[:, None, None]
        if wanted.sinks is not None:
            sinks = wanted.sinks.to(scores).view(1, groups, each, 1).expand(rows, -1, -1, 1)
            scores = torch.cat([scores, sinks], dim=-1)
        shares = scores.softmax(-1)[..., :seen].reshape(rows * groups, each, seen)
        return torch.bmm(shares, values).view(rows, heads, size_v)

    def advance(self) -> None:
        """After a pass: each row has one token more."""
        self.lengths = self.lengths + 1
        self._longest += 1
        self._bias = {}

    def keep(self, rows: Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
        """Drop all rows but these, and return the order in which they stand from now on.

        The last ones come to stand where others are dropped, so that few are moved.
        """
        count = len(rows)
        dropped = torch.ones(count, dtype=torch.bool, device=rows.device)
        dropped[rows[rows < count]] = False
        holes, moved = dropped.nonzero().flatten(), rows[rows >= count]
        order = torch.arange(count, device=rows.device)
        order[holes] = moved
        for pair in self._layers.values():
            for cached in pair:
                cached[holes, :, : self._longest] = cached[moved, :, : self._longest]
        self._layers = {layer: (k[:count], v[:count]) for layer, (k, v) in self._layers.items()}
        self.lengths = self.lengths[order]
        self._longest = int(self.lengths.max())
        self._bias = {}
        return order

    def _room_for(self, packed: Float[Tensor, "heads tokens size"]) -> Float[Tensor, "rows heads capacity size"]:
        rows, longest = self._places.shape
        cached = packed.new_zeros(rows, packed.shape[0], self._capacity, packed.shape[2])
        cached[:, :, :longest] = take(packed, self._places.flatten()).view(-1, rows, longest, packed.shape[2]).transpose(0, 1)
        return cached

    def _sees(self, seen: int, window: int | None, dtype: torch.dtype) -> Float[Tensor, "rows seen"]:
        """0 where a row's new token sees one of its tokens, itself included, minus infinity elsewhere."""
        if (window, dtype) not in self._bias:
            distance = self.lengths[:, None] - torch.arange(seen, device=self.lengths.device)[None]
            hidden: Bool[Tensor, "rows seen"] = (distance < 0) if window is None else (distance < 0) | (distance >= window)
            self._bias[window, dtype] = torch.zeros(distance.shape, dtype=dtype, device=distance.device).masked_fill_(
                hidden, float("-inf")
            )
        return self._bias[window, dtype]
