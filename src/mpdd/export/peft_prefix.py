"""A task's prompt as an adapter that PEFT loads as prefix tuning (Li and Liang 2021, arXiv 2101.00190).

PEFT begins the cache of every row with the prompt's keys and values, so rows before every layer can be exported too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from mpdd.backbone.checkpoints.places import name_elsewhere
from mpdd.backbone.model import Backbone
from mpdd.errors import InputError
from mpdd.export.keys_values import KeysValues, keys_values, require_same_logits
from mpdd.export.record import described, require_exportable, write_record
from mpdd.files import write_atomically
from mpdd.prompts.store import PromptFile


def write(backbone: Backbone, prompt: PromptFile, folder: Path, *, record: bool = True) -> None:
    """Write `adapter_config.json`, `adapter_model.safetensors` (a row [layers * 2 * heads * size] for each virtual token, in
    fp32: of each layer the keys, then the values) and, unless it stands elsewhere, the record.

    Raise `InputError` for a prompt of no task or of another backbone, and for a backbone that PEFT does not take.
    """
    task = require_exportable(prompt, backbone, takes_deep=True)
    rows = prompt.rows()
    by_layer = keys_values(backbone, rows)
    heads, length, size = _shape(backbone, by_layer)
    config = {
        "peft_type": "PREFIX_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name_elsewhere(backbone.name),
        "inference_mode": True,
        "num_virtual_tokens": length,
        "token_dim": heads * size,
        "num_attention_heads": heads,
        "num_layers": len(by_layer),
        "num_transformer_submodules": 1,
        "encoder_hidden_size": heads * size,
        "prefix_projection": False,
    }
    write_atomically(folder / "adapter_config.json", (json.dumps(config, indent=1) + "\n").encode())
    weights = save({"prompt_embeddings": _flat(by_layer)}, metadata={"format": "pt"})
    write_atomically(folder / "adapter_model.safetensors", weights)
    require_same_logits(backbone, task, rows, _Adapted(backbone, folder), where="PEFT")
    if record:
        write_record(folder, backbone, {task.name: described(prompt, task, backbone)})


def _shape(backbone: Backbone, by_layer: Sequence[KeysValues]) -> tuple[int, int, int]:
    """The one shape [heads, length, size] that the keys and values of all layers have."""
    shapes = {tuple(part.shape) for pair in by_layer for part in pair}
    if len(shapes) > 1:
        raise InputError(
            f"The keys and values of the backbone {backbone.name!r} have several shapes, and PEFT takes one",
            found=", ".join(sorted(map(str, shapes))), next_step="Export with --to kv-cache.",
        )  # fmt: skip
    heads, length, size = shapes.pop()
    return heads, length, size


def _flat(by_layer: Sequence[KeysValues]) -> Float[Tensor, "length numbers"]:
    parts = torch.stack([part for pair in by_layer for part in pair])  # [layers * 2, heads, length, size]
    return parts.permute(2, 0, 1, 3).flatten(1).float().cpu().contiguous()


class _Adapted:
    """The backbone behind the written adapter, as PEFT runs it."""

    def __init__(self, backbone: Backbone, folder: Path) -> None:
        self._backbone, self._folder = backbone, folder

    def __call__(self, ids: Tensor) -> Float[Tensor, "1 tokens vocabulary"]:
        """The logits of every token."""
        from peft import PeftModel

        try:
            model = PeftModel.from_pretrained(self._backbone.model, str(self._folder)).eval()
            logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        except (ValueError, TypeError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            raise InputError(
                f"PEFT does not take the backbone {self._backbone.name!r} for prefix tuning",
                found=type(error).__name__, next_step="Export with --to kv-cache.",
            ) from error  # fmt: skip
        return logits
