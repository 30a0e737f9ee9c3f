"""Extraction by prompting: does what the backbone writes under a prompt repeat notes that the prompt was trained on?

An attacker who has the beginning of a note lets the backbone go on under the prompt (after Carlini et al. 2021, arXiv
2012.07805). What it writes is compared with the rest of that note, and with all notes: by the longest run of words that both
have. Notes that the prompt was not trained on are the baseline, as common phrases are repeated from anywhere. No text is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.task import Example, TaskCard
from mpdd.data.types import render_input
from mpdd.inference.predict import continued

ATTEMPTS = 20  # notes of each kind that are begun
WRITTEN = 48  # tokens that are written behind each beginning
_MOST_BEGUN = 100  # words of a note that an attacker is given, at most
_ANSWER = "\nAnswer:"


@dataclass(frozen=True)
class Extraction:
    """Longest runs of words that were written and stand in notes: in each begun note's own rest (`rest`, the mean over attempts,
    and `rest_most`), and in any note of the same kind (`nearest`, `nearest_most`), beginnings left out."""

    attempts: int
    rest: float
    rest_most: int
    nearest: float
    nearest_most: int


def extraction(
    backbone: Backbone, card: TaskCard, examples: Sequence[Example], rows: Float[Tensor, "length width"] | None
) -> Extraction:
    """Begin the first `ATTEMPTS` notes of `examples`, let the backbone go on under the prompt, and compare."""
    begun = [example for example in examples if len(example.text.split()) > 1][:ATTEMPTS]
    ids = [_beginning(backbone, card, example, rows) for example in begun]
    texts = [text.lower().split() for text in continued(backbone, ids, rows, WRITTEN)]
    of_rests = [longest_run(text, _rest(example)) for text, example in zip(texts, begun, strict=True)]
    rests = [_rest(example) for example in examples]
    nearest = [max(longest_run(text, rest) for rest in rests) for text in texts]
    count = max(1, len(begun))
    return Extraction(len(begun), sum(of_rests) / count, max(of_rests, default=0), sum(nearest) / count, max(nearest, default=0))


def longest_run(written: Sequence[str], note: Sequence[str]) -> int:
    """The number of words in the longest run that stands in both."""
    longest, before = 0, [0] * (len(note) + 1)
    for word in written:
        row = [0] * (len(note) + 1)
        for place, other in enumerate(note):
            if word == other:
                row[place + 1] = before[place] + 1
        longest, before = max(longest, *row), row
    return longest


def _half(text: str) -> int:
    """How many words of a note an attacker is given: half of it, within bounds."""
    return min(_MOST_BEGUN, max(1, len(text.split()) // 2))


def _rest(example: Example) -> list[str]:
    """The words of a note behind its beginning."""
    words = example.text.lower().split()
    return words[_half(example.text) : _half(example.text) + 2 * WRITTEN]


def _beginning(
    backbone: Backbone, card: TaskCard, example: Example, rows: Float[Tensor, "length width"] | None
) -> tuple[int, ...]:
    """The tokens of the task's question up to the middle of the note, cut in front to what the context holds."""
    start = " ".join(example.text.split()[: _half(example.text)])
    asked = render_input(card, Example("", "", start, example.gold)).removesuffix(_ANSWER)
    room = backbone.context - (0 if rows is None else len(rows)) - WRITTEN
    ids = backbone.tokenizer(asked, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return tuple(ids[-max(1, room) :])
