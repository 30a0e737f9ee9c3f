"""A choice as text: the words of the option or label that is chosen, or the option's letter where words are unclear.

Serves question answering (with options, or with the card's fixed answers), inference, and classification with a single
label.
"""

from __future__ import annotations

import re

from mpdd.data.task import Answer, Example, Parsed, TaskCard
from mpdd.data.types.spans import fold
from mpdd.errors import InputError

_LETTER = re.compile(r"\(?([A-Z]{1,2})(?:[.):]|\Z)")


def letter(index: int) -> str:
    """Return the name of an option: A to Z, then AA, AB and so on."""
    return letter(index // 26 - 1) + letter(index % 26) if index >= 26 else chr(ord("A") + index)


def _is_lettered(card: TaskCard, example: Example) -> bool:
    return card.type == "qa" and bool(example.choices)


def options(card: TaskCard, example: Example) -> tuple[str, ...]:
    """Return what is chosen from: the example's options for QA that has them, else the card's labels."""
    return example.choices if _is_lettered(card, example) else card.labels


def index_of(card: TaskCard, example: Example, answer: Answer) -> int:
    """Return the chosen index; raise `InputError` where it is missing or out of range."""
    count = len(options(card, example))
    if answer.choice is None or not 0 <= answer.choice < count:
        raise InputError(
            f"Example {example.id} of task {card.name} has no valid choice",
            found=answer.choice,
            wanted=f"an index into its {count} options or labels",
        )
    return answer.choice


def candidates(card: TaskCard, example: Example) -> tuple[str, ...]:
    """Return the target of each option, in order; raise `InputError` where labels cannot be told apart."""
    names = options(card, example)
    if are_distinct(names):
        return tuple(name.strip() for name in names)
    if not _is_lettered(card, example):
        raise InputError(
            f"Task {card.name} needs labels that differ in more than case and whitespace",
            found=list(names),
            wanted="distinct, non-empty labels, or examples with choices",
        )
    return tuple(letter(index) for index in range(len(names)))


def are_distinct(names: tuple[str, ...]) -> bool:
    """Say whether there are names, none is blank, and they differ in more than case and whitespace."""
    folded = {fold(name) for name in names}
    return bool(names) and len(folded) == len(names) and "" not in folded


def target(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the words or the letter of the chosen option; raise `InputError` for an invalid choice."""
    return candidates(card, example)[index_of(card, example, answer)]


def parse(card: TaskCard, example: Example, output: str) -> Parsed:
    """Read the choice back: its words (the whole output or its first line), else its letter or a leading label."""
    names = options(card, example)
    lettered = _is_lettered(card, example)
    words = [fold(name) for name in names] if not lettered or are_distinct(names) else []
    lines = fold(output), fold(output.strip().split("\n")[0])
    choice = next((words.index(line) for line in lines if line in words), None)
    if choice is None:
        choice = _by_letter(len(names), output) if lettered else _by_prefix(words, lines[0])
    return Parsed(Answer(choice=choice), choice is None)


def _by_letter(count: int, output: str) -> int | None:
    match = _LETTER.match(output.strip())
    letters = [letter(index) for index in range(count)]
    return letters.index(match[1]) if match and match[1] in letters else None


def _by_prefix(words: list[str], line: str) -> int | None:
    """Return the longest label that the output starts with, as whole words."""
    leading = [word for word in words if word and line.startswith(word) and not line[len(word) :][:1].isalnum()]
    return words.index(max(leading, key=len)) if leading else None
