"""The parts of the loss, each summed over the answer tokens of an example and reported by itself.

A sum over tokens is the likelihood of the answer, so a long answer counts as much as maximum likelihood says. A mean over
each example's tokens would make the first token of a one-token answer ("none") as heavy as a whole list of entities.
`mpdd.training.passes` divides every part by one constant of the task, `Encoded.mean_answer_tokens`, which keeps tasks with
long and short answers balanced in a mixed batch.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def cross_entropy(
    logits: Float[Tensor, "n vocabulary"], targets: Int[Tensor, " n"], rows: Int[Tensor, " n"]
) -> Float[Tensor, " examples"]:
    """Negative log-likelihood of each answer, in nats an answer."""
    return sum_by_example(functional.cross_entropy(logits, targets, reduction="none"), rows)


def kl(
    teacher: Float[Tensor, "n vocabulary"],
    student: Float[Tensor, "n vocabulary"],
    rows: Int[Tensor, " n"],
    temperature: float = 1.0,
    *,
    reverse: bool = False,
) -> Float[Tensor, " examples"]:
    """KL(teacher || student) of each answer in nats, times temperature squared (Hinton et al. 2015, arXiv 1503.02531).

    It is 0 only where both are equal. With `reverse` it is KL(student || teacher), which forgives what the student leaves out.
    """
    p, q = (functional.log_softmax(x / temperature, dim=-1) for x in (teacher, student))
    return sum_by_example(divergence(p, q, reverse).sum(-1), rows) * temperature**2


def divergence(log_p: Float[Tensor, "*n"], log_q: Float[Tensor, "*n"], reverse: bool) -> Float[Tensor, "*n"]:
    """The terms of KL(p || q), of events with these log-probabilities; with `reverse` those of KL(q || p)."""
    return log_q.exp() * (log_q - log_p) if reverse else log_p.exp() * (log_p - log_q)


def hidden(
    teacher: Float[Tensor, "layers n width"], student: Float[Tensor, "layers n width"], rows: Int[Tensor, " n"]
) -> Float[Tensor, " examples"]:
    """Squared distance of hidden states, relative to the teacher's squared norm: mean over layers, sum over answer tokens."""
    distance = (teacher.float() - student.float()).square().sum(-1)
    relative = distance / teacher.float().square().sum(-1).clamp(min=1e-6)
    return sum_by_example(relative.mean(0), rows)


def sum_by_example(values: Float[Tensor, " n"], rows: Int[Tensor, " n"]) -> Float[Tensor, " examples"]:
    """The sum over each example's tokens; `rows` says whose each is, from 0 without gaps."""
    rows = rows.to(values.device)
    return values.new_zeros(int(rows.max()) + 1).index_add(0, rows, values)
