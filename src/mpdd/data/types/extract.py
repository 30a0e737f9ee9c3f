"""An extracted answer as text: the words of the text that answer the question, found in it again for their offsets."""

from __future__ import annotations

import re
from itertools import product

from mpdd.data.task import Answer, Example, Parsed, TaskCard
from mpdd.data.types.grounding import Grounding
from mpdd.errors import InputError


def target(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the answer's words; raise `InputError` where the text does not hold them."""
    if locate(example.text, answer.text) is None:
        raise InputError(
            f"Example {example.id} of task {card.name} has an answer that its text does not hold",
            found=f"{len(answer.text)} characters",
            wanted="a piece of its text that is not empty",
        )
    return answer.text.strip()


def parse(card: TaskCard, example: Example, output: str) -> Parsed:
    """Read the words back, as they are; only an empty output is unparseable, words outside the text are ungrounded."""
    text = output.strip()
    missing = bool(text) and locate(example.text, text) is None
    return Parsed(Answer(text=text), unparseable=not text, ungrounded=int(missing))


def locate(text: str, answer: str) -> tuple[int, int] | None:
    """Return the (start, end) offsets of the first place where `text` holds `answer`, or None.

    Spacing does not matter; whole words come before parts of words, the same case before another one. Where the words
    stand in no case, invisible characters and typographic forms (soft hyphens, ligatures) do not matter either. A place that
    begins or ends within a placeholder of de-identification is taken where there is no other.
    """
    words = r"\s+".join(map(re.escape, answer.split()))
    if not words:
        return None
    grounding, in_placeholder = Grounding(text), None
    for pattern, flags in product((rf"(?<!\w){words}(?!\w)", words), (re.NOFLAG, re.IGNORECASE)):
        for match in re.finditer(pattern, text, flags):
            if not grounding.placeholders.cut_by(*match.span()):
                return match.span()
            in_placeholder = in_placeholder or match.span()
    spans = grounding.spans(answer)
    return next(iter(grounding.placeholders.without_cuts(spans)), in_placeholder or next(iter(spans), None))
