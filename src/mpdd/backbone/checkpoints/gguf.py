"""A GGUF file as an ordinary model folder: weights dequantised by transformers' own reader, and the tokenizer.

The folder has the smallest element type that holds every number of the file exactly: bf16 or fp16 for files of that type, fp32
for quantized ones (their numbers are products and sums of 16-bit scales, which bf16 would round by up to 0.4 %).
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import pre_tokenizers
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from mpdd.errors import InputError, MpddError

# How a byte-level tokenizer splits text before its merges; a file names the rule (`tokenizer.ggml.pre`), and llama.cpp says what
# each name means (`src/llama-vocab.cpp`). Transformers' reader knows a part of the names, and falls back to GPT-2's rule.
# SmolLM2 and others split every digit off first: without that, two spaces before a number become two tokens, where the
# model was trained on one.
_LIKE_GPT2 = frozenset(("", "default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"))
_SINGLE_DIGITS = frozenset(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"))


def convert(path: Path, folder: Path) -> Mapping[str, Any]:
    """Write the model and the tokenizer of a GGUF file into `folder`, and return what was done for its provenance.

    Raises `InputError` for a file that cannot be read as a causal language model, `MpddError` without the library gguf, and
    `OSError` or safetensors' error where the folder cannot be written.
    """
    require_reader()
    with _quietly():
        model, tokenizer = _load_model(path)
    changed = restore_splitting(tokenizer, _split_rule(path))
    dtype = lossless_dtype(model)
    _drop_quantization(model)
    model.to(dtype)
    with _quietly():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": int(model.num_parameters()),
        "transformers": transformers.__version__,
        "tokenizer": changed,
    }


def require_reader() -> None:
    """Raise `MpddError` where GGUF files cannot be read, or not rightly.

    Older versions of transformers have another reader, which puts a start token before every text, whatever the file says.
    """
    if importlib.util.find_spec("gguf") is None:
        raise MpddError("GGUF files need one more library; `pip install 'mpdd[gguf]'` brings it.")
    if not hasattr(transformers, "GgufConfig"):
        version = transformers.__version__
        raise MpddError(f"GGUF files need transformers 5.23 or later, found {version}; `pip install -U mpdd[gguf]` brings it.")


def lossless_dtype(model: nn.Module) -> torch.dtype:
    """The smallest element type that holds every weight of an fp32 model exactly."""
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(weight.to(dtype).to(weight.dtype), weight) for weight in model.parameters()):
            return dtype
    return torch.float32


def _load_model(path: Path) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model in fp32 and the tokenizer of a GGUF file, as transformers reads them."""
    place: dict[str, Any] = {"gguf_file": path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **place)
        plain = transformers.GgufConfig(dequantize=True)  # whatever kernels are installed
        options = {**place, "quantization_config": plain, "dtype": torch.float32, "output_loading_info": True}
        loaded: Any = AutoModelForCausalLM.from_pretrained(path.parent, **options)
    except Exception as error:  # a damaged file fails in many ways: struct, numpy, key and value errors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"The GGUF file {path.name} cannot be read as a causal language model", found=reason) from error
    model, info = loaded
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise InputError(f"The GGUF file {path.name} lacks weights", found=f"no {missing[0]} ({len(missing)} missing)")
    return model, tokenizer


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep progress bars out of logs; on a terminal they stay."""
    with redirect_stderr(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        yield


def _drop_quantization(model: Any) -> None:
    """Make a model whose weights are plain by now one that can be saved."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _split_rule(path: Path) -> str:
    """The name of the rule by which a GGUF file's tokenizer splits text before its merges; nothing where it has none."""
    from gguf import GGUFReader

    field = GGUFReader(path).get_field("tokenizer.ggml.pre")
    return "" if field is None else str(field.contents())


def restore_splitting(tokenizer: PreTrainedTokenizerBase, rule: str) -> str:
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
