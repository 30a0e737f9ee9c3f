"""Training batches as a pure function of (seed, step), so that a resumed run sees what an unbroken one sees."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backbones.corpus import SOURCES, Document
from backbones.passages import Pair
from backbones.text_to_text import Makers

Asked = tuple[Sequence[int], str, str]  # ids of a soft prompt, input, target
TRIES = 20  # draws in a row that are no task, or too long for the row's rest
ANSWER_WEIGHT, BODY_WEIGHT = 3.0, 0.2  # loss weights of a text-to-text answer and of its input, against 1 for running text


@dataclass(frozen=True)
class Skills:
    """Tasks of their own with a run of soft tokens each, numbered from the end of the vocabulary on; not shipped.

    Rows of kind `prompted` put them before the input, so that the backbone learns to take its task from a soft prompt.
    """

    count: int = 0
    length: int = 0

    def ids(self, skill: int, vocabulary: int) -> list[int]:
        """The input ids of one skill's soft tokens."""
        return list(range(vocabulary + skill * self.length, vocabulary + (skill + 1) * self.length))


@dataclass(frozen=True)
class Corpus:
    """Token streams by source (documents joined by the end token), with the documents themselves."""

    tokens: Mapping[str, np.ndarray]
    documents: Mapping[str, Sequence[Document]]
    makers: Makers
    tokenizer: Any
    skills: Skills = Skills()


def tokenize(documents: Sequence[Document], tokenizer: Any, skills: Skills = Skills()) -> Corpus:
    """Encode every document once."""
    by_source = {s: [d for d in documents if d.source == s] for s in SOURCES}
    streams = {s: _stream([_as_text(d) for d in found], tokenizer) for s, found in by_source.items()}
    return Corpus(streams, by_source, Makers.over(documents), tokenizer, skills)


def batch(
    corpus: Corpus, *, seed: int, step: int, rows: int, length: int, mix: Mapping[str, float], weights: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets and loss weights, each [rows, length].

    `mix` gives the share of rows by kind (lm, copy, task, shots, prompted); `weights` the share of each source.
    """
    rng = random.Random(f"{seed}/{step}")
    kinds = rng.choices(list(mix), list(mix.values()), k=rows)
    makers = {"lm": _language, "copy": _copies, "task": _tasks, "shots": _shots, "prompted": _prompted}
    filled = [makers[kind](corpus, rng, length + 1, weights) for kind in kinds]
    ids = np.array([row for row, _ in filled], dtype=np.int32)
    loss = np.array([weight for _, weight in filled], dtype=np.float32)
    return ids[:, :-1], ids[:, 1:], loss[:, 1:]


def _language(corpus: Corpus, rng: random.Random, size: int, weights: Mapping[str, float]) -> tuple[list[int], list[float]]:
    stream = corpus.tokens[_source(rng, weights)]
    at = rng.randrange(len(stream) - size)
    return stream[at : at + size].tolist(), [1.0] * size


def _copies(corpus: Corpus, rng: random.Random, size: int, weights: Mapping[str, float]) -> tuple[list[int], list[float]]:
    """Spans of 4 to 64 tokens, half natural and half random, a gap, then the span again; loss on the second copy."""
    ids: list[int] = []
    loss: list[float] = []
    vocabulary = corpus.tokenizer.vocab_size
    while len(ids) < size:
        span_size, gap_size = rng.randint(4, 64), rng.randint(0, 48)
        stream = corpus.tokens[_source(rng, weights)]
        at, gap_at = rng.randrange(len(stream) - 64), rng.randrange(len(stream) - 64)
        span = stream[at : at + span_size].tolist()
        if rng.random() < 0.5:
            span = [rng.randrange(2, vocabulary) for _ in range(span_size)]
        ids += [*span, *stream[gap_at : gap_at + gap_size].tolist(), *span]
        loss += [0.0] * (span_size + gap_size + min(1, span_size)) + [1.0] * (span_size - 1)
    return ids[:size], loss[:size]


def _tasks(corpus: Corpus, rng: random.Random, size: int, weights: Mapping[str, float]) -> tuple[list[int], list[float]]:
    """Different tasks one after another, each with its instruction."""

    def draw() -> Asked | None:
        return _asked(corpus.makers.maker(rng)(rng, rng, rng.choice(corpus.documents[_source(rng, weights)])))

    return _fill(corpus, rng, size, weights, draw)


def _shots(corpus: Corpus, rng: random.Random, size: int, weights: Mapping[str, float]) -> tuple[list[int], list[float]]:
    """One task, again and again; in half of the rows without its instruction, so that only the examples tell it."""
    maker, style, silent = corpus.makers.maker(rng), rng.random(), rng.random() < 0.5

    def draw() -> Asked | None:
        return _asked(maker(rng, random.Random(style), rng.choice(corpus.documents[_source(rng, weights)])), silent)

    return _fill(corpus, rng, size, weights, draw)


def _prompted(corpus: Corpus, rng: random.Random, size: int, weights: Mapping[str, float]) -> tuple[list[int], list[float]]:
    """Different skills one after another, each behind its soft tokens; half of the time they alone tell the task."""

    def draw() -> Asked | None:
        skill = rng.randrange(corpus.skills.count)
        own = random.Random(f"skill/{skill}")
        maker, style = corpus.makers.maker(own), own.random()
        pair = maker(rng, random.Random(style), rng.choice(corpus.documents[_source(rng, weights)]))
        return _asked(pair, rng.random() < 0.5, corpus.skills.ids(skill, corpus.tokenizer.vocab_size))

    return _fill(corpus, rng, size, weights, draw)


def _asked(pair: Pair | None, silent: bool = False, prompt: Sequence[int] = ()) -> Asked | None:
    """A pair behind a soft prompt; without its instruction where `silent`."""
    return (prompt, pair[0].split("\n", 1)[1] if silent else pair[0], pair[1]) if pair else None


def _fill(
    corpus: Corpus, rng: random.Random, size: int, weights: Mapping[str, float], draw: Callable[[], Asked | None]
) -> tuple[list[int], list[float]]:
    """A row of pairs, each ended by the end token; what no pair of `TRIES` draws fits is filled with running text."""
    ids: list[int] = []
    loss: list[float] = []
    end = corpus.tokenizer.eos_token_id
    unfit = 0
    while unfit < TRIES:
        drawn = draw()
        prompt, asked, answer = _encoded(corpus.tokenizer, drawn) if drawn else ([], [], [])
        if drawn is None or len(ids) + len(prompt) + len(asked) + len(answer) + 1 > size:
            unfit += 1
            continue
        unfit = 0
        ids += [*prompt, *asked, *answer, end]
        loss += [0.0] * len(prompt) + [BODY_WEIGHT] * len(asked) + [ANSWER_WEIGHT] * (len(answer) + 1)
    rest, weight = _language(corpus, rng, size - len(ids), weights)
    return ids + rest, loss + weight


def _encoded(tokenizer: Any, asked: Asked) -> tuple[list[int], list[int], list[int]]:
    prompt, question, answer = asked
    encode = tokenizer.backend_tokenizer.encode
    return list(prompt), encode(question).ids, encode(" " + answer).ids


def _source(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _as_text(document: Document) -> str:
    return f"{document.question}\n{document.text}" if document.question else document.text


def _stream(texts: Sequence[str], tokenizer: Any) -> np.ndarray:
    encoded = tokenizer(list(texts), verbose=False)["input_ids"] if texts else []
    return np.concatenate([np.array([*ids, tokenizer.eos_token_id], dtype=np.int64) for ids in encoded])
