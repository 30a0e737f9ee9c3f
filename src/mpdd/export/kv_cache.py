"""Prompts as files of keys and values, with which plain transformers or vLLM begin their cache.

docs/export.md has the loader for transformers; for vLLM a KV connector lies beside the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.export.keys_values import KeysValues, cache_of, keys_values, require_same_logits
from mpdd.export.record import described, file_names, require_distinct_tasks, write_record
from mpdd.files import write_atomically
from mpdd.inference.engines.placeholders import placeholder_ids
from mpdd.prompts.store import SUFFIX, PromptFile

FORMAT = "1"
CONNECTOR = "mpdd_vllm_connector.py"  # its name without the suffix is vLLM's `kv_connector_module_path`
_SOURCE = Path(__file__).with_name("vllm_connector.py")


def write(
    backbone: Backbone, prompts: Sequence[PromptFile], folder: Path, *, ids: Callable[[PromptFile], list[int]] | None = None
) -> None:
    """Write a safetensors file for each task, `layers.N.key` [heads, length, size] and `layers.N.value` from layer 0
    on, in the number format that `backbone` was loaded in, and the record. `ids`, if given, makes the tokens that stand
    for a prompt, which are then in both.

    Raise `InputError` for prompts that cannot be exported, two for one task, and a backbone behind whose cache
    transformers gives other logits than we do.
    """
    tasks = require_distinct_tasks(backbone, prompts, takes_deep=True)
    tokens = {name: {"ids": ids(prompt)} if ids else {} for name, (_, prompt) in tasks.items()}
    files, record = file_names(tasks, SUFFIX), {}
    for name, (task, prompt) in tasks.items():
        rows = prompt.rows()
        by_layer = keys_values(backbone, rows)
        require_same_logits(backbone, task, rows, partial(_logits, backbone, by_layer), where="transformers")
        about = {"fingerprint": backbone.fingerprint, "digest": prompt.header.digest, "length": len(rows)}
        write_atomically(folder / files[name], _file(by_layer, {"task": name, **about, **tokens[name]}))
        record[name] = {"keys_values": files[name], **tokens[name], **described(prompt, task, backbone)}
    dtype = str(backbone.table.dtype).removeprefix("torch.")
    write_record(folder, backbone, record, dtype=dtype, layers=backbone.depth)


def write_for_vllm(backbone: Backbone, prompts: Sequence[PromptFile], folder: Path) -> None:
    """Write what `write` does, with the placeholder ids of each prompt, and the KV connector for vLLM that reads it.

    Errors are those of `write` and of `placeholder_ids`.
    """

    def ids(prompt: PromptFile) -> list[int]:
        return placeholder_ids(backbone, prompt.header.digest, prompt.header.length)

    write(backbone, prompts, folder, ids=ids)
    write_atomically(folder / CONNECTOR, _SOURCE.read_bytes())


def _file(by_layer: Sequence[KeysValues], about: dict[str, Any]) -> bytes:
    tensors: dict[str, Tensor] = {}
    for number, (keys, values) in enumerate(by_layer):
        tensors |= {f"layers.{number}.key": keys.cpu(), f"layers.{number}.value": values.cpu()}
    entry = json.dumps({"format": FORMAT, **about}, sort_keys=True)
    return save(tensors, metadata={"format": "pt", "mpdd_keys_values": entry})


def _logits(backbone: Backbone, by_layer: Sequence[KeysValues], ids: Tensor) -> Float[Tensor, "1 tokens vocabulary"]:
    output: Any = backbone.model(input_ids=ids, past_key_values=cache_of(by_layer), use_cache=True)
    logits: Tensor = output.logits
    assert torch.is_tensor(logits)
    return logits
