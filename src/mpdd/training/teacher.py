"""Stage 1: ordinary single-task prompt tuning. It gives each source its teacher, and is the baseline of that name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.prompts.soft import SoftPrompt
from mpdd.training.loop import Group, Plan
from mpdd.training.tune import Data, Job, Trial, Watch, job_name, tune


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
