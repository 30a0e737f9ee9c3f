"""Invented clinical notes, written from facts: what a note is to say is chosen first, then words and order at random."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from string import Formatter
from typing import Any, Literal

ENTITY_KINDS = ("drug", "dose", "condition", "symptom", "part")
FILLERS = ("vital", "social", "exam")
Side = Literal["source", "target"]
Fact = tuple[str, Mapping[str, str]]
Phrases = Mapping[str, Sequence[str]]

_COMPANIONS = ("partner", "daughter", "son", "sister", "nephew")
_DAYS = ("two days", "three days", "five days", "a week", "ten days", "two weeks")
_JOBS = ("teacher", "bus driver", "gardener", "cook", "nurse", "joiner", "librarian", "retired miner", "retired tailor")
_OFTEN = ("daily", "each morning", "at night", "every evening", "with breakfast")
_RELATIVES = ("mother", "father", "sister", "brother", "aunt", "grandfather")
_WAIT = ("a month", "six weeks", "three months", "half a year")


@dataclass(frozen=True)
class Drug:
    """A drug, the condition it is given for, and its usual doses."""

    name: str
    condition: str
    doses: tuple[str, ...]


@dataclass(frozen=True)
class Mention:
    """A word of the vocabulary in a note: its offsets (end exclusive), and its kind, e.g. "drug"."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Note:
    """A note, and every mention of a drug, dose, condition, symptom or body part in it, in order."""

    text: str
    mentions: tuple[Mention, ...]


@dataclass(frozen=True)
class World:
    """The vocabulary and the wordings that notes are made from; `frames` are openings and closings of note types."""

    drugs: tuple[Drug, ...]
    conditions: tuple[str, ...]
    symptoms: tuple[str, ...]
    sided: tuple[str, ...]
    midline: tuple[str, ...]
    frames: tuple[Phrases, ...]
    phrases: Phrases


@cache
def world(name: Side) -> World:
    """Read the vocabulary and wordings of the sources or of the targets; the two share none."""
    values = tomllib.loads(files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    return _world(values)


def _world(values: Mapping[str, Any]) -> World:
    treatments = values["treatments"]
    return World(
        drugs=tuple(Drug(name, c, tuple(doses)) for c, drugs in treatments.items() for name, doses in drugs.items()),
        conditions=(*treatments, *values["conditions"]),
        symptoms=tuple(values["symptoms"]),
        sided=tuple(values.get("sided", ())),
        midline=tuple(values.get("midline", ())),
        frames=tuple(values["frames"]),
        phrases=values["phrases"],
    )


class Deck:
    """Draws a note's words at random; no drug, dose, condition, symptom or body part comes twice."""

    def __init__(self, rng: Random, world: World) -> None:
        self.rng = rng
        self.world = world
        self._taken: set[str] = set()

    def fact(self, kind: str) -> Fact:
        """Return a fact of this kind, with words for all that its wordings name; a drug comes with what is its own."""
        slots = {slot for _, slot, *_ in Formatter().parse(self.world.phrases[kind][0]) if slot}
        words = {}
        for number in ("", "2"):
            drug = self.drug() if f"drug{number}" in slots else None
            named = [word for word in ENTITY_KINDS if word + number in slots]
            words.update({word + number: self._word(word, drug) for word in named})
        return kind, words

    def drug(self) -> Drug:
        """Return a drug for a condition that was not drawn before, with at least one dose that was not."""
        drugs = self.world.drugs
        free = [d for d in drugs if not {d.name, d.condition} & self._taken and not self._taken.issuperset(d.doses)]
        drawn = self.rng.choice(free)
        self._taken |= {drawn.name, drawn.condition}
        return drawn

    def dose(self, drug: Drug) -> str:
        """Return one of the drug's doses."""
        return self._take(drug.doses)

    def condition(self) -> str:
        """Return a condition."""
        return self._take(self.world.conditions)

    def symptom(self) -> str:
        """Return a symptom."""
        return self._take(self.world.symptoms)

    def part(self) -> str:
        """Return a body part, often with its side."""
        part = self._take((*self.world.sided, *self.world.midline))
        return self.rng.choice(("left ", "right ", "")) + part if part in self.world.sided else part

    def _word(self, kind: str, drug: Drug | None) -> str:
        draw: dict[str, Callable[[], str]] = {"condition": self.condition, "symptom": self.symptom, "part": self.part}
        if drug:
            draw |= {"drug": lambda: drug.name, "dose": lambda: self.dose(drug), "condition": lambda: drug.condition}
        return draw[kind]()

    def _take(self, words: Sequence[str]) -> str:
        drawn = self.rng.choice([word for word in words if word not in self._taken])
        self._taken.add(drawn)
        return drawn


def write(deck: Deck, facts: Iterable[Fact], *, symptom: str = "") -> Note:
    """Return a note of one of the world's types that states the facts in random order, among one or two fillers.

    `symptom` is why the patient came; without it the note gives none.
    """
    rng, phrases = deck.rng, deck.world.phrases
    frame = rng.choice(deck.world.frames)
    body: list[Fact] = [*facts, *((kind, {}) for kind in rng.sample(FILLERS, rng.randint(1, 2)))]
    rng.shuffle(body)
    pen = _Pen(rng, _incidentals(rng))
    pen.say(frame["open_with" if symptom else "open"], {"symptom": symptom})
    for kind, words in body:
        pen.say(phrases[kind], words)
    if rng.random() < 0.5:
        pen.say(frame["close"], {})
    return Note(pen.text, tuple(pen.mentions))


def capital(text: str) -> str:
    """Return the text with its first letter made a capital, the others as they are."""
    return text[:1].upper() + text[1:]


class _Pen:
    """Writes sentence after sentence, no wording twice if it can be helped, and marks the mentions."""

    def __init__(self, rng: Random, incidentals: Mapping[str, str]) -> None:
        self.text = ""
        self.mentions: list[Mention] = []
        self._rng = rng
        self._incidentals = incidentals
        self._used: set[str] = set()

    def say(self, wordings: Sequence[str], words: Mapping[str, str]) -> None:
        """Add a sentence in one of the wordings, which have a place for each of the words."""
        wording = self._rng.choice([wording for wording in wordings if wording not in self._used] or wordings)
        self._used.add(wording)
        self.text += " " if self.text else ""
        start = len(self.text)
        for literal, slot, *_ in Formatter().parse(wording):
            self.text += literal
            if slot:
                self._mark(slot.rstrip("2"), {**self._incidentals, **words}[slot])
        self.text = self.text[:start] + capital(self.text[start:])

    def _mark(self, kind: str, word: str) -> None:
        if kind in ENTITY_KINDS:
            self.mentions.append(Mention(len(self.text), len(self.text) + len(word), kind))
        self.text += word


def _incidentals(rng: Random) -> dict[str, str]:
    """Return the patient and whatever else a wording may ask for that no task is about."""
    title, person, *pronouns = rng.choice((("Mr", "man", "he", "his", "him"), ("Mrs", "woman", "she", "her", "her")))
    systolic = rng.randint(104, 168)
    pick: Callable[[Sequence[str]], str] = rng.choice
    return {
        "patient": f"{title} {rng.choice('ABCDEFGHJKLMNPRSTW')}.{rng.choice('ABCDEFGHKLMNPRSTVW')}.",
        "person": person,
        **dict(zip(("he", "his", "him"), pronouns, strict=True)),
        "age": str(rng.randint(27, 89)),
        "bp": f"{systolic}/{systolic // 2 + rng.randint(8, 18)}",
        "pulse": str(rng.randint(56, 108)),
        "temp": f"{rng.randint(362, 374) / 10}",
        "sats": str(rng.randint(94, 99)),
        "weight": str(rng.randint(48, 112)),
        "year": str(rng.randint(2009, 2023)),
        "companion": pick(_COMPANIONS),
        "days": pick(_DAYS),
        "job": pick(_JOBS),
        "often": pick(_OFTEN),
        "relative": pick(_RELATIVES),
        "wait": pick(_WAIT),
    }
