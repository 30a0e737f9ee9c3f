"""A text as its pieces may be written in an answer: from word to word, its white space as it stands or as one space."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from mpdd.data.placeholders import Placeholders
from mpdd.data.types.grounding import is_accent, is_invisible, is_same_word
from mpdd.data.types.spans import is_bounded


@dataclass(frozen=True)
class Note:
    """A text as its pieces may be written."""

    text: str

    @cached_property
    def bounds(self) -> list[bool]:
        """Whether a mention may begin or end before each character (and at the end): not within a word or a placeholder.

        Letters of scripts without upper and lower case, some of which set no spaces, count as words of their own.
        """
        letters = [unicodedata.category(character) == "Lo" for character in self.text]
        bounds = [
            is_bounded(self.text, at, len(self.text)) or letters[at - 1] or letters[at] if 0 < at < len(self.text) else True
            for at in range(len(self.text) + 1)
        ]
        for start, end in Placeholders(self.text).spans:
            bounds[start + 1 : end] = [False] * (end - start - 1)
        return bounds

    @cached_property
    def starts(self) -> list[int]:
        """Where a mention may begin."""
        return [
            at
            for at, character in enumerate(self.text)
            if self.bounds[at] and _is_written(character) and not is_accent(self.text, at)
        ]

    def steps(self, at: int, *marks: str) -> list[tuple[bytes, int]]:
        """How the text goes on at a character: what is written for it, and the next character.

        A run of white space is written as it stands (escaped), or as one space, a letter in either case, as answers are read
        back in any; `marks` are escaped.
        """
        character = self.text[at]
        if is_invisible(character):
            return [(character.encode(), at + 1), (b"", at + 1)]
        if character.isspace():
            end = at + 1
            while end < len(self.text) and self.text[end].isspace():
                end += 1
            run = self.text[at:end].replace("\n", "\\n").encode()
            return [(b" ", end)] if run == b" " else [(run, end), (b" ", end)]
        is_mark = character == "\\" or any(self.text.startswith(mark, at) for mark in marks)
        written = "\\" + character if is_mark else character
        cases = dict.fromkeys((written, *(c for c in (character.lower(), character.upper()) if is_same_word(c, character))))
        return [(case.encode("utf-8", "surrogatepass"), at + 1) for case in cases]

    def may_end(self, at: int) -> bool:
        """Whether a mention may end before this character: at the edge of a word, and not between a letter and its accent."""
        return at > 0 and self.bounds[at] and _is_written(self.text[at - 1]) and not is_accent(self.text, at)

    @cached_property
    def ends(self) -> list[int]:
        """For each place the next one, itself included, where a mention may end; past the text where there is none."""
        nearest = [len(self.text) + 1] * (len(self.text) + 2)
        for at in range(len(self.text), -1, -1):
            nearest[at] = at if self.may_end(at) else nearest[at + 1]
        return nearest

    def mention(self, at: int, *marks: str) -> Iterable[tuple[bytes, int]]:
        """How a mention goes on with the character at `at`, so that it can still end."""
        if at < len(self.text):
            yield from ((piece, to) for piece, to in self.steps(at, *marks) if self.ends[to] <= len(self.text))


def _is_written(character: str) -> bool:
    return not character.isspace() and not is_invisible(character)
