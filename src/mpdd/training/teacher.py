"""Stage 1: ordinary single-task prompt tuning. It gives each source its teacher, and is the baseline of that name."""

from __future__ import annotations

from torch import Tensor

from mpdd.backbone import Backbone
from mpdd.prompts.soft import SoftPrompt
from mpdd.training.loop import Fitted, Group, Plan
from mpdd.training.tune import Data, Watch, tune


def teach(
    backbone: Backbone, data: Data, start: Tensor, plan: Plan, *, lr: float, seed: int, watch: Watch | None = None
) -> tuple[SoftPrompt, Fitted]:
    """Tune a soft prompt from the rows `start` [length, width] (Lester et al. 2021)."""
    prompt = SoftPrompt(start).to(backbone.device)
    fitted = tune(backbone, data, prompt, [Group({"rows": prompt.rows}, lr)], plan, seed=seed, watch=watch)
    return prompt, fitted
