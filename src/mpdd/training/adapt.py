"""Stage 3: adapt the metaprompt to an unseen task, either its factors alone or the shared prompt with them."""

from __future__ import annotations

from typing import Literal

from mpdd.backbone import Backbone
from mpdd.prompts.meta import MetaPrompt
from mpdd.training.loop import Fitted, Group, Plan
from mpdd.training.tune import Data, Watch, tune

Mode = Literal["factors", "all"]


def adapt(
    backbone: Backbone,
    data: Data,
    meta: MetaPrompt,
    task: str,
    plan: Plan,
    *,
    mode: Mode,
    lr_shared: float,
    lr_factors: float,
    seed: int,
    watch: Watch | None = None,
) -> tuple[MetaPrompt, Fitted]:
    """Return a one-task metaprompt tuned to `task`, started from `meta` and the mean of its factors.

    `factors` trains u and v alone (rank * (length + width) numbers); `all` trains P* too, as MPT does.
    """
    target = meta.for_target(task).to(backbone.device)
    groups = [Group({"u": target.u, "v": target.v}, lr_factors)]
    if mode == "all":
        groups.append(Group({"shared": target.shared}, lr_shared))
    else:
        target.shared.requires_grad_(False)
    return target, tune(backbone, data, lambda: target(task), groups, plan, seed=seed, watch=watch)
