"""Stage 2: distil the teachers into one metaprompt over mixed-task batches.

L = L_task + weight * (L_KL + L_hidden), MPT (arXiv 2303.02861), section 3.2; the parts are logged one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mpdd.backbone import Backbone
from mpdd.data.batch import Encoded, collate
from mpdd.data.mixture import mixed
from mpdd.prompts.meta import MetaPrompt
from mpdd.training.forward import Outputs, forward
from mpdd.training.loop import Fitted, Group, Losses, Plan, fit
from mpdd.training.losses import cross_entropy, hidden, kl
from mpdd.training.tune import Data, Watch, mean_loss


@dataclass(frozen=True)
class Weights:
    """Loss weights and the KL temperature. Zero for both parts trains without teachers."""

    kl: float = 0.9
    hidden: float = 0.9
    temperature: float = 1.0
    stochastic: bool = True

    @property
    def needs_teachers(self) -> bool:
        """Whether any part compares with the teachers."""
        return self.kl > 0 or self.hidden > 0


def distil(
    backbone: Backbone,
    data: Mapping[str, Data],
    teachers: Mapping[str, Tensor],
    meta: MetaPrompt,
    plan: Plan,
    *,
    lr_shared: float,
    lr_factors: float,
    weights: Weights,
    seed: int,
    watch: Watch | None = None,
) -> Fitted:
    """Train `meta` in place on all tasks of `data` at once; `teachers` maps each task to its rows [length, width]."""
    watch = watch or Watch()
    pools = {name: part.train for name, part in data.items()}
    groups = [Group({"shared": meta.shared}, lr_shared), Group({"u": meta.u, "v": meta.v}, lr_factors)]

    def losses(step: int) -> Losses:
        rows = mixed(pools, size=plan.batch_size, step=step, seed=seed, stochastic=weights.stochastic)
        return step_losses(backbone, rows, teachers, meta, weights)

    def validate() -> float:
        return sum(mean_loss(backbone, data[t].dev, lambda t=t: meta(t)) for t in meta.tasks) / len(meta.tasks)  # type: ignore[misc]

    return fit(groups, losses, plan, validate=validate, checkpoint=watch.checkpoint, log=watch.log, tick=watch.tick)


def step_losses(
    backbone: Backbone, rows: Sequence[Encoded], teachers: Mapping[str, Tensor], meta: MetaPrompt, weights: Weights
) -> Losses:
    """The loss and its parts for one mixed batch."""
    batch = collate(rows, backbone.end)
    compares = weights.needs_teachers
    prompts = {task: meta(task) for task in dict.fromkeys(batch.tasks)}
    student = forward(backbone, batch, [prompts[task] for task in batch.tasks], all_layers=compares)
    task_loss = cross_entropy(student.logits, batch.targets.to(student.logits.device), batch.rows)
    if not compares:
        return {"loss": task_loss, "task_loss": task_loss.detach()}
    with torch.no_grad():
        teacher: Outputs = forward(backbone, batch, [teachers[task] for task in batch.tasks], all_layers=True)
    assert student.layers is not None and teacher.layers is not None
    divergence = kl(teacher.logits, student.logits, batch.rows, weights.temperature)
    distance = hidden(teacher.layers, student.layers, batch.rows)
    loss = task_loss + weights.kl * divergence + weights.hidden * distance
    return {"loss": loss, "task_loss": task_loss.detach(), "kl": divergence.detach(), "hidden": distance.detach()}
