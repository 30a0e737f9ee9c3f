"""What changes an answer's next token on every path of prediction: the priors of its task, and what its grammar allows."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from mpdd.inference.decoding.priors import TokenShifts
from mpdd.inference.decoding.tokens import Allowed, mask


class Steering:
    """Follows one answer token by token, and changes the logits of the next one."""

    def __init__(self, allowed: Allowed | None, shifts: TokenShifts | None) -> None:
        self.allowed, self._shifts = allowed, shifts
        self._written: list[int] = []

    def shift(self, logits: Float[Tensor, " vocabulary"]) -> None:
        """Add the priors to the logits of the next token, in place."""
        if self._shifts is not None and (shifted := self._shifts.next(self._written)):
            token, by = shifted
            logits[token] += by

    def write(self, token: int) -> None:
        """Go on behind a token, which must be one that may come next."""
        self._written.append(token)
        if self.allowed is not None:
            self.allowed.write(token)


def steer(logits: Float[Tensor, "rows vocabulary"], steering: Sequence[Steering | None]) -> None:
    """Shift each row's logits and leave it only the tokens that may come next, in place; rows without steering stay."""
    for row, one in zip(logits, steering, strict=True):
        if one is not None:
            one.shift(row)
    mask(logits, [one.allowed if one else None for one in steering])
