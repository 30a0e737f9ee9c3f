"""A summary, or a free answer to a question, as text: itself, without surrounding whitespace."""

from __future__ import annotations

from mpdd.data.task import Answer, Example, Parsed, TaskCard


def target(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the summary or the answer."""
    return answer.text.strip()


def parse(card: TaskCard, example: Example, output: str) -> Parsed:
    """Read it back; only an empty output is unparseable."""
    text = output.strip()
    return Parsed(Answer(text=text), unparseable=not text)
