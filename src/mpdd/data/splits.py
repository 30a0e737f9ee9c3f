"""Splitting by document with a fixed, published rule, and keeping the splits of a task apart.

The rule: documents are ordered by sha256(SEED + document id) and cut at the wanted shares, so that a split depends on
nothing but the ids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from mpdd.data.readers.base import Notes
from mpdd.data.task import Example, Splits

SEED = "open-31"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_SHARED_CHARS = 40
_WORD = re.compile(r"\w+")


def digest(text: str) -> str:
    """Return the sha256 of `text` in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(text: str) -> str:
    """Return a short hash, the same for texts that differ only in case, spacing and punctuation."""
    return digest(" ".join(_WORD.findall(text.casefold())))[:12]


def order(documents: Iterable[str], seed: str = SEED) -> list[str]:
    """Return the distinct document ids in the rule's order."""
    return sorted(set(documents), key=lambda document: digest(seed + document))


def cut(examples: Sequence[Example], shares: Sequence[int], seed: str = SEED) -> list[tuple[Example, ...]]:
    """Return one part for each share (whole numbers that add up to 100 per cent); a document stays in one part.

    Edges are rounded down to whole documents; examples keep their order.
    """
    documents = order((example.document for example in examples), seed)
    edges = [len(documents) * sum(shares[:count]) // sum(shares) for count in range(len(shares) + 1)]
    part_of = {d: part for part in range(len(shares)) for d in documents[edges[part] : edges[part + 1]]}
    return [tuple(e for e in examples if part_of[e.document] == part) for part in range(len(shares))]


def make(train: Iterable[Example], dev: Iterable[Example], test: Iterable[Example], notes: Notes) -> Splits:
    """Return the splits, train without what dev or test hold and dev without what test holds, drops noted.

    Held means the same document, or the same input (text and fields).
    """
    held = tuple(test)
    kept_dev = _apart("dev", dev, held, notes)
    kept_train = _apart("train", train, (*kept_dev, *held), notes)
    return Splits(kept_train, kept_dev, held, dict(sorted(notes.counts.items())), places=dict(notes.places))


def _apart(split: str, examples: Iterable[Example], held: Sequence[Example], notes: Notes) -> tuple[Example, ...]:
    documents = {example.document for example in held}
    inputs = {(example.text, example.fields) for example in held}
    clean = []
    for example in examples:
        if example.document in documents:
            notes.count(f"{split}: examples of a document that a later split holds")
        elif (example.text, example.fields) in inputs:
            notes.count(f"{split}: examples whose input a later split holds")
        else:
            clean.append(example)
    return tuple(clean)


def link_documents(texts: Sequence[str]) -> list[str]:
    """Return a document id for each text, the same for texts that share a sentence of 40 characters or more.

    For excerpts whose upstream gives no document ids. Sharing carries over (if a shares with b and b with c, all
    three are one document); the id is a hash of the group's least text.
    """
    leader = list(range(len(texts)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    seen: dict[str, int] = {}
    for index, text in enumerate(texts):
        long = [part for part in _SENTENCE_END.split(text.strip()) if len(part) >= _SHARED_CHARS]
        for part in (text, *long):
            leader[find(index)] = find(seen.setdefault(part, index))
    least: dict[int, str] = {}
    for index, text in enumerate(texts):
        root = find(index)
        least[root] = min(text, least.get(root, text))
    return [digest(least[find(index)])[:12] for index in range(len(texts))]
