"""The metaprompt: one shared prompt, multiplied for each task by a low-rank matrix.

P_k = P* o sum_r u_{k,r} v_{k,r}^T  (MPT, Wang et al. 2023, arXiv 2303.02861, section 3; o is elementwise).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mpdd.errors import InputError


class MetaPrompt(nn.Module):
    """A shared prompt P* [length, width] and, for each of K tasks, factors u [rank, length] and v [rank, width].

    The factors start at identity: the first pair is all ones; further pairs have u = 0 and a small random v,
    so that every task prompt equals P* at the start and a text or teacher initialisation survives.
    """

    def __init__(self, shared: Float[Tensor, "length width"], tasks: Sequence[str], rank: int = 1, *, seed: int = 0) -> None:
        super().__init__()
        length, width = shared.shape
        if not 1 <= rank <= min(length, width):
            raise InputError("The rank does not fit the prompt", found=rank, wanted=f"1 to {min(length, width)}")
        self.tasks = tuple(tasks)
        self.shared = nn.Parameter(shared.detach().clone().float())
        u, v = torch.zeros(len(tasks), rank, length), torch.ones(len(tasks), rank, width)
        u[:, 0] = 1.0
        v[:, 1:] = 0.02 * torch.randn(len(tasks), rank - 1, width, generator=torch.Generator().manual_seed(seed))
        self.u, self.v = nn.Parameter(u), nn.Parameter(v)

    @property
    def rank(self) -> int:
        """How many factor pairs a task has."""
        return int(self.u.shape[1])

    def forward(self, task: str) -> Float[Tensor, "length width"]:
        """The prompt of one task; `InputError` for a task it was not made for."""
        if task not in self.tasks:
            raise InputError("The metaprompt has no factors for this task", found=task, wanted=f"one of {', '.join(self.tasks)}")
        k = self.tasks.index(task)
        rows: Tensor = self.shared * (self.u[k].T @ self.v[k])
        return rows

    def of_others(self, tasks: Sequence[str]) -> Float[Tensor, "length width"]:
        """The prompt under the mean of these tasks' factors: what a task that is none of them starts from."""
        chosen = [self.tasks.index(task) for task in tasks]
        rows: Tensor = self.shared * (self.u[chosen].mean(0).T @ self.v[chosen].mean(0))
        return rows

    def for_target(self, task: str, weights: Float[Tensor, " tasks"] | None = None) -> MetaPrompt:
        """A one-task metaprompt: the same P*, its factors the mean of the sources' (MPT, section 3.3).

        With `weights`, which sum to 1, it is their weighted mean.
        """
        target = MetaPrompt(self.shared, [task], self.rank)
        with torch.no_grad():
            for mixed, factors in ((target.u, self.u), (target.v, self.v)):
                mean = factors.mean(0) if weights is None else torch.einsum("k,krn->rn", weights.to(factors), factors)
                mixed.copy_(mean[None])
        return target

    def zero_shot(self) -> Float[Tensor, "length width"]:
        """The prompt for a task without any example: P* with the mean factors."""
        target = self.for_target("")
        rows: Tensor = target("").detach()
        return rows
