"""Token ids that stand for a prompt where an engine wants a token for each of its rows, as vLLM does.

They are drawn from the prompt's digest, so the ids alone say which prompt is meant: no two prompts have the same
ids, an engine that reuses what it computed for equal tokens never takes one prompt for another, and no text begins
with them but by a chance of one in vocabulary ** length.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import shake_256

from transformers import PreTrainedTokenizerBase

from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.errors import InputError

FEWEST = 4  # rows of a prompt: fewer ids could be the beginning of a text
_BYTES = 8  # of the stream for each id, so that all ids are equally likely


def placeholder_ids(vocabulary: Backbone | Vocabulary, digest: str, length: int) -> list[int]:
    """The ids of a prompt of `length` rows with this digest: the same at every call, and none of a special or added
    token.

    Raise `InputError` for a prompt of fewer than `FEWEST` rows.
    """
    if length < FEWEST:
        raise InputError("The prompt is too short for placeholder ids", found=f"{length} rows", wanted=f"{FEWEST} or more")
    tokenizer = vocabulary.tokenizer
    ordinary = _ordinary_ids(tokenizer, len(tokenizer), len(vocabulary.table))
    stream = shake_256(f"mpdd placeholders {digest}".encode()).digest(_BYTES * length)
    numbers = (int.from_bytes(stream[start : start + _BYTES], "big") for start in range(0, len(stream), _BYTES))
    return [ordinary[number % len(ordinary)] for number in numbers]


@lru_cache(maxsize=1)
def _ordinary_ids(tokenizer: PreTrainedTokenizerBase, tokens: int, rows: int) -> tuple[int, ...]:
    """The ids of pieces of text among the `rows` of a backbone's table; others may mean something to an engine, an image
    for example. Kept for the next prompt, as long as the tokenizer has the same number of `tokens`."""
    known = min(rows, max(tokenizer.get_vocab().values()) + 1)
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    return tuple(number for number in range(known) if number not in special)
