"""Which tokens see which in a packed sequence whose segments stand behind one another, as texts do behind prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.backbone.packed.attention import Wanted
from mpdd.backbone.packed.cpu_attention import MatrixAttention, Plan
from mpdd.backbone.packed.group import Group, Tokens, order, take
from mpdd.backbone.packed.kv_cache import KVCache, joined

_WASTE = 2**14  # scores of one head that padding may cost a group of segments
_TOGETHER = 2**19  # scores of one head that segments attending together may have
_MOST = 2**25  # scores of one segment, above which they are not kept for the backward pass


class PrefixTree:
    """A packed sequence for one pass: segments of tokens, each behind another one (a text behind its prompt, say) or behind none.

    A token sees its segment up to itself and all that its segment stands behind. Segments of similar length attend
    together, padded to the longest of them; nothing else of a pass sees padding. `chains` has all tokens that the last
    token of each segment sees, in order.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        parents: Sequence[int | None],
        device: torch.device | str = "cpu",
        cached: Sequence[KVCache] = (),
    ) -> None:
        """Take the segments' `lengths` in tokens, in their order, and which earlier one each stands behind.

        The first ones are `cached`, and are not run again: the pass has the tokens of the others alone.
        """
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        spans = [np.arange(starts[i], starts[i + 1]) for i in range(len(lengths))]
        before: list[Tokens] = []
        for parent in parents:
            before.append(spans[0][:0] if parent is None else np.concatenate([before[parent], spans[parent]]))
        self.chains = [np.concatenate(both) for both in zip(before, spans, strict=True)]
        self._cached = joined(cached)
        together = _alike([0] * len(cached) + list(lengths[len(cached) :]), [len(tokens) for tokens in before])
        self._groups = [
            Group([before[i] for i in chosen], [spans[i] for i in chosen], device, self._cached.length) for chosen in together
        ]
        self._plans: dict[tuple[int, int], Plan] = {}

    def whole(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens, those in the cache before those of a pass."""
        if not self._cached.length:
            return key, value
        before = self._cached.by_layer[layer]
        return torch.cat([before[0], key], 1), torch.cat([before[1], value], 1)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> Tensor:
        """On a CPU with matrix products, which backward are several times as fast as torch's fused attention."""
        key, value = self.whole(layer, key, value)
        if wanted.softcap is not None:
            return self._ordered([_capped(group, query, key, value, wanted, wanted.softcap) for group in self._groups])
        if query.device.type != "cpu" or len(query) * max(group.distance[0].numel() for group in self._groups) > _MOST:
            return self._ordered([_fused(group, query, key, value, wanted) for group in self._groups])
        heads = len(query), len(key)
        if heads not in self._plans:
            self._plans[heads] = Plan(self._groups, *heads)
        outputs: Tensor = MatrixAttention.apply(query, key, value, wanted, self._plans[heads])  # type: ignore[no-untyped-call]
        return outputs

    def _ordered(self, outputs: Sequence[Float[Tensor, "_ heads size_v"]]) -> Float[Tensor, "tokens heads size_v"]:
        """The groups' outputs in the order of the tokens."""
        return torch.cat(list(outputs)).index_select(0, order([group.queries[group.real] for group in self._groups]))


def _alike(lengths: Sequence[int], heads: Sequence[int]) -> list[list[int]]:
    """Numbers of segments that attend together, from long to short, as long as little is wasted on padding."""
    groups: list[list[int]] = []
    area = wasted = head = 0
    for i in sorted((i for i, length in enumerate(lengths) if length), key=lambda i: (-lengths[i], -heads[i], i)):
        wide = max(head, heads[i])
        longest = lengths[groups[-1][0]] if groups else 0
        each, area_alone = longest * (wide + longest), lengths[i] * (heads[i] + lengths[i])
        more = each - area_alone + (each - area) * len(groups[-1]) if groups else 0
        if groups and wasted + more <= _WASTE and (len(groups[-1]) + 1) * each <= _TOGETHER:
            groups[-1].append(i)
            area, wasted, head = each, wasted + more, wide
        else:
            groups.append([i])
            area, wasted, head = area_alone, 0, heads[i]
    return groups


def _taken(group: Group, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A group's queries, keys and values [rows, heads, tokens, size], and its bias: 0 where a token is seen, else -inf."""
    q, k, v = (
        take(tensor, places.flatten()).view(len(tensor), *places.shape, -1).transpose(0, 1)
        for tensor, places in ((query, group.queries), (key, group.keys), (value, group.keys))
    )
    sees = group.sees(wanted.window)[:, None]
    return q, k, v, torch.zeros(sees.shape, dtype=q.dtype, device=q.device).masked_fill_(~sees, float("-inf"))


def _capped(
    group: Group, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted, cap: float
) -> Float[Tensor, "tokens heads size_v"]:
    """A group's outputs, without its padding, with scores that are capped; fused attention has no such thing."""
    q, k, v, bias = _taken(group, query, key, value, wanted)
    each = len(query) // len(key)
    scores = (q * wanted.scale) @ k.repeat_interleave(each, 1).transpose(2, 3)
    shares = (cap * torch.tanh(scores / cap) + bias).softmax(-1, dtype=torch.float32).to(v.dtype)
    return (shares @ v.repeat_interleave(each, 1)).transpose(1, 2)[group.real]


def _fused(group: Group, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> Float[Tensor, "tokens heads size_v"]:
    """A group's outputs, without its padding, by torch's fused attention, which keeps no scores."""
    rows, length = group.queries.shape
    q, k, v, bias = _taken(group, query, key, value, wanted)
    if wanted.sinks is not None:  # one more key, of no value, whose score is the sink's
        k, v = (torch.nn.functional.pad(tensor, (0, 0, 0, 1)) for tensor in (k, v))
        sinks = wanted.sinks.to(bias).view(1, -1, 1, 1).expand(rows, -1, length, 1)
        bias = torch.cat([bias.expand(-1, len(query), -1, -1), sinks], dim=-1)
    out = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, scale=wanted.scale, enable_gqa=len(query) != len(key)
    )
    return out.transpose(1, 2)[group.real]
