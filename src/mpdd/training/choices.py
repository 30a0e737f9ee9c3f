"""The losses of T-Few (Liu et al. 2022, arXiv 2205.05638, section 3.2) for tasks that choose among options.

To the likelihood of the right option they add an unlikelihood loss (Tam et al. 2021), which makes the tokens of wrong options
unlikely, and a length-normalised loss: cross-entropy among the options by their mean log-probability of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mpdd.data.batch import Batch, Encoded
from mpdd.training.losses import sum_by_example

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
