"""A summary as text: itself, without surrounding whitespace."""

from __future__ import annotations

from mpdd.data.task import Answer, Example, Parsed, TaskCard


def target(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the summary."""
    return answer.text.strip()


def parse(card: TaskCard, example: Example, output: str) -> Parsed:
    """Read the summary back; only an empty output is unparseable."""
    text = output.strip()
    return Parsed(Answer(text=text), unparseable=not text)
