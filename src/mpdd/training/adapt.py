"""Stage 3: adapt the metaprompt to an unseen task, either its factors alone or the shared prompt with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.prompts.meta import MetaPrompt
from mpdd.training.loop import Group, Plan
from mpdd.training.tune import Data, Job, Trial, Watch, job_name, tune

Mode = Literal["factors", "all"]


def adapt(
    backbone: Backbone,
    data: Data,
    meta: MetaPrompt,
    task: str,
    plan: Plan,
    *,
    mode: Mode,
    lrs: Sequence[float],
    factor_ratio: float = 1.0,
    weights: Float[Tensor, " sources"] | None = None,
    seed: int,
    watch: Watch | None = None,
) -> list[Trial[MetaPrompt]]:
    """Return a one-task metaprompt tuned to `task` for each rate, started from `meta` and the mean of its factors
    (the mean by `weights`, where given).

    `factors` trains u and v alone (rank * (length + width) numbers); `all` trains P* too, as MPT does. P* learns at the
    rate tried, the factors at `factor_ratio` times it.
    """
    targets = {lr: meta.for_target(task, weights).to(backbone.device) for lr in lrs}
    jobs = {job_name(task, lr): _job(data, target, task, mode, lr, factor_ratio) for lr, target in targets.items()}
    fitted = tune(backbone, jobs, plan, seed=seed, watch=watch)
    return [Trial(lr, target, fitted[job_name(task, lr)]) for lr, target in targets.items()]


def _job(data: Data, target: MetaPrompt, task: str, mode: Mode, lr: float, factor_ratio: float) -> Job:
    groups = [Group({"u": target.u, "v": target.v}, lr * factor_ratio)]
    if mode == "all":
        groups.append(Group({"shared": target.shared}, lr))
    else:
        target.shared.requires_grad_(False)
    return Job(data, groups, lambda: target(task))
