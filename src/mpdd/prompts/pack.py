"""Lays texts end to end behind their prompts: each distinct prompt once, with the words that all texts under it begin
with, then the texts, then what may follow each text (the options of a question, say).

Nothing is padding, and what several texts begin with (a prompt, a task's instruction) goes through the backbone once;
under causal attention nothing of it depends on what follows, so gradients are exact.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.backbone.packed.deep import DeepRows, deep_rows
from mpdd.backbone.packed.group import rounded
from mpdd.backbone.packed.kv_cache import KVCache
from mpdd.backbone.packed.prefix_tree import PrefixTree


@dataclass(frozen=True)
class Text:
    """Token ids behind a prompt [length, width] (None: behind none), and what may follow them, each way by itself.

    A deep prompt is [length, layers * width]: what stands before the first layer, the second, and so on. The last `unshared`
    tokens are never shared with other texts.
    """

    ids: Sequence[int]
    prompt: Float[Tensor, "_ width"] | None
    unshared: int = 1
    continuations: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Packed:
    """Texts laid end to end. `segments` has each text's segment in `layout`, `ends` where it ends in the packed sequence,
    `continuations` where each continuation begins and ends there, `deep` what deep prompts put before the layers, and `ids` the
    tokens (-1: a row of a prompt)."""

    embeddings: Float[Tensor, "tokens width"]
    positions: Int[Tensor, " tokens"]
    layout: PrefixTree
    segments: Sequence[int]
    ends: Sequence[int]
    continuations: Sequence[Sequence[tuple[int, int]]]
    deep: DeepRows | None
    ids: Int[Tensor, " tokens"]


@dataclass(frozen=True)
class _Segment:
    """Rows of a prompt (or none), then tokens, behind the segment `parent`; `first` is the position it begins at. Of a `cached`
    one there is nothing to run."""

    prompt: Tensor | None
    tokens: Sequence[int]
    parent: int | None
    first: int
    cached: KVCache | None = None

    @property
    def length(self) -> int:
        """How many tokens go through the backbone."""
        return (0 if self.prompt is None else len(self.prompt)) + len(self.tokens)


def pack(backbone: Backbone, texts: Sequence[Text], cached: Mapping[int, KVCache] = MappingProxyType({})) -> Packed:
    """Pack `texts`; those under the same tensor share their prompt. Prompts whose `id` is among the `cached` are not run."""
    segments = [_Segment(None, (), None, 0, cached_prompt) for cached_prompt in cached.values()]
    of_cached = {number: segment for segment, number in enumerate(cached)}
    of_text: dict[int, int] = {}
    of_way: dict[int, list[int]] = defaultdict(list)
    for chosen in _by_prompt(texts):
        prompt, common = texts[chosen[0]].prompt, 0
        taken = 0 if prompt is None else len(prompt)
        parent = of_cached.get(id(prompt))
        before = 0
        if parent is not None:
            prompt, before = None, taken
        if len(chosen) > 1:
            common = len(os.path.commonprefix([list(texts[i].ids[: len(texts[i].ids) - texts[i].unshared]) for i in chosen]))
            if taken + common > before:
                segments.append(_Segment(prompt, texts[chosen[0]].ids[:common], parent, before))
                parent, before, prompt = len(segments) - 1, taken + common, None
        for i in chosen:
            of_text[i] = len(segments)
            segments.append(_Segment(prompt, texts[i].ids[common:], parent, before))
            for way in texts[i].continuations:
                of_way[i].append(len(segments))
                segments.append(_Segment(None, way, of_text[i], taken + len(texts[i].ids)))
    total = sum(segment.length for segment in segments)
    if rounded(total) > total:  # tokens that nobody looks at
        segments.append(_Segment(None, [backbone.end] * (rounded(total) - total), None, 0))
    ends = torch.tensor([segment.length for segment in segments]).cumsum(0).tolist()
    positions = [torch.arange(segment.first, segment.first + segment.length) for segment in segments]
    return Packed(
        _embeddings(backbone, segments),
        torch.cat(positions).to(backbone.device),
        PrefixTree(
            [s.length if s.cached is None else s.cached.length for s in segments],
            [s.parent for s in segments],
            backbone.device,
            list(cached.values()),
        ),
        [of_text[i] for i in range(len(texts))],
        [ends[of_text[i]] for i in range(len(texts))],
        [[(ends[n] - segments[n].length, ends[n]) for n in of_way[i]] for i in range(len(texts))],
        _deep(backbone, segments, ends),
        torch.tensor([i for s in segments for i in (*[-1] * (s.length - len(s.tokens)), *s.tokens)], device=backbone.device),
    )


def _by_prompt(texts: Sequence[Text]) -> list[list[int]]:
    """Numbers of texts by prompt."""
    numbers: dict[int, list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        numbers[id(text.prompt)].append(i)
    return list(numbers.values())


def _embeddings(backbone: Backbone, segments: Sequence[_Segment]) -> Float[Tensor, "tokens width"]:
    tokens = backbone.embed(torch.tensor([token for segment in segments for token in segment.tokens], dtype=torch.long))
    parts: list[Tensor] = []
    for segment, embedded in zip(segments, torch.split(tokens, [len(segment.tokens) for segment in segments]), strict=True):
        parts += [embedded] if segment.prompt is None else [segment.prompt[:, : backbone.width].to(tokens), embedded]
    return torch.cat(parts)


def _deep(backbone: Backbone, segments: Sequence[_Segment], ends: Sequence[int]) -> DeepRows | None:
    """What deep prompts among the segments put before the layers; a prompt at the input alone goes its own way."""
    prompts = [
        (segment.prompt, end - segment.length) for segment, end in zip(segments, ends, strict=True) if segment.prompt is not None
    ]
    places = [torch.arange(begin, begin + len(prompt)) for prompt, begin in prompts]
    return deep_rows([prompt for prompt, _ in prompts], places, backbone.width, backbone.device)
