"""How a byte-level tokenizer splits text before its merges, which transformers' GGUF reader knows for a part of the models only.

A GGUF file names the rule (`tokenizer.ggml.pre`); what each name means is defined in llama.cpp (`src/llama-vocab.cpp`). For names
that the reader does not know it falls back to GPT-2's rule. SmolLM2 and others split every digit off first: without that,
two spaces or line breaks before a number become two tokens, where the model was trained on one.
"""

from __future__ import annotations

import json

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase

_LIKE_GPT2 = frozenset(("", "default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"))
_SINGLE_DIGITS = frozenset(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"))


def restore(tokenizer: PreTrainedTokenizerBase, rule: str) -> str:
    """Give a tokenizer the splitting that its GGUF file names, in place where the reader lost it; return what was done.

    Only byte-level tokenizers that the reader left with GPT-2's rule are touched.
    """
    if not _splits_like_gpt2(tokenizer):
        return "as transformers reads it"
    if rule in _SINGLE_DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        )
        return f"digits are split one by one (rule {rule!r}), which transformers' reader leaves out"
    if rule in _LIKE_GPT2:
        return "as transformers reads it"
    return f"UNKNOWN rule {rule!r}: text is split as for GPT-2, and tokens may differ from those the model was trained on"


def _splits_like_gpt2(tokenizer: PreTrainedTokenizerBase) -> bool:
    split = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    return bool(split.get("type") == "ByteLevel" and split.get("use_regex"))
