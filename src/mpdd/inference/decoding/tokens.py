"""From a grammar over bytes to the tokens that may come next: the vocabulary as a tree of bytes, walked beside the grammar."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

from mpdd.inference.decoding.grammar import Grammar, State

_SPACE = "\u2581"  # how SentencePiece writes a space
Node = dict[int, Any]  # by byte; under _HERE the tokens that end here
_HERE = -1


class Tokens:
    """A tokenizer's ordinary tokens by their bytes. Build it once for a tokenizer (`tokens_of`)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.end = int(tokenizer.eos_token_id or 0)
        self.bytes_of = _bytes_of(tokenizer)
        self.root: Node = {}
        self._tokens_after: WeakKeyDictionary[Grammar, dict[State, list[int]]] = WeakKeyDictionary()
        for token, written in self.bytes_of.items():
            node = self.root
            for byte in written:
                node = node.setdefault(byte, {})
            node.setdefault(_HERE, []).append(token)

    def tokens_after(self, grammar: Grammar) -> dict[State, list[int]]:
        """Return the known tokens after each state of a grammar, which are added to as they are asked for."""
        return self._tokens_after.setdefault(grammar, {})


@lru_cache(maxsize=4)
def tokens_of(tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """The tokens of a tokenizer, kept for the next question."""
    return Tokens(tokenizer)


class Allowed:
    """Follows one answer token by token and says which tokens may come next. Behind a token that may not, any may, until the
    words that may not be written are over (`Grammar.taken_up`)."""

    def __init__(self, grammar: Grammar, tokens: Tokens) -> None:
        self._grammar, self._tokens = grammar, tokens
        self._tokens_after = tokens.tokens_after(grammar)
        self._written = b""
        self._state: State | None = grammar.start

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""
        if self._state is None:
            return True
        if token == self._tokens.end:
            return self._state.may_end
        written = self._tokens.bytes_of.get(token)
        return written is not None and self._grammar.after(self._state, written) is not None

    def next(self) -> list[int]:
        """The tokens that may come next, while the answer is one that may be written; the end alone where nothing else may."""
        if self._state is None:
            raise ValueError("any token may come next")
        if self._state not in self._tokens_after:
            tokens = self._after(self._state, self._tokens.root)
            self._tokens_after[self._state] = [*tokens, self._tokens.end] if self._state.may_end or not tokens else tokens
        return self._tokens_after[self._state]

    def write(self, token: int) -> None:
        """Go on behind a token."""
        written = self._tokens.bytes_of.get(token, b"")
        self._written += written
        state = None if self._state is None else self._grammar.after(self._state, written)
        self._state = self._grammar.taken_up(self._written) if state is None else state

    def _after(self, state: State, node: Node) -> list[int]:
        tokens: list[int] = []
        todo = [(state, node)]
        while todo:
            here, branch = todo.pop()
            tokens += branch.get(_HERE, ())
            if len(branch) > (_HERE in branch):
                todo += [(there, branch[byte]) for byte, there in self._grammar.moves(here).items() if byte in branch]
        return tokens


def _bytes_of(tokenizer: PreTrainedTokenizerBase) -> dict[int, bytes]:
    """The bytes of every token that is text, by its id: byte-level BPE, or SentencePiece with byte tokens."""
    special = set(tokenizer.all_special_ids) | {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    words: dict[str, int] = tokenizer.get_vocab()
    characters = {character: byte for byte, character in _byte_characters().items()}
    byte_level = not any(_SPACE in word for word in words)
    bytes_by_id = {}
    for word, token in words.items():
        if token in special or not word:
            continue
        if byte_level and all(character in characters for character in word):
            bytes_by_id[token] = bytes(characters[character] for character in word)
        elif len(word) == 6 and word.startswith("<0x") and word.endswith(">"):
            bytes_by_id[token] = bytes([int(word[3:5], 16)])
        else:
            bytes_by_id[token] = word.replace(_SPACE, " ").encode("utf-8", "surrogatepass")
    return bytes_by_id


def _byte_characters() -> dict[int, str]:
    """The character that byte-level BPE writes for each byte (GPT-2, Radford et al. 2019)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
