"""The text part of a checkpoint that also reads images or sound (MedGemma, Gemma 3 and 4, Qwen3.5): all else stays on disk."""

from __future__ import annotations

import copy
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from mpdd.errors import InputError

_PREFIXES = ("language_model.model.", "model.language_model.model.", "model.language_model.", "language_model.")
_RENAMED = {r"^(model\.)?language_model\.lm_head\.": "lm_head.", r"^(model\.)?language_model\.(model\.)?": "model."}


def text_config(folder: str) -> Any:
    """Return the configuration of the causal language model in a model folder, or of the text part where there is more."""
    config = AutoConfig.from_pretrained(folder)
    text = config.get_text_config()
    if text is config or type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return config
    text = copy.deepcopy(text)
    if (tied := getattr(config, "tie_word_embeddings", None)) is not None:
        text.tie_word_embeddings = tied
    text.dtype = text.dtype or config.dtype
    return text


def load(folder: str, **options: Any) -> Any:
    """Load the causal language model of a folder, without weights for anything but text; `options` go to `from_pretrained`.

    Raises `InputError` for a folder of several parts in which weights of the text part are missing.
    """
    config = text_config(folder)
    if config.model_type == AutoConfig.from_pretrained(folder).model_type:
        return AutoModelForCausalLM.from_pretrained(folder, **options)
    text_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model, info = text_class.from_pretrained(folder, config=config, key_mapping=_RENAMED, output_loading_info=True, **options)
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"The text part of the model folder {folder!r} is not complete",
            found=f"{len(missing)} weights missing, among them {missing[0]}",
            wanted=f"all weights of {type(model).__name__}",
        )
    model._weight_conversions = None  # files that are written from it have the names of a model of text alone
    return model


def names_in_files(name: str, prefix: str) -> tuple[str, ...]:
    """Return the names under which files may hold the weight `name` of a text model whose layers are below `prefix`.

    Files of a bare base model leave the prefix out; those of a model with more parts put the text part's name before it.
    """
    bare = name.removeprefix(f"{prefix}.")
    return (name, bare, *(f"{place}{bare}" for place in _PREFIXES))
