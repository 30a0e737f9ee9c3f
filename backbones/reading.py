"""How well a backbone foretells text that no recipe trained on: bits per byte, over the same documents for every tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import functional

from backbones.corpus import SOURCES, Document

DOCUMENTS = 40  # of a corpus, at most
BYTES = 2400  # of a document: what a context of 1,024 tokens holds


@torch.inference_mode()
def bits_per_byte(model: Any, tokenizer: Any, held_out: Iterable[Document]) -> dict[str, float]:
    """Bits per byte of each corpus: the beginnings of its first documents, each behind the end token."""
    found = {}
    chosen = list(held_out)
    for source in SOURCES:
        texts = [d.text.encode()[:BYTES].decode(errors="ignore") for d in chosen if d.source == source][:DOCUMENTS]
        nats = sum(_nats(model, tokenizer, text) for text in texts)
        found[source] = round(nats / math.log(2) / sum(len(text.encode()) for text in texts), 4)
    return found


def _nats(model: Any, tokenizer: Any, text: str) -> float:
    ids = torch.tensor([tokenizer.eos_token_id, *tokenizer(text)["input_ids"]][: model.config.max_position_embeddings + 1])
    logits = model(input_ids=ids[None, :-1]).logits[0].float()
    return float(functional.cross_entropy(logits, ids[1:], reduction="sum"))
