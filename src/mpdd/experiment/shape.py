"""The shape of a backbone: what its sizes say about memory and time before its weights are anywhere near.

A shape comes from a loaded backbone, or from a `config.json` alone: the model is then built on torch's meta device, where
tensors have sizes and no numbers. What is calculated here is arithmetic, not a measurement; `mpdd check --rehearse` measures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import context_of
from mpdd.errors import InputError
from mpdd.experiment.config import Experiment
from mpdd.training.passes import TOKENS

_NUMBER = {"bf16": 2, "fp16": 2, "fp32": 4, "auto": 2}
_WEIGHT = {"no": 1.0, "int8": 0.5, "nf4": 0.25}  # of a 16-bit weight
_OPTIMIZER = 16  # bytes for each trained number: itself, its gradient and two moments, in fp32


@dataclass(frozen=True)
class Shape:
    """Sizes of a backbone. `active`: parameters that multiply one token (of its experts, those that it is sent to; not the
    embedding table). `saved`: numbers that each token leaves for the backward pass in one layer. `kv_numbers`: numbers of a
    token's keys and values over all layers."""

    parameters: int
    active: int
    width: int
    depth: int
    context: int
    saved: int
    kv_numbers: int
    fingerprint: str = ""

    @classmethod
    def of(cls, backbone: Backbone) -> Shape:
        """That of a loaded backbone."""
        return _measured(backbone.model, backbone.fingerprint)

    @classmethod
    def of_config(cls, path: Path) -> Shape:
        """That of a `config.json`. Raises `InputError` for a file that is none, or of no causal language model."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values))  # type: ignore[no-untyped-call]
        except OSError as error:
            raise InputError(f"The file {path} cannot be read", found=error.strerror, wanted="a model's config.json") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problem = str(error).splitlines()[0][:120]
            raise InputError(f"{path.name} is not the config.json of a causal language model", found=problem) from error
        return _measured(model, "")


def _measured(model: Any, fingerprint: str) -> Shape:
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    chosen, experts = getattr(config, "num_experts_per_tok", None) or 1, getattr(config, "num_local_experts", None) or 1
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    table = model.get_input_embeddings().weight
    active = 0
    for name, weight in model.named_parameters():
        if weight is not table or model.get_output_embeddings().weight is table:
            active += weight.numel() * chosen // experts if ".experts." in name else weight.numel()
    return Shape(
        parameters=int(model.num_parameters()),
        active=active,
        width=config.hidden_size,
        depth=config.num_hidden_layers,
        context=context_of(model.config),
        saved=4 * config.hidden_size + (heads + 2 * groups) * size + 3 * chosen * inner,
        kv_numbers=2 * groups * size * config.num_hidden_layers,
        fingerprint=fingerprint,
    )


def calculated(
    experiment: Experiment, shape: Shape, trained: int, examples: int, *, tokens: int, tflops: float
) -> dict[str, Any]:
    """Memory and time by arithmetic, for examples of so many `tokens` and a device that does so many `tflops` in practice.

    `trained`: the most numbers trained at once; `examples`: trained on in all stages. A frozen weight multiplies each token
    twice: on its way up, and for the gradient on its way down (its own gradient is never taken).
    """
    compute = experiment.compute
    number = _NUMBER[compute.dtype]
    layers = 1 if compute.gradient_checkpointing else shape.depth
    per_token = number * (shape.saved * layers + (shape.width * shape.depth if compute.gradient_checkpointing else 0))
    weights = int(number * shape.parameters * (_WEIGHT[compute.quantize]))
    at_once = max(TOKENS, tokens)
    return {
        "assumed": {"tokens_an_example": tokens, "tflops": tflops, "tokens_at_once": at_once},
        "weights_bytes": weights,
        "saved_bytes_a_token": per_token,
        "optimizer_bytes": _OPTIMIZER * trained,
        "peak_bytes": weights + per_token * at_once + _OPTIMIZER * trained,
        "kept_bytes_a_token": number * shape.kv_numbers,
        "training_hours": round(4 * shape.active * examples * tokens / (tflops * 1e12) / 3600, 2),
        "notes_a_second": round(tflops * 1e12 / (2 * shape.active * tokens), 1),
    }
