"""One prompt for one task: a fresh one (stage 1, and the baseline of that name), or the metaprompt adapted to it (stage 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import SoftPrompt
from mpdd.training.loop import Group, Plan
from mpdd.training.tune import Data, Job, Trial, Watch, job_name, tune

Mode = Literal["factors", "all"]


def teach(
    backbone: Backbone,
    data: Mapping[str, Data],
    starts: Mapping[str, Tensor],
    plan: Plan,
    *,
    lrs: Sequence[float],
    seed: int,
    watch: Watch | None = None,
) -> dict[str, list[Trial[SoftPrompt]]]:
    """Tune soft prompts for all tasks at once, each from its rows `starts` [length, width] (Lester et al. 2021).

    Every task tries every rate of `lrs`; the result of each is what it would be alone.
    """
    prompts = {(task, lr): SoftPrompt(starts[task]).to(backbone.device) for task in data for lr in lrs}
    jobs = {
        job_name(task, lr): Job(data[task], [Group({"rows": prompt.rows}, lr)], prompt) for (task, lr), prompt in prompts.items()
    }
    fitted = tune(backbone, jobs, plan, seed=seed, watch=watch)
    return {task: [Trial(lr, prompts[task, lr], fitted[job_name(task, lr)]) for lr in lrs] for task in data}


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
