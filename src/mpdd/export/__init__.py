"""Exports: task prompts in the formats of other programs, for where `mpdd` itself is not installed.

Here: the formats, and which of them and which engines take which prompts, at the input alone or with rows before every layer
(deep).
"""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What `mpdd export` writes."""

    HF_VOCAB = "hf-vocab"
    PEFT = "peft"
    PEFT_PREFIX = "peft-prefix"
    KV_CACHE = "kv-cache"
    VLLM_KV = "vllm-kv"
    HUB_FOLDER = "hub-folder"


TAKES_DEEP = (Format.PEFT_PREFIX, Format.KV_CACHE, Format.VLLM_KV, Format.HUB_FOLDER)
TAKES_SEVERAL = (Format.HF_VOCAB, Format.KV_CACHE, Format.VLLM_KV, Format.HUB_FOLDER)
TAKES_DTYPE = (Format.HF_VOCAB, Format.KV_CACHE, Format.VLLM_KV)
FOR_DEEP = " or ".join(f"--to {name}" for name in TAKES_DEEP)


def where_it_runs(depth: str) -> str:
    """Say in one line which exports and engines take a prompt of a depth, "input" or "all"."""
    if depth == "input":
        return f"Runs in mpdd, also with vLLM as its engine; `mpdd export --to` {', '.join(Format)} take it."
    names = ", ".join(TAKES_DEEP)
    return (
        f"This prompt is deep (it has rows before every layer). It runs in mpdd and, after `mpdd export --to vllm-kv`, in "
        f"vLLM. Exports that take it: {names}; llama.cpp cannot run it. "
        f"`mpdd adapt CARD --exportable` makes a prompt that runs everywhere."
    )
