"""Fits whatever makes up one task's prompt (or adapter) to that task's examples: the shared body of teachers,
adaptation and single-task baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mpdd.backbone import Backbone
from mpdd.data.batch import Encoded, collate, encode
from mpdd.data.mixture import single
from mpdd.data.task import Example, TaskCard
from mpdd.training.forward import forward
from mpdd.training.loop import Fitted, Group, Log, Losses, Plan, fit
from mpdd.training.losses import cross_entropy

Prompt = Callable[[], Tensor | None]
VALIDATION_BATCH = 32


@dataclass(frozen=True)
class Data:
    """Encoded training and validation rows of one task."""

    train: Sequence[Encoded]
    dev: Sequence[Encoded]

    @classmethod
    def of(cls, backbone: Backbone, card: TaskCard, train: Sequence[Example], dev: Sequence[Example], length: int) -> Data:
        """Encode examples for a prompt of `length` tokens."""
        room = backbone.context - length
        return cls(*([encode(backbone.tokenizer, card, e, room) for e in part] for part in (train, dev)))


@dataclass(frozen=True)
class Watch:
    """Where a run keeps its checkpoint and tells how it goes."""

    checkpoint: Path | None = None
    log: Log = lambda _: None
    tick: Callable[[], object] = lambda: None


def tune(
    backbone: Backbone, data: Data, prompt: Prompt, groups: Sequence[Group], plan: Plan, *, seed: int, watch: Watch | None = None
) -> Fitted:
    """Minimise the answer cross-entropy of `data.train` under `prompt()`, choosing the best state on `data.dev`."""
    watch = watch or Watch()

    def losses(step: int) -> Losses:
        rows = single(data.train, size=plan.batch_size, step=step, seed=seed)
        return {"loss": answer_loss(backbone, rows, prompt)}

    def validate() -> float:
        return mean_loss(backbone, data.dev, prompt)

    return fit(groups, losses, plan, validate=validate, checkpoint=watch.checkpoint, log=watch.log, tick=watch.tick)


def answer_loss(backbone: Backbone, rows: Sequence[Encoded], prompt: Prompt) -> Tensor:
    """Mean cross-entropy of the answers of `rows`, all under the same prompt."""
    batch = collate(rows, backbone.end)
    rows_of_prompt = prompt()
    prompts = None if rows_of_prompt is None else [rows_of_prompt] * len(rows)
    out = forward(backbone, batch, prompts)
    return cross_entropy(out.logits, batch.targets.to(out.logits.device), batch.rows)


@torch.no_grad()
def mean_loss(backbone: Backbone, rows: Sequence[Encoded], prompt: Prompt) -> float:
    """Mean over `rows` of the answer cross-entropy in nats, without gradient."""
    ordered = sorted(rows, key=lambda row: len(row.input_ids))
    chunks = [ordered[i : i + VALIDATION_BATCH] for i in range(0, len(ordered), VALIDATION_BATCH)]
    return sum(answer_loss(backbone, chunk, prompt).item() * len(chunk) for chunk in chunks) / len(ordered)
