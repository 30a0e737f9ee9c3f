"""Trains a prompt that has rows made of examples, with each example's own rows left out when it is predicted.

After Context Tuning (Lu et al. 2025, arXiv 2507.04221), which trains what the examples leave in the backbone, masks an example
where it is predicted itself, and drops rows at random. Here the examples' rows stay as they are read, and low-rank factors
on them are trained, with the factors of a metaprompt that stands before them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Encoded
from mpdd.prompts.examples import ExampleRows
from mpdd.prompts.meta import MetaPrompt
from mpdd.training.loop import Group, Plan
from mpdd.training.tune import Data, Job, Trial, Watch, job_name, tune

EXAMPLE_RATE = 0.1  # of the metaprompt's rate: states of tokens hold a few very large numbers, which steps as large blow up
RANK = 1  # of the factors on the examples' rows, so that both parts together stay below 0.05 % of the backbone


class ContextPrompt(nn.Module):
    """A one-task metaprompt, and behind it rows of examples under factors of their own, which start at identity.

    `target` must be as wide as `examples`. Both keep their rows; the factors alone are trained.
    """

    def __init__(self, target: MetaPrompt, examples: ExampleRows) -> None:
        super().__init__()
        self.target = target
        self.examples = MetaPrompt(examples.rows, target.tasks, RANK)
        self._made_of = examples
        self.target.shared.requires_grad_(False)
        self.examples.shared.requires_grad_(False)

    def forward(self) -> Float[Tensor, "length deep_width"]:
        """All rows: the metaprompt's, then the examples'."""
        (task,) = self.target.tasks
        return torch.cat([self.target(task), self.examples(task)])

    def without(self, examples: Sequence[int], dropped: Float[Tensor, " n"], share: float) -> Float[Tensor, "fewer deep_width"]:
        """The rows without those of these examples, and without those whose number in `dropped` is below `share`."""
        keep = self._made_of.not_of(examples) & (dropped >= share)
        rows: Tensor = self()
        first = len(self.target.shared)
        places = torch.cat([torch.arange(first), first + keep.nonzero()[:, 0]])
        return rows.index_select(0, places.to(rows.device))

    @property
    def count(self) -> int:
        """How many rows were made of examples."""
        return len(self._made_of.owners)

    def groups(self, lr: float) -> list[Group]:
        """The factors with their rates, where the metaprompt's learn at `lr`."""
        factors = {"u": self.target.u, "v": self.target.v}
        return [Group(factors, lr), Group({"example_u": self.examples.u, "example_v": self.examples.v}, EXAMPLE_RATE * lr)]

    @property
    def trained(self) -> dict[str, Tensor]:
        """The factors, by name."""
        return {name: tensor for group in self.groups(1.0) for name, tensor in group.tensors.items()}


def tune_context(
    backbone: Backbone,
    data: Data,
    target: MetaPrompt,
    examples: ExampleRows,
    read: Sequence[Encoded],
    plan: Plan,
    *,
    lrs: Sequence[float],
    dropout: float,
    factor_ratio: float = 1.0,
    seed: int,
    watch: Watch | None = None,
) -> list[Trial[ContextPrompt]]:
    """Return, for each rate, `target` and the rows of `examples` with their factors tuned on `data`.

    `read` are the encoded examples that the rows were made of: a training row that is one of them stands under a prompt
    without its rows. `dropout` is the share of examples' rows left out at random, anew for each row and step.
    """
    (task,) = target.tasks
    prompts = {lr: ContextPrompt(target.for_target(task), examples).to(backbone.device) for lr in lrs}
    jobs = {
        job_name(task, lr): Job(data, prompt.groups(lr * factor_ratio), prompt, _row_prompts(prompt, read, dropout, seed))
        for lr, prompt in prompts.items()
    }
    fitted = tune(backbone, jobs, plan, seed=seed, watch=watch)
    return [Trial(lr, prompt, fitted[job_name(task, lr)]) for lr, prompt in prompts.items()]


def _row_prompts(
    prompt: ContextPrompt, read: Sequence[Encoded], dropout: float, seed: int
) -> Callable[[int, Sequence[Encoded]], list[Tensor]]:
    """Makes the prompts of a step's training rows; the same ones whenever that step is run."""

    def of(step: int, rows: Sequence[Encoded]) -> list[Tensor]:
        chance = torch.Generator().manual_seed(random.Random(f"rows dropped/{seed}/{step}").getrandbits(63))
        same_examples = [[number for number, example in enumerate(read) if example == row] for row in rows]
        return [prompt.without(numbers, torch.rand(prompt.count, generator=chance), dropout) for numbers in same_examples]

    return of
