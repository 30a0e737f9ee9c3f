"""How much a prompt memorises: canaries, which are invented examples with a random code, and their exposure.

Exposure after Carlini et al. 2019 (The Secret Sharer, arXiv 1802.08232, section 4): a canary is put among the training
examples of a fresh adaptation; its rank by loss among the same example with other random codes, which were never seen, says
how well the prompt knows it. A prompt that has learnt nothing of it ranks it anywhere: 1.44 bits on average.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
from jaxtyping import Float

from mpdd.data.task import Answer, Entity, Example, Relation, TaskCard
from mpdd.errors import InputError

CANDIDATES = 255  # other codes that a canary is ranked among: exposures of 0 to 8 bits
FORMAT = "LL-DDDD-LL"  # of a code: L a letter, D a digit; about 4.6 thousand million codes
BY_CHANCE = 1.44  # bits: the mean exposure of a rank that says nothing, log2 e
_TEXT = "Reference code {} was noted by ward seven."
_OPTIONS = ("alpha", "beta", "gamma", "delta")
_DRAWS = 2000  # of the bootstrap over canaries
LossesOf = Callable[[Sequence[Example]], Float[np.ndarray, " examples"]]


@dataclass(frozen=True)
class Canary:
    """A training example with an invented code: `number` draws what else it holds, so that other codes give the same example."""

    card: TaskCard
    number: int
    code: str

    @property
    def example(self) -> Example:
        """As it is put among training examples; a document of its own."""
        return self.with_code(self.code)

    def with_code(self, code: str) -> Example:
        """The same example with another code.

        Where answers are free words, the code stands in the answer alone; else in the text, and its answer (a label, or the code
        as an entity of some label) is drawn at random once for all codes.
        """
        card, chance, text = self.card, random.Random(f"canary/{self.number}"), _TEXT.format(code)
        is_free = card.type == "summarization" or card.form == "free"
        name = f"canary-{self.number}"
        shown = f"Invented note number {self.number}." if is_free else text
        choices = _OPTIONS if card.type == "qa" and card.form == "choice" and not card.labels else ()
        arguments = {"code": (code,), "ward": ("ward seven",)} if card.type == "re" else {}
        answer = _ANSWERS[card.type, card.form](card, code, text, chance)
        return Example(name, name, shown, answer, tuple((field, "Which code?") for field in card.fields), choices, arguments)


def _entity(card: TaskCard, code: str, text: str, chance: random.Random) -> Answer:
    start = text.index(code)
    return Answer(entities=(Entity(start, start + len(code), chance.choice(card.labels)),))


def _relation(card: TaskCard, code: str, text: str, chance: random.Random) -> Answer:
    return Answer(relations=(Relation(chance.choice(card.labels), "code", "ward"),))


def _choice(card: TaskCard, code: str, text: str, chance: random.Random) -> Answer:
    return Answer(choice=chance.randrange(len(card.labels or _OPTIONS)))


def _several(card: TaskCard, code: str, text: str, chance: random.Random) -> Answer:
    count = chance.randint(1, max(1, len(card.labels) // 2))
    return Answer(labels=tuple(sorted(chance.sample(range(len(card.labels)), count))))


def _words(card: TaskCard, code: str, text: str, chance: random.Random) -> Answer:
    return Answer(text=code)


_ANSWERS: dict[tuple[str, str], Callable[[TaskCard, str, str, random.Random], Answer]] = {  # by type and form
    ("ner", ""): _entity, ("re", ""): _relation, ("qa", "choice"): _choice, ("qa", "extractive"): _words, ("qa", "free"): _words,
    ("nli", ""): _choice, ("summarization", ""): _words, ("classification", "single"): _choice,
    ("classification", "multiple"): _several,
}  # fmt: skip


def canaries(card: TaskCard, count: int, seed: int) -> list[Canary]:
    """Invent so many canaries for a task; the same for the same seed. Raises `InputError` for fewer than one."""
    if count < 1:
        raise InputError("An audit with canaries needs some", found=count, wanted="1 or more")
    codes = _codes(random.Random(f"codes/{seed}"), count)
    return [Canary(card, number, code) for number, code in enumerate(codes)]


def _codes(chance: random.Random, count: int) -> list[str]:
    """Distinct random codes of `FORMAT`."""
    alphabets = {"L": "ABCDEFGHJKLMNPQRSTUVWXYZ", "D": "0123456789"}
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes["".join(chance.choice(alphabets.get(sign, sign)) for sign in FORMAT)] = None
    return list(codes)


@dataclass(frozen=True)
class Exposure:
    """Exposures of canaries in bits: the mean with its 95 % interval by a bootstrap over canaries, the largest, the largest that
    there can be (`most`), and how many stand first of all candidates."""

    canaries: int
    candidates: int
    mean: float
    low: float
    high: float
    largest: float
    most: float
    first: int


def exposure(inserted: Sequence[Canary], losses_of: LossesOf, *, candidates: int = CANDIDATES, seed: int = 0) -> Exposure:
    """The exposure of canaries under a prompt; `losses_of` gives the loss of each example's answer under it."""
    bits = np.array([_bits(canary, losses_of, candidates, seed) for canary in inserted])
    generator = np.random.default_rng(seed)
    means = [generator.choice(bits, len(bits)).mean() for _ in range(_DRAWS)]
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    most = log2(candidates + 1)
    first = int(np.sum(bits >= most - 1e-9))
    return Exposure(len(bits), candidates, float(bits.mean()), low, high, float(bits.max()), most, first)


def _bits(canary: Canary, losses_of: LossesOf, candidates: int, seed: int) -> float:
    """log2 of all candidates over the canary's rank among them (section 4.2), equals sharing the places between them."""
    drawn = _codes(random.Random(f"candidates/{seed}/{canary.number}"), candidates + 1)
    others = [code for code in drawn if code != canary.code][:candidates]
    loss, *other_losses = losses_of([canary.with_code(code) for code in (canary.code, *others)])
    below, equal = int(np.sum(np.array(other_losses) < loss)), int(np.sum(np.array(other_losses) == loss))
    return log2(candidates + 1) - log2(1 + below + equal / 2)
