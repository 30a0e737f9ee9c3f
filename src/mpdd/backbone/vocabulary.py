"""What reading and asking need of a backbone that another process runs: its tokenizer and embedding matrix, not its layers."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from mpdd.backbone.checkpoints import registry
from mpdd.backbone.checkpoints.places import folder_of as folder_of
from mpdd.backbone.checkpoints.registry import EMBEDDED as EMBEDDED  # these three are named from here too
from mpdd.backbone.checkpoints.registry import EMBEDDED_FOLDER as EMBEDDED_FOLDER
from mpdd.backbone.checkpoints.registry import EMBEDDED_METAPROMPT as EMBEDDED_METAPROMPT
from mpdd.backbone.hub_connection import work_offline_if_unreachable
from mpdd.backbone.template import PLAIN, Template
from mpdd.backbone.text_part import names_in_files, text_config
from mpdd.errors import InputError

Loaded = TypeVar("Loaded")
_UNSTABLE_KEYS = {
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "architectures",
    "use_cache",
    "quantization_config",
}


@dataclass(frozen=True)
class Vocabulary:
    """A backbone's tokenizer and embedding layer, under the backbone's own fingerprint; `depth` is its number of layers (0:
    not known), `factor` that of `factor_of`, and `needs_ids` what `needs_ids` says."""

    name: str
    tokenizer: PreTrainedTokenizerBase
    embedding: nn.Embedding
    fingerprint: str
    context: int
    template: Template = PLAIN
    depth: int = 0
    factor: float = 1.0
    needs_ids: bool = False

    @property
    def table(self) -> Float[Tensor, "vocabulary width"]:
        """The embedding matrix. What the layer makes of its rows is what `embed` says."""
        return self.embedding.weight

    @property
    def width(self) -> int:
        """Hidden width `d`: the length of one prompt row."""
        return int(self.table.shape[1])

    @property
    def end(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    def embed(self, ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens width"]:
        """Token embeddings as the embedding layer gives them (Gemma's multiplies by the square root of the width)."""
        with torch.no_grad():
            return embedded(self.embedding, self.factor, ids)


def load(name: str = EMBEDDED) -> Vocabulary:
    """Read the vocabulary of a backbone by any of its names (`checkpoints.places`); of its weights, only the embeddings.

    Raises `InputError` when the folder is no model with its embeddings in safetensors.
    """
    folder = folder_of(name)
    tokenizer, config = pretrained(name, folder, lambda: (AutoTokenizer.from_pretrained(folder), text_config(folder)))
    layer = _embedding(name, folder, config)
    fingerprint, template = fingerprint_of(config, layer.weight), Template.of(tokenizer)
    layers = int(getattr(config.get_text_config(), "num_hidden_layers", 0))
    return Vocabulary(
        name, tokenizer, layer, fingerprint, context_of(config), template, layers, factor_of(config), needs_ids(config)
    )


def load_tokenizer(name: str = EMBEDDED) -> tuple[PreTrainedTokenizerBase, int]:
    """Return a backbone's tokenizer and context without its weights; `name` and errors are those of `load`."""
    folder = folder_of(name)
    tokenizer, config = pretrained(name, folder, lambda: (AutoTokenizer.from_pretrained(folder), text_config(folder)))
    return tokenizer, context_of(config)


def context_of(config: Any) -> int:
    """The longest sequence of a model, in tokens."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", 2048))


def factor_of(config: Any) -> float:
    """By how much a model multiplies embeddings behind its embedding layer only where it is called with token ids: Falcon-H1
    alone does. (Granite does so in every call, and Gemma within the layer; both are as they should be without us.)"""
    text = config.get_text_config()
    return float(text.embedding_multiplier) if text.model_type == "falcon_h1" else 1.0


def needs_ids(config: Any) -> bool:
    """Whether a model looks up more of a token than its embedding: Gemma 4 E2B and E4B and Gemma 3n have rows for each layer."""
    return bool(getattr(config.get_text_config(), "hidden_size_per_layer_input", 0))


def embedded(layer: nn.Embedding, factor: float, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows width"]:
    """Return the embeddings of tokens with which the layers of a model begin: what its embedding layer gives, times `factor`."""
    rows: Tensor = layer(ids.to(layer.weight.device))
    return rows if factor == 1.0 else rows * factor


def fingerprint_of(config: Any, table: Float[Tensor, "vocabulary width"]) -> str:
    """SHA-256 over the configuration and the embedding matrix in bf16, so that it does not depend on the load dtype."""
    stable = {k: v for k, v in config.to_dict().items() if k not in _UNSTABLE_KEYS}
    digest = hashlib.sha256(json.dumps(stable, sort_keys=True, default=str).encode())
    weight = table.detach().to("cpu", torch.bfloat16).contiguous()
    digest.update(weight.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pretrained(name: str, folder: str, load: Callable[[], Loaded]) -> Loaded:
    """Return what `load` gets from a model folder or the hub; errors as those of the function `load`."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if Path(folder).exists() and not (Path(folder) / "config.json").is_file():
        folder_content = "a PEFT adapter, which is none by itself" if _is_adapter(folder) else "no config.json"
        raise InputError(
            f"{name!r} is not a model folder", found=folder_content, wanted="a Hugging Face causal language model folder"
        )
    is_offline = not Path(folder).exists() and work_offline_if_unreachable()
    try:
        return load()
    except (OSError, ValueError) as error:
        if Path(folder).exists():
            raise InputError(f"The model folder {name!r} cannot be loaded", found=_first_line(error)) from error
        if _is_adapter(folder):
            raise InputError(
                f"{name!r} on the model hub is no model", found="a PEFT adapter", wanted="the model that it was made for"
            ) from error
        where = "in the hub's cache (the model hub cannot be reached)" if is_offline else "a model of the hub that you may read"
        raise InputError(
            f"There is no backbone {name!r}", found=f"neither a known name, nor a folder, nor {where}", next_step=_next_step(name)
        ) from error


def _is_adapter(folder: str) -> bool:
    """Whether a folder, or what is known of a name on the hub, holds a PEFT adapter."""
    try:
        return cached_file(folder, "adapter_config.json", _raise_exceptions_for_missing_entries=False) is not None
    except (OSError, ValueError):
        return False


def _next_step(name: str) -> str:
    near = difflib.get_close_matches(name, registry.table(), n=1)
    if near:
        return f"Perhaps {near[0]}; `mpdd backbone list` lists the known names."
    return "Download it on a connected machine and pass its folder; for a gated model accept its licence and log in first."


def _embedding(name: str, folder: str, config: Any) -> nn.Embedding:
    """The embedding layer of a model with its weight, read alone from the folder's files."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):  # a layer's scale is a buffer that no file holds
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    layer: nn.Embedding = model.get_input_embeddings()
    key = next(f"{place}.weight" for place, module in model.named_modules() if module is layer)
    for name_in_file in names_in_files(key, model.base_model_prefix):
        shard = _shard(folder, name_in_file)
        if shard is not None:
            with safe_open(shard, framework="pt") as file:
                if name_in_file in file.keys():  # noqa: SIM118  not a dict
                    layer.weight = nn.Parameter(file.get_tensor(name_in_file), requires_grad=False)
                    return layer
    raise InputError(f"The model {name!r} has no embedding matrix to be read alone", wanted=f"{key} in safetensors files")


def _shard(folder: str, key: str) -> str | None:
    """The safetensors file that should hold a tensor."""
    index = cached_file(folder, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False)
    file = "model.safetensors"
    if index is not None:
        file = json.loads(Path(index).read_text())["weight_map"].get(key, file)
    path: str | None = cached_file(folder, file, _raise_exceptions_for_missing_entries=False)
    return path


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
