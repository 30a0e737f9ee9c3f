"""Prompts as files of keys and values, from which plain transformers begins its cache; docs/export.md has the loader."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from mpdd.prompts.store import SUFFIX, PromptFile

FORMAT = "1"


def write(backbone: Backbone, prompts: Sequence[PromptFile], folder: Path) -> None:
    """Write a safetensors file for each task, `layers.N.key` [heads, length, size] and `layers.N.value` from layer 0 on, in the
    number format that `backbone` was loaded in, and the record.

    Raise `InputError` for prompts that cannot be exported, two for one task, and a backbone behind whose cache transformers
    gives other logits than we do.
    """
    tasks = require_distinct_tasks(backbone, prompts, takes_deep=True)
    files, record = file_names(tasks, SUFFIX), {}
    for name, (task, prompt) in tasks.items():
        rows = prompt.rows()
        by_layer = keys_values(backbone, rows)
        require_same_logits(backbone, task, rows, partial(_logits, backbone, by_layer), where="transformers")
        write_atomically(folder / files[name], _file(by_layer, name, backbone))
        record[name] = {"keys_values": files[name], **described(prompt, task, backbone)}
    dtype = str(backbone.table.dtype).removeprefix("torch.")
    write_record(folder, backbone, record, dtype=dtype, layers=backbone.depth)


def _file(by_layer: Sequence[KeysValues], task: str, backbone: Backbone) -> bytes:
    tensors: dict[str, Tensor] = {}
    for number, (keys, values) in enumerate(by_layer):
        tensors |= {f"layers.{number}.key": keys.cpu(), f"layers.{number}.value": values.cpu()}
    about = {"format": FORMAT, "task": task, "fingerprint": backbone.fingerprint, "length": by_layer[0][0].shape[1]}
    return save(tensors, metadata={"format": "pt", "mpdd_keys_values": json.dumps(about, sort_keys=True)})


def _logits(backbone: Backbone, by_layer: Sequence[KeysValues], ids: Tensor) -> Float[Tensor, "1 tokens vocabulary"]:
    output: Any = backbone.model(input_ids=ids, past_key_values=cache_of(by_layer), use_cache=True)
    logits: Tensor = output.logits
    assert torch.is_tensor(logits)
    return logits
