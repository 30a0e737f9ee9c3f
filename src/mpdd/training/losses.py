"""The loss parts, each over answer tokens only and each reported by itself.

Every part averages within an example first and over examples then, so that a task with long answers does not
drown one with short answers in a mixed batch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def cross_entropy(
    logits: Float[Tensor, "n vocabulary"], targets: Int[Tensor, " n"], rows: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the answer tokens, in nats."""
    return by_example(functional.cross_entropy(logits, targets, reduction="none"), rows)


def kl(
    teacher: Float[Tensor, "n vocabulary"],
    student: Float[Tensor, "n vocabulary"],
    rows: Int[Tensor, " n"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """KL(teacher || student) in nats, times temperature squared (Hinton et al. 2015, arXiv 1503.02531); 0 iff equal."""
    p, q = (functional.log_softmax(x / temperature, dim=-1) for x in (teacher, student))
    return by_example((p.exp() * (p - q)).sum(-1), rows) * temperature**2


def hidden(
    teacher: Float[Tensor, "layers n width"], student: Float[Tensor, "layers n width"], rows: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Squared distance of hidden states, each layer and token relative to the teacher's squared norm, mean over layers."""
    distance = (teacher.float() - student.float()).square().sum(-1)
    relative = distance / teacher.float().square().sum(-1).clamp(min=1e-6)
    return by_example(relative.mean(0), rows)


def by_example(values: Float[Tensor, " n"], rows: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean over examples of the mean over each example's tokens."""
    rows = rows.to(values.device)
    count = int(rows.max()) + 1
    sums = values.new_zeros(count).index_add(0, rows, values)
    return (sums / torch.bincount(rows, minlength=count).clamp(min=1)).mean()
