"""Prediction with backbones that cannot be packed: one row at a time, through transformers' own decoding and key-value cache."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList

from mpdd.backbone.model import Backbone
from mpdd.backbone.packed.deep import deep_rows, given
from mpdd.backbone.vocabulary import factor_of
from mpdd.inference.decoding.steering import Steering, steer

Prompt = Float[Tensor, "_ width"]


def generate(
    backbone: Backbone, ids: Sequence[int], prompt: Prompt | None, most: int, steering: Steering | None = None
) -> list[tuple[int, float]]:
    """Write at most so many tokens greedily behind a prompt and `ids`; return each, the end token among them, with its
    log-probability under the `steering` (None: as the backbone says it).

    In the place of the prompt stand padding tokens, whose embeddings are exchanged for its rows in the first pass; from then on
    the cache has the keys and values of the rows, of a deep prompt in every layer.
    """
    config = backbone.model.config.get_text_config()
    rows = torch.zeros(0, backbone.width) if prompt is None else prompt
    whole = torch.tensor([[*[config.pad_token_id or 0] * len(rows), *ids]], device=backbone.device)
    deep = deep_rows([rows], [torch.arange(len(rows))], backbone.width, backbone.device)
    at_input = rows[:, : backbone.width] / factor_of(config)
    with given(deep, whole.shape[1]), _beginning_with(backbone.model.get_input_embeddings(), at_input):
        written = backbone.model.generate(
            input_ids=whole,
            attention_mask=torch.ones_like(whole),
            max_new_tokens=most,
            do_sample=False,
            pad_token_id=backbone.end,
            eos_token_id=backbone.end,
            logits_processor=LogitsProcessorList([] if steering is None else [_Steered(steering, whole.shape[1])]),
            return_dict_in_generate=True,
            output_scores=True,
        )
    tokens = written.sequences[0, whole.shape[1] :].tolist()
    log_p = [float(scores[0].float().log_softmax(-1)[token]) for token, scores in zip(tokens, written.scores, strict=True)]
    return list(zip(tokens, log_p, strict=True))


def likelihoods(
    backbone: Backbone, ids: Sequence[int], prompt: Prompt | None, continuations: Sequence[Sequence[int]]
) -> Float[Tensor, " tokens"]:
    """Return the log-likelihood of every token of every way to go on behind a prompt and `ids`, in order."""
    log_likelihoods = []
    rows = backbone.table.new_zeros(0, backbone.width) if prompt is None else prompt
    deep = deep_rows([rows], [torch.arange(len(rows))], backbone.width, backbone.device)
    for way in continuations:
        tokens = torch.tensor([*ids, *way[:-1]], device=backbone.device)
        embeddings = backbone.embed(tokens)
        embeddings = torch.cat([rows[:, : backbone.width].to(embeddings), embeddings])[None]
        with_rows = torch.cat([tokens.new_full((len(rows),), -1), tokens])[None]
        positions = torch.arange(embeddings.shape[1], device=backbone.device)[None]
        last = positions >= embeddings.shape[1] - len(way)
        states = backbone.states(embeddings, torch.ones_like(last), positions, last, deep=deep, ids=with_rows)
        log_likelihoods.append(backbone.log_likelihoods(states, torch.tensor(way, device=backbone.device)))
    return torch.cat(log_likelihoods)


class _Steered(LogitsProcessor):
    """Steers transformers' decoding of one row behind the first `read` tokens."""

    def __init__(self, steering: Steering, read: int) -> None:
        self._steering, self._read = steering, read

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores [1, vocabulary] of the next token, in a tensor of their own."""
        if input_ids.shape[1] > self._read:
            self._steering.write(int(input_ids[0, -1]))
        scores = scores.clone()
        steer(scores, [self._steering])
        return scores


@contextmanager
def _beginning_with(layer: nn.Module, rows: Float[Tensor, "length width"]) -> Iterator[None]:
    """Within, the first call of an embedding layer in this thread gives these rows for its first tokens."""
    is_first, thread = True, threading.get_ident()

    def exchange(_layer: nn.Module, _ids: Any, embeddings: Tensor) -> Tensor:
        nonlocal is_first
        if threading.get_ident() != thread:
            return embeddings
        begun, is_first = not is_first, False
        return embeddings if begun else torch.cat([rows.to(embeddings)[None], embeddings[:, len(rows) :]], dim=1)

    handle = layer.register_forward_hook(exchange)
    try:
        yield
    finally:
        handle.remove()
