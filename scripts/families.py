"""Families of language models that users run, each as a small random model: docs/backbones.md says what was tried on these.

The shapes are tiny, and all else is as in the true models: kinds of layers, windows, multipliers, caps, experts, a text part
among others. vLLM is not run here; `vllm` says whether its list of supported models has the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerBase

LISTED, UNKNOWN = "listed", "not tried"  # in docs/models/supported_models.md of vllm-project/vllm at commit 4b387bc

_SHAPE = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "max_position_embeddings": 512, "tie_word_embeddings": False,
}  # fmt: skip
_TIED = _SHAPE | {"tie_word_embeddings": True, "head_dim": 16}
_ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 6}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}  # fmt: skip
_LINEAR = {
    "head_dim": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
_IMAGES = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
_SHARED = {
    "num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": 8, "sliding_window": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A family: its `title` in the table, `models` that are of it, the config class and its values. Of a checkpoint with more
    than text, `whole` is the class of the model, and `other` the values of its config beside the text part's."""

    title: str
    models: str
    config: str
    values: Mapping[str, Any]
    vllm: str = LISTED
    whole: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """Whether the installed transformers knows it."""
        return hasattr(transformers, self.config) and (not self.whole or hasattr(transformers, self.whole))

    def build(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write a random model with a tokenizer into a folder."""
        end, size = tokenizer.eos_token_id, len(tokenizer)
        ids = {"vocab_size": size, "bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
        if "hidden_size_per_layer_input" in self.values:
            ids["vocab_size_per_layer_input"] = size
        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**self.values, **ids)
        if self.whole:
            name = self.whole.removesuffix("ForConditionalGeneration") + "Config"
            config = getattr(transformers, name)(text_config=config.to_dict(), **self.other)
            model = getattr(transformers, self.whole)(config)
        else:
            model = transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        for weight in model.float().parameters():
            if weight.dim() > 1:  # large enough that tokens differ in what they lead to
                torch.nn.init.normal_(weight, std=0.1)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


FAMILIES = (
    Family("Llama", "Llama 2, 3, Meditron, SmolLM2", "LlamaConfig", _SHAPE),
    Family("Llama 4", "Scout, Maverick", "Llama4TextConfig", _SHAPE | {
        "head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 96, "attention_chunk_size": 8,
    }),
    Family("Mistral", "Mistral 7B, Ministral", "MistralConfig", _SHAPE | {"head_dim": 16, "sliding_window": 6}),
    Family("Mixtral", "Mixtral 8x7B", "MixtralConfig", _SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    Family("Gemma", "Gemma 2B, 7B", "GemmaConfig", _TIED),
    Family("Gemma 2", "Gemma 2 2B, 9B, 27B", "Gemma2Config", _TIED | _ALTERNATING | {
        "attn_logit_softcapping": 0.5, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 16,
    }),
    Family("Gemma 3", "Gemma 3 270M, 1B", "Gemma3TextConfig", _TIED | _ALTERNATING | {"query_pre_attn_scalar": 16}),
    Family(
        "MedGemma", "MedGemma, Gemma 3 4B to 27B: text part", "Gemma3TextConfig",
        _TIED | _ALTERNATING | {"query_pre_attn_scalar": 16},
        whole="Gemma3ForConditionalGeneration", other={"vision_config": _IMAGES, "mm_tokens_per_image": 4},
    ),
    Family("Gemma 3n", "Gemma 3n E2B, E4B", "Gemma3nTextConfig", _TIED | _SHARED | {
        "laurel_rank": 8, "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0] * 4,
    }),
    Family(
        "Gemma 4", "Gemma 4 26B, 31B: text part", "Gemma4TextConfig",
        _TIED | _ALTERNATING | {"hidden_size_per_layer_input": 0, "global_head_dim": 16, "final_logit_softcapping": 3.0}, UNKNOWN,
        whole="Gemma4ForConditionalGeneration", other={
            "vision_config": _IMAGES | {"num_key_value_heads": 2, "head_dim": 16}, "audio_config": None,
            "image_token_id": 5, "video_token_id": 6, "audio_token_id": 7,
        },
    ),
    Family("Gemma 4 E", "Gemma 4 E2B, E4B", "Gemma4TextConfig", _TIED | _SHARED | {"global_head_dim": 16}, UNKNOWN),
    Family("Qwen2", "Qwen2, Qwen2.5", "Qwen2Config", _SHAPE),
    Family("Qwen3", "Qwen3", "Qwen3Config", _SHAPE | {"head_dim": 16}),
    Family("Qwen3 MoE", "Qwen3 30B-A3B", "Qwen3MoeConfig", _SHAPE | _EXPERTS | {"head_dim": 16, "num_experts": 4}),
    Family("Qwen3-Next", "Qwen3-Next 80B-A3B", "Qwen3NextConfig", _SHAPE | _LINEAR | _EXPERTS | {
        "num_experts": 4, "shared_expert_intermediate_size": 32,
    }),
    Family(
        "Qwen3.5", "Qwen3.5: text part", "Qwen3_5TextConfig", _SHAPE | _LINEAR, UNKNOWN,
        whole="Qwen3_5ForConditionalGeneration", other={"vision_config": {
            "hidden_size": 32, "intermediate_size": 32, "depth": 1, "num_heads": 2, "out_hidden_size": 64,
        }},
    ),
    Family("Granite", "Granite 3", "GraniteConfig", _SHAPE | {
        "logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.1,
    }),
    Family("Granite 4 hybrid", "Granite 4 H", "GraniteMoeHybridConfig", _SHAPE | {
        "layer_types": ["linear_attention", "full_attention"], "mamba_n_heads": 8, "mamba_d_head": 16, "num_local_experts": 0,
        "shared_intermediate_size": 96, "logits_scaling": 8.0, "embedding_multiplier": 12.0,
    }),
    Family("Cohere", "Command R", "CohereConfig", _SHAPE | {"logit_scale": 0.25, "tie_word_embeddings": True}),
    Family("Cohere 2", "Command R7B, Command A", "Cohere2Config", _SHAPE | _ALTERNATING | {
        "logit_scale": 0.25, "tie_word_embeddings": True,
    }),
    Family("LFM2", "LFM2 350M to 2.6B", "Lfm2Config", _SHAPE | {"layer_types": ["conv", "full_attention"]}),
    Family("Falcon-H1", "Falcon-H1", "FalconH1Config", _SHAPE | {
        "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_ssm": 128, "lm_head_multiplier": 0.5, "embedding_multiplier": 3.0,
    }),
    Family("MiniCPM3", "MiniCPM3 4B", "MiniCPM3Config", _SHAPE | _LATENT | {"scale_emb": 12, "dim_model_base": 16}),
    Family("DeepSeek-V3", "DeepSeek-V3, R1", "DeepseekV3Config", _SHAPE | _LATENT | _EXPERTS | {
        "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
    }),
    Family("gpt-oss", "gpt-oss 20B, 120B", "GptOssConfig", _SHAPE | {
        "head_dim": 16, "sliding_window": 6, "num_local_experts": 4, "num_experts_per_tok": 2,
    }),
    Family("Phi", "Phi 1.5, 2", "PhiConfig", _SHAPE | {"num_key_value_heads": 4}),
    Family("Phi-3", "Phi-3, Phi-4", "Phi3Config", _SHAPE),
    Family("OLMo 2", "OLMo 2", "Olmo2Config", _SHAPE),
    Family("SmolLM3", "SmolLM3 3B", "SmolLM3Config", _SHAPE),
    Family("Apertus", "Apertus 8B, 70B", "ApertusConfig", _SHAPE),
    Family("GPT-2", "GPT-2, BioMedLM", "GPT2Config", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512}),
    Family("GPT-NeoX", "Pythia", "GPTNeoXConfig", _SHAPE),
    Family("OPT", "OPT, Galactica", "OPTConfig", {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 96, "max_position_embeddings": 512,
        "word_embed_proj_dim": 64,
    }),
    Family("BLOOM", "BLOOM", "BloomConfig", {"hidden_size": 64, "n_layer": 2, "n_head": 4}),
    Family("Falcon", "Falcon 7B", "FalconConfig", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}),
    Family("Nemotron", "Minitron", "NemotronConfig", _SHAPE),
    Family("Mamba", "Mamba", "MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 4}),
)  # fmt: skip
