"""Attention of grouped segments with matrix products, forward and backward by hand.

On a CPU this is several times as fast as torch's fused attention is backward, at the price of keeping the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.backbone.packed.attention import Wanted
from mpdd.backbone.packed.group import Group, order


class _Part:
    """A group for a number of heads: the places of queries and keys in [token, head] order, and what scores get added.

    Query heads that share a key head go together: [key head, row, query head, token].
    """

    def __init__(self, group: Group, heads: int, key_heads: int) -> None:
        (self.rows, self.length), self.seen, self.each = group.queries.shape, group.keys.shape[1], heads // key_heads
        head_numbers = torch.arange(heads).view(key_heads, 1, self.each, 1)
        self.queries = (group.queries[None, :, None] * heads + head_numbers).flatten()
        self.real = group.real[None, :, None].expand(key_heads, -1, self.each, -1).flatten()
        self.keys = (group.keys[None] * key_heads + torch.arange(key_heads).view(key_heads, 1, 1)).flatten()
        self.padded = not bool(self.real.all())
        self._group = group
        self._bias: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def bias(self, window: int | None, dtype: torch.dtype) -> Float[Tensor, "rows 1 length seen"]:
        """0 where a token sees another one, minus infinity elsewhere."""
        if (window, dtype) not in self._bias:
            sees = self._group.sees(window)[:, None]
            self._bias[window, dtype] = torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, float("-inf"))
        return self._bias[window, dtype]


class Plan:
    """The parts of a pass for a number of heads; `order` brings what they give back into the order of the tokens."""

    def __init__(self, groups: Sequence[Group], heads: int, key_heads: int) -> None:
        self.parts = [_Part(group, heads, key_heads) for group in groups]
        stands = torch.cat([part.real for part in self.parts]).nonzero()[:, 0]
        self.order = order([part.queries[part.real] for part in self.parts], stands)
        self.heads, self.key_heads, self.tokens = heads, key_heads, len(self.order) // heads


class MatrixAttention(torch.autograd.Function):
    """Attention with matrix products, forward and backward by hand in as few operations as there are.

    What several segments stand behind collects their gradients in fp32, in the same order every time.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted, plan: Plan) -> Tensor:
        """[tokens, heads, size_v] from query, key and value [heads, tokens, size]."""
        q, k, v = (tensor.transpose(0, 1).reshape(-1, tensor.shape[-1]) for tensor in (query, key, value))
        saved, outputs = [], []
        for part in plan.parts:
            pairs = plan.key_heads * part.rows
            ours = (q.index_select(0, part.queries) * wanted.scale).view(pairs, part.each * part.length, -1)
            keys = k.index_select(0, part.keys).view(pairs, part.seen, -1)
            values = v.index_select(0, part.keys).view(pairs, part.seen, -1)
            scores = torch.bmm(ours, keys.transpose(1, 2)).view(plan.key_heads, part.rows, part.each, part.length, part.seen)
            scores += part.bias(wanted.window, scores.dtype)
            if wanted.sinks is None:
                shares = scores.softmax(-1)
            else:
                sinks = wanted.sinks.to(scores).view(plan.key_heads, 1, part.each, 1, 1)
                shares = torch.cat([scores, sinks.expand(*scores.shape[:-1], 1)], dim=-1).softmax(-1)[..., :-1]
            shares = shares.reshape(pairs, part.each * part.length, part.seen)
            outputs.append(torch.bmm(shares, values))
            saved += [ours, keys, values, shares]
        ctx.save_for_backward(*saved)
        ctx.plan, ctx.scale = plan, wanted.scale
        joined = torch.cat([tensor.view(-1, value.shape[-1]) for tensor in outputs])
        return joined.index_select(0, plan.order).view(plan.tokens, plan.heads, -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of query, key and value."""
        plan, saved = ctx.plan, ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        size, size_v = saved[0].shape[-1], saved[2].shape[-1]
        for_queries = []
        for_keys = torch.zeros(plan.tokens * plan.key_heads, size)
        for_values = torch.zeros(plan.tokens * plan.key_heads, size_v)
        for i, part in enumerate(plan.parts):
            ours, keys, values, shares = saved[4 * i : 4 * i + 4]
            came = flat.index_select(0, part.queries)
            if part.padded:
                came *= part.real[:, None]
            came = came.view(*ours.shape[:2], size_v)
            scores = torch.bmm(came, values.transpose(1, 2))
            scores = torch._softmax_backward_data(scores, shares, -1, scores.dtype)
            for_queries.append(torch.bmm(scores, keys).view(-1, size))
            for_keys.index_add_(0, part.keys, torch.bmm(scores.transpose(1, 2), ours).view(-1, size).float())
            for_values.index_add_(0, part.keys, torch.bmm(shares.transpose(1, 2), came).view(-1, size_v).float())
        q = (torch.cat(for_queries) * ctx.scale).index_select(0, plan.order).view(plan.tokens, plan.heads, size)
        k, v = (summed.to(gradient.dtype).view(plan.tokens, plan.key_heads, -1) for summed in (for_keys, for_values))
        return q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), None, None
