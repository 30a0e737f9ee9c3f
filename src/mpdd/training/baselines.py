"""Low-rank adaptation through the `peft` library, in the same loop and on the same rows as our own methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from mpdd.backbone import Backbone
from mpdd.training.loop import Fitted, Group, Plan
from mpdd.training.tune import Data, Job, Watch, tune


@contextmanager
def lora(backbone: Backbone, *, rank: int, seed: int) -> Iterator[Mapping[str, Tensor]]:
    """Put LoRA (Hu et al. 2021, arXiv 2106.09685; alpha = 2 rank) on every linear layer while the block runs.

    Yields the trainable tensors. On leaving, the backbone is exactly what it was.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(backbone.model, config)
    try:
        yield {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    finally:
        adapted.unload()
        backbone.model.requires_grad_(False)


def tune_lora(
    backbone: Backbone, data: Data, tensors: Mapping[str, Tensor], plan: Plan, *, lr: float, seed: int, watch: Watch | None = None
) -> Fitted:
    """Train the tensors that `lora` yielded; they are in the backbone, so one rate runs at a time."""
    job = Job(data, [Group(tensors, lr)], lambda: None)
    return tune(backbone, {f"lora lr {lr:g}": job}, plan, seed=seed, watch=watch)[f"lora lr {lr:g}"]
