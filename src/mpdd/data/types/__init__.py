"""How an example is asked and answered in text, for each task type: one input layout, and a target that reads back.

For every valid example, `parse(card, example, render_target(card, example))` gives the gold answer again, exactly,
with entities and relations sorted and without duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from mpdd.data.task import Answer, Example, Parsed, TaskCard
from mpdd.data.types import choice, extract, multiple, ner, relation, summary
from mpdd.data.types.spans import escape
from mpdd.errors import InputError

__all__ = ["candidates", "parse", "render_input", "render_target", "target_of"]


@dataclass(frozen=True)
class _Notation:
    """How one task type writes an answer and reads it back. `writes_labels`: an answer is made of the card's labels, freely
    written, which the input must then name."""

    target: Callable[[TaskCard, Example, Answer], str]
    parse: Callable[[TaskCard, Example, str], Parsed]
    candidates: Callable[[TaskCard, Example], tuple[str, ...]] | None = None
    writes_labels: bool = False


_CHOICE = _Notation(choice.target, choice.parse, choice.candidates)
_WORDS = _Notation(summary.target, summary.parse)
_NOTATIONS = {  # by type and form
    ("ner", ""): _Notation(ner.target, ner.parse, writes_labels=True),
    ("re", ""): _Notation(relation.target, relation.parse, writes_labels=True),
    ("qa", "choice"): _CHOICE,
    ("qa", "extractive"): _Notation(extract.target, extract.parse),
    ("qa", "free"): _WORDS,
    ("nli", ""): _CHOICE,
    ("summarization", ""): _WORDS,
    ("classification", "single"): _CHOICE,
    ("classification", "multiple"): _Notation(multiple.target, multiple.parse, writes_labels=True),
}


def _notation(card: TaskCard) -> _Notation:
    if (card.type, card.form) not in _NOTATIONS:
        raise InputError(
            f"Task {card.name} has an unknown type", found=repr(card.type), wanted=sorted({k for k, _ in _NOTATIONS})
        )
    return _NOTATIONS[card.type, card.form]


def render_input(card: TaskCard, example: Example) -> str:
    """Return the whole question, which ends with "Answer:"; the target follows after one space."""
    return "\n".join(_input_lines(card, example))


@lru_cache(256)
def _labels_line(labels: tuple[str, ...]) -> str:
    """The line that names the labels; kept, as every window of every note has the same one."""
    return f"Labels: {'; '.join(escape(label, ';') for label in labels)}"


def _input_lines(card: TaskCard, example: Example) -> Iterator[str]:
    yield card.instruction
    if card.labels and _notation(card).writes_labels:
        yield _labels_line(card.labels)
    if example.text:
        yield f"{card.text_field}: {example.text}"
    for name, value in example.fields:
        yield f"{name[:1].upper()}{name[1:]}: {value}"
    if example.choices:
        yield "Options:"
        yield from (f"{choice.letter(index)}. {option}" for index, option in enumerate(example.choices))
    yield "Answer:"


def render_target(card: TaskCard, example: Example) -> str:
    """Return the text of the gold answer; raise `InputError` where the gold answer is not valid."""
    return target_of(card, example, example.gold)


def target_of(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the text of any answer; raise `InputError` where it is not valid for this example."""
    return _notation(card).target(card, example, answer)


def candidates(card: TaskCard, example: Example) -> tuple[str, ...] | None:
    """Return the targets whose likelihoods are compared, in the order of the choices; None: generate freely."""
    compared = _notation(card).candidates
    return compared(card, example) if compared else None


def parse(card: TaskCard, example: Example, output: str) -> Parsed:
    """Read a model's output back; whitespace around it does not matter, and no output raises an error."""
    return _notation(card).parse(card, example, output)
