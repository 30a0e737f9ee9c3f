"""One part of work that N jobs share, as `--shard I/N` names it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mpdd.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Part `number` of `parts`, from 1."""

    number: int
    parts: int

    @classmethod
    def read(cls, text: str, things: str) -> Shard:
        """The part of some `things` that a text i/n names; raises `InputError` for anything else."""
        match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
        if match is None or int(match[1]) > int(match[2]):
            raise InputError(f"No such part of the {things}", found=text, wanted="i/n with i from 1 to n, for example 3/8")
        return cls(int(match[1]), int(match[2]))

    def stretch(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its stretch of items: those of all parts, one behind the other, are the items."""
        return items[len(items) * (self.number - 1) // self.parts : len(items) * self.number // self.parts]

    def dealt(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its items where they are dealt like cards, so that what stands side by side goes to different parts."""
        return items[self.number - 1 :: self.parts]

    def of(self, name: str) -> str:
        """A file's name as this part has it: metrics.jsonl as metrics-3-of-8.jsonl."""
        stem, dot, ending = name.rpartition(".")
        return f"{stem}-{self.number}-of-{self.parts}{dot}{ending}"

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"
