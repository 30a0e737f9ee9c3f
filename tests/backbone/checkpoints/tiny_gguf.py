"""A tiny random Llama with a byte-level tokenizer as a GGUF file, with known weights to compare with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

LAYER = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def write(path: Path, folder: Path, *, kind: str = "F32", rule: str = "smollm", without: str = "") -> Path:
    """Write the Llama model in `folder` as a GGUF file whose matrices are of a `kind`; `without` leaves a tensor out."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    config: Any = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, folder, rule)
    for name, weight in model.state_dict().items():
        place = _place(name)
        if place != without:
            _add(writer, place, _permuted(place, weight.float().numpy(), config), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, weight: np.ndarray, kind: str) -> None:
    """Vectors stay fp32, as in real files, and so do matrices whose rows are not made of blocks of 32."""
    blocks = kind[0] != "Q" or weight.shape[-1] % 32 == 0
    stored = gguf.GGMLQuantizationType[kind if weight.ndim > 1 and blocks else "F32"]
    data = gguf.quants.quantize(weight, stored)
    writer.add_tensor(name, data, raw_dtype=stored)


def _place(name: str) -> str:
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if not name.startswith("model.layers."):
        return outer.get(name, "output.weight")
    _, _, number, inner = name.removesuffix(".weight").split(".", 3)
    return f"blk.{number}.{LAYER[inner]}.weight"


def _permuted(name: str, weight: np.ndarray, config: Any) -> np.ndarray:
    """llama.cpp keeps the two halves of a head's rotation interleaved in queries and keys."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return weight
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, rule: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    core = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in core["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
