"""What changes an answer's next token on every path of prediction: the priors of its task, and what its grammar allows."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.inference.decoding.priors import TokenShifts
from mpdd.inference.decoding.tokens import Allowed

# A token that a grammar does not allow gives way to the likeliest one that it does where that is at least so likely beside it.
# Else the item is written as the backbone would write it, and dropped when the answer is read, as it names nothing in the text.
LEAST = 0.8


class Steering:
    """Follows one answer token by token, and changes the logits of the next one."""

    def __init__(self, allowed: Allowed | None, shifts: TokenShifts | None) -> None:
        self._allowed, self._shifts = allowed, shifts
        self._written: list[int] = []

    def __call__(self, logits: Float[Tensor, " vocabulary"]) -> None:
        """Add the priors to the logits of the next token, in place, and leave only allowed tokens where the likeliest is none."""
        if self._shifts is not None and (shifted := self._shifts.next(self._written)):
            token, by = shifted
            logits[token] += by
        likeliest = int(logits.argmax())
        if self._allowed is None or self._allowed.allows(likeliest):
            return
        tokens = torch.tensor(self._allowed.next(), device=logits.device)
        allowed_logits = logits[tokens]
        if LEAST <= 0 or float(allowed_logits.max()) >= float(logits[likeliest]) + log(LEAST):
            logits.fill_(float("-inf"))
            logits[tokens] = allowed_logits

    def write(self, token: int) -> None:
        """Go on behind a token."""
        self._written.append(token)
        if self._allowed is not None:
            self._allowed.write(token)


def steer(logits: Float[Tensor, "rows vocabulary"], steering: Sequence[Steering | None]) -> None:
    """Steer each row's logits, in place; rows without steering stay as they are."""
    for row, steer_row in zip(logits, steering, strict=True):
        if steer_row is not None:
            steer_row(row)
