"""Shifts of the log-odds with which a task answers "none", ends a list, and takes each of its classes.

They put right how often a prompt (or an adapter) says these things, as its dev examples show it (`methods/priors.py` fits them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from mpdd.backbone.template import Template
from mpdd.data.batch import encode_answer
from mpdd.data.task import TaskCard
from mpdd.data.types.spans import NONE, escape

_LISTS = (("ner", ""), ("re", ""), ("classification", "multiple"))  # types and forms whose answer is a list of items, or none


@dataclass(frozen=True)
class Priors:
    """What is added to the log-odds of the answer "none", of ending a list at a token, and of each label (in nats).

    `none` and `stop` are for lists of items, `classes` for tasks that choose one of the card's labels, in the card's order.
    """

    none: float = 0.0
    stop: float = 0.0
    classes: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Priors | None:
        """Return those that a prompt file's header has; None where it has none."""
        if not values:
            return None
        return cls(float(values["none"]), float(values["stop"]), tuple(map(float, values["classes"])))


@dataclass(frozen=True)
class TokenShifts:
    """The priors of a list as shifts of the next token's logit.

    `none_tokens` are the first tokens of the answer "none", as many as tell it from every label; the last of them is shifted.
    """

    none_tokens: tuple[int, ...]
    end: int
    none: float
    stop: float

    def next(self, written: Sequence[int]) -> tuple[int, float] | None:
        """Return the token whose logit is shifted behind what was written, and by how much; None where none is."""
        before = self.none_tokens[:-1]
        if tuple(written) == before:
            return self.none_tokens[-1], self.none
        if not written or tuple(written[: len(self.none_tokens)]) == self.none_tokens:
            return None
        return self.end, self.stop


def writes_a_list(card: TaskCard) -> bool:
    """Return whether a task's answers are written as lists of items, or "none"."""
    return (card.type, card.form) in _LISTS


def shifts_of(
    tokenizer: PreTrainedTokenizerBase, card: TaskCard, template: Template, priors: Priors | None
) -> TokenShifts | None:
    """Return the shifts while an answer is written; None for tasks that write no list, and without priors."""
    if priors is None or not writes_a_list(card):
        return None
    none_tokens = _none_tokens(tokenizer, card.labels, card.form == "multiple", template)
    return TokenShifts(none_tokens, int(tokenizer.eos_token_id or 0), priors.none, priors.stop)


@lru_cache(maxsize=1024)
def _none_tokens(tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...], alone: bool, template: Template) -> tuple[int, ...]:
    """The first tokens of "none", as many as no label begins with; labels stand `alone` or before a colon."""
    none = encode_answer(tokenizer, NONE, template)
    written = [escape(label, ";") if alone else f"{escape(label, ':')}:" for label in labels]
    others = [encode_answer(tokenizer, text, template) for text in written]
    return next((none[:n] for n in range(1, len(none)) if all(other[:n] != none[:n] for other in others)), none)
