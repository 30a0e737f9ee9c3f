"""Prompts that are read once: their keys and values, kept for as long as somebody holds the prompt itself.

What a prompt makes of a backbone does not depend on the text behind it (attention is causal), so it need not be computed
again for every batch. The first batch under a prompt and all later ones stand behind the very same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from mpdd.backbone.model import Backbone
from mpdd.backbone.packed.kv_cache import CacheWriter, KVCache
from mpdd.prompts.pack import Text, pack

Prompt = Float[Tensor, "_ width"]


class PromptCache:
    """What prompts have left in one backbone. A prompt is identified by its tensor, which must not change."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._cached = WeakIdKeyDictionary()

    def __len__(self) -> int:
        return len(self._cached)

    def of(self, prompts: Iterable[Prompt | None]) -> dict[int, KVCache]:
        """The keys and values of each prompt that has rows, by its `id`; those that are new are computed in one pass."""
        asked = {id(prompt): prompt for prompt in prompts if prompt is not None and len(prompt)}
        if new := [prompt for prompt in asked.values() if prompt not in self._cached]:
            self._read(new)
        return {number: self._cached[prompt].by_layer() for number, prompt in asked.items()}

    @torch.inference_mode()
    def _read(self, prompts: Sequence[Prompt]) -> None:
        packed = pack(self._backbone, [Text((), prompt, unshared=0) for prompt in prompts])
        writer = CacheWriter(packed.layout, len(packed.positions))
        last = torch.tensor(packed.ends, device=self._backbone.device) - 1
        self._backbone.packed(packed.embeddings, packed.positions, writer, last, deep=packed.deep, ids=packed.ids)
        for prompt, end in zip(prompts, packed.ends, strict=True):
            self._cached[prompt] = writer.cache.part(end - len(prompt), end)
