"""The keys and values of rows that are being written on, one token of each row at a time.

Attention to them takes as long as reading them, so rows of similar length stand together, padded to the longest of them; and
room for more tokens is made step by step, as products would copy a slice of what is reserved for later.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mpdd.backbone.packed.attention import Wanted
from mpdd.backbone.packed.group import Tokens, rounded, take
from mpdd.backbone.packed.prefix_tree import PrefixTree

_WASTE = 2048  # tokens of padding whose reading takes as long as the operations of one more group of rows, on a CPU


class DecodingCache:
    """A layout that first reads a packed sequence, as its tree says, then takes one more token of each row in every pass.

    Row i goes on from the last token of the tree's segment `segments[i]`. There is least padding where rows are in the order of
    their lengths.
    """

    def __init__(self, tree: PrefixTree, segments: Sequence[int], device: torch.device | str = "cpu") -> None:
        """Take the tree and who goes on."""
        self._tree = tree
        self._waste = _WASTE if torch.device(device).type == "cpu" else inf
        together = _alike([tree.chains[segment] for segment in segments], self._waste)
        self._groups = [_Rows(chains, device) for chains in together]

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        """How many tokens each row has; that is also the position of its next one."""
        return torch.cat([group.lengths for group in self._groups])

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> Tensor:
        """The tree's outputs at first, then those of one new token a row."""
        if not self._groups[0].has(layer):
            keys, values = self._tree.whole(layer, key, value)
            for group in self._groups:
                group.read(layer, keys, values)
            return self._tree.attend(layer, query, key, value, wanted)
        counts = [len(group.lengths) for group in self._groups]
        parts = zip(self._groups, *(torch.split(tensor, counts, 1) for tensor in (query, key, value)), strict=True)
        return torch.cat([group.attend(layer, *of_group, wanted) for group, *of_group in parts])

    def advance(self) -> None:
        """After a pass: each row has one token more."""
        for group in self._groups:
            group.advance()

    def keep(self, rows: Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
        """Drop all rows but these, and return the order in which they stand from now on."""
        first, orders, kept = 0, [], list[_Rows]()
        for group in self._groups:
            count = len(group.lengths)
            orders.append(first + group.keep(rows[(rows >= first) & (rows < first + count)] - first))
            first += count
            if not len(group.lengths):
                continue
            if kept and kept[-1].padding_with(group) <= self._waste:
                kept[-1].join(group)
            else:
                kept.append(group)
        self._groups = kept
        return torch.cat(orders)


def _alike(chains: Sequence[Tokens], waste: float) -> list[list[Tokens]]:
    """Neighbours of similar length together: so many that each group has at most `waste` tokens of padding."""
    groups: list[list[Tokens]] = []
    for chain in chains:
        grown = [*groups[-1], chain] if groups else []
        if grown and len(grown) * max(map(len, grown)) - sum(map(len, grown)) <= waste:
            groups[-1] = grown
        else:
            groups.append([chain])
    return groups


class _Rows:
    """Rows of similar length: in each layer, their keys and values stand together, [rows, heads, capacity, size]."""

    def __init__(self, chains: Sequence[Tokens], device: torch.device | str) -> None:
        """Take the tokens of a packed sequence that each row goes on from."""
        self.lengths = torch.tensor([len(chain) for chain in chains], device=device)
        self._longest = max(map(len, chains))
        places = np.zeros((len(chains), self._longest), dtype=np.int64)
        for row, chain in enumerate(chains):
            places[row, : len(chain)] = chain
        self._places = torch.from_numpy(places).to(device)
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._bias: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def has(self, layer: int) -> bool:
        """Whether it has read the keys and values of this layer."""
        return layer in self._layers

    def read(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Take keys and values from those of the packed sequence [heads, tokens, size]."""
        rows, longest = self._places.shape
        own_keys, own_values = (
            take(packed, self._places.flatten()).view(-1, rows, longest, packed.shape[2]).transpose(0, 1)
            for packed in (keys, values)
        )
        self._layers[layer] = self._with_room(own_keys), self._with_room(own_values)

    def attend(
        self, layer: int, query: Float[Tensor, "heads rows size"], key: Tensor, value: Tensor, wanted: Wanted
    ) -> Float[Tensor, "rows heads size_v"]:
        """Keep the keys and values of one more token a row, and return its outputs."""
        keys, values = self._layers[layer] = self._with_room(self._layers[layer][0]), self._with_room(self._layers[layer][1])
        (heads, rows, size), (groups, _, size_v) = query.shape, value.shape
        each, seen, of_row = heads // groups, keys.shape[2], torch.arange(rows, device=query.device)
        for cached, new in ((keys, key), (values, value)):
            cached[of_row, :, self.lengths] = new.transpose(0, 1)
        ours = (query * wanted.scale).reshape(groups, each, rows, size).permute(2, 0, 1, 3).reshape(rows * groups, each, size)
        scores = torch.bmm(ours, keys.flatten(0, 1).transpose(1, 2)).view(rows, groups, each, seen)
        if wanted.softcap is not None:
            scores = wanted.softcap * torch.tanh(scores / wanted.softcap)
        scores += self._sees(seen, wanted.window, scores.dtype)[:, None, None]
        if wanted.sinks is not None:
            sinks = wanted.sinks.to(scores).view(1, groups, each, 1).expand(rows, -1, -1, 1)
            scores = torch.cat([scores, sinks], dim=-1)
        shares = scores.softmax(-1)[..., :seen].reshape(rows * groups, each, seen)
        return torch.bmm(shares, values.flatten(0, 1)).view(rows, heads, size_v)

    def advance(self) -> None:
        """Each row has one token more."""
        self._set_lengths(self.lengths + 1, self._longest + 1)

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
        lengths = self.lengths[order]
        self._set_lengths(lengths, int(lengths.max()) if count else 0)
        return order

    def padding_with(self, other: _Rows) -> int:
        """Tokens of padding that standing together with `other` rows, behind these, would add."""
        longest = max(self._longest, other._longest)
        return sum((longest - group._longest) * len(group.lengths) for group in (self, other))

    def join(self, other: _Rows) -> None:
        """Take the `other` rows, behind these."""
        self._set_lengths(torch.cat([self.lengths, other.lengths]), max(self._longest, other._longest))
        for layer, pair in self._layers.items():
            keys, values = (
                torch.cat([self._with_room(own), self._with_room(others)])
                for own, others in zip(pair, other._layers[layer], strict=True)
            )
            self._layers[layer] = keys, values

    def _set_lengths(self, lengths: Int[Tensor, " rows"], longest: int) -> None:
        self.lengths, self._longest, self._bias = lengths, longest, {}

    def _with_room(self, cached: Float[Tensor, "rows heads _ size"]) -> Float[Tensor, "rows heads capacity size"]:
        """With room for one more token of the longest row, and for few tokens besides."""
        rows, heads, before, size = cached.shape
        capacity = rounded(self._longest + 1)
        if before == capacity:
            return cached
        resized = cached.new_zeros(rows, heads, capacity, size)
        resized[:, :, :before] = cached[:, :, :capacity]
        return resized

    def _sees(self, seen: int, window: int | None, dtype: torch.dtype) -> Float[Tensor, "rows seen"]:
        """0 where a row's new token sees one of its tokens, itself included, minus infinity elsewhere."""
        if (window, dtype) not in self._bias:
            distance = self.lengths[:, None] - torch.arange(seen, device=self.lengths.device)[None]
            hidden: Bool[Tensor, "rows seen"] = (distance < 0) if window is None else (distance < 0) | (distance >= window)
            self._bias[window, dtype] = torch.zeros(distance.shape, dtype=dtype, device=distance.device).masked_fill_(
                hidden, float("-inf")
            )
        return self._bias[window, dtype]
