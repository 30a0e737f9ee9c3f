"""The parts of the loss, each summed over the answer tokens of an example and reported by itself.

A sum over tokens is the likelihood of the answer, so a long answer counts as much as maximum likelihood says. A mean over
each example's tokens would make the first token of a one-token answer ("none") as heavy as a whole list of entities.
`mpdd.training.passes` divides every part by one constant of the task, `Encoded.mean_answer_tokens`, which keeps tasks with
long and short answers balanced in a mixed batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mpdd.data.batch import Batch, Encoded


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


_CERTAIN = -1e-6  # log-probability above which a token counts as this likely, so that the loss stays finite


def with_options(encoded: Encoded) -> list[Encoded]:
    """Return the row itself, then one for each wrong option in the place of the answer."""
    alone = replace(encoded, wrong_answers=())
    return [alone, *(replace(alone, answer_ids=answer) for answer in encoded.wrong_answers)]


def choice_losses(logits: Float[Tensor, "n vocabulary"], batch: Batch, rows: Sequence[Encoded]) -> Float[Tensor, " examples"]:
    """Return the loss of each row, in nats: likelihood over the mean answer length of its task, unlikelihood over the tokens
    of all wrong options, and the length-normalised loss. Rows without wrong options have the first alone.

    `batch` holds the sequences of `with_options` for all rows, in order, and `logits` those of its n answer tokens.
    """
    log_p = -functional.cross_entropy(logits, batch.targets.to(logits.device), reduction="none")
    unlikely = -torch.log(-torch.expm1(log_p.clamp(max=_CERTAIN)))
    of_sequence, unlikely_of = (sum_by_example(values, batch.rows) for values in (log_p, unlikely))
    lengths = torch.bincount(batch.rows).to(of_sequence)
    losses, first = [], 0
    for row in rows:
        last = first + 1 + len(row.wrong_answers)
        loss = -of_sequence[first] / row.mean_answer_tokens
        if row.wrong_answers:
            loss = loss + unlikely_of[first + 1 : last].sum() / lengths[first + 1 : last].sum()
            loss = loss - functional.log_softmax(of_sequence[first:last] / lengths[first:last], dim=0)[0]
        losses.append(loss)
        first = last
    return torch.stack(losses)
