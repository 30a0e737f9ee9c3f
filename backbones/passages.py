"""What every maker of tasks shares: a stretch of a document, and the layout of an input."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from backbones.corpus import Document

Pair = tuple[str, str]
Maker = Callable[[random.Random, random.Random, Document], Pair | None]


def layout(instruction: str, *fields: tuple[str, str], options: Sequence[str] = ()) -> str:
    """The input layout of `mpdd.data.types`: instruction, named fields, options, then `Answer:`."""
    lines = [instruction, *(f"{name}: {value}" for name, value in fields)]
    if options:
        lines += ["Options:", *(f"{chr(65 + i)}. {option}" for i, option in enumerate(options))]
    return "\n".join([*lines, "Answer:"])


def window(
    rng: random.Random, sentences: Sequence[str], least: int, most: int, start: int | None = None, limit: int = 1200
) -> str:
    """A run of sentences, at most `limit` characters, from a random place (or from sentence `start`)."""
    begin = rng.randrange(max(1, len(sentences) - least)) if start is None else start
    return " ".join(sentences[begin : begin + rng.randint(least, most)])[:limit]


def of_length(rng: random.Random, sentences: Sequence[str], least: int, most: int) -> list[str]:
    """Those of up to 40 sentences in a row, from a random place, that have `least` to `most` words."""
    begin = rng.randrange(max(1, len(sentences) - 30))
    return [s for s in sentences[begin : begin + 40] if least <= len(s.split()) <= most]
