"""A task's prompt as an adapter that PEFT loads as prompt tuning (Lester et al. 2021, arXiv 2104.08691)."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from mpdd.backbone.checkpoints.places import name_elsewhere
from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.errors import InputError
from mpdd.export.record import described, require_exportable, write_record
from mpdd.files import write_atomically
from mpdd.prompts.store import PromptFile


def write(backbone: Backbone | Vocabulary, prompt: PromptFile, folder: Path, *, record: bool = True) -> None:
    """Write `adapter_config.json`, `adapter_model.safetensors` (the rows [length, width] in fp32) and, unless it stands
    elsewhere, the record.

    Raises `InputError` for a prompt of no task, of another backbone, or with rows before every layer, and for a backbone that
    takes more of its tokens than PEFT gives it.
    """
    task = require_exportable(prompt, backbone)
    _require_embeddings(backbone.vocabulary if isinstance(backbone, Backbone) else backbone)
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name_elsewhere(backbone.name),
        "inference_mode": True,
        "num_virtual_tokens": prompt.header.length,
        "token_dim": backbone.width,
        "prompt_tuning_init": "RANDOM",  # any other makes PEFT look for a text or a tokenizer
    }
    write_atomically(folder / "adapter_config.json", (json.dumps(config, indent=1) + "\n").encode())
    weights = save({"prompt_embeddings": prompt.rows().contiguous()}, metadata={"format": "pt"})
    write_atomically(folder / "adapter_model.safetensors", weights)
    if record:
        write_record(folder, backbone, {task.name: described(prompt, task, backbone)})


def _require_embeddings(vocabulary: Vocabulary) -> None:
    """Raise `InputError` where the embedding layer does not give all that the layers begin with: PEFT puts a prompt before the
    embeddings of the tokens and calls the model with these alone."""
    if vocabulary.needs_ids or vocabulary.factor != 1.0:
        what_it_takes = "rows by token for every layer" if vocabulary.needs_ids else "embeddings multiplied behind their layer"
        raise InputError(
            f"The backbone {vocabulary.name!r} takes more of its tokens than PEFT gives it", found=what_it_takes,
            wanted="a backbone whose layers begin with its token embeddings", next_step="Export with --to hf-vocab.",
        )  # fmt: skip
