"""Where a soft prompt's rows come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mpdd.errors import InputError
from mpdd.prompts.soft import SoftPrompt, from_text, from_vocabulary, initial_rows


def test_vocabulary_rows_are_distinct_ordinary_embeddings(tiny):
    rows = initial_rows(tiny, 10, "vocabulary", seed=3)
    matches = (rows[:, None] == tiny.table[None]).all(-1)
    assert matches.any(1).all()
    ids = matches.float().argmax(1).tolist()
    assert len(set(ids)) == 10
    assert tiny.end not in ids


def test_text_rows_repeat_the_text(tiny):
    ids = tiny.tokenizer("fever and cough")["input_ids"]
    rows = initial_rows(tiny, len(ids) + 2, "text", seed=0, text="fever and cough")
    assert torch.equal(rows, tiny.table[torch.tensor([*ids, *ids[:2]])])


@pytest.mark.parametrize("how", ["vocabulary", "text"])
def test_of_a_vocabulary_only_the_rows_are_converted(tiny, how):
    words = replace(tiny.vocabulary, embedding=nn.Embedding.from_pretrained(tiny.table.detach().bfloat16()))
    start = {"vocabulary": lambda: from_vocabulary(words, 3, seed=3), "text": lambda: from_text(words, 3, "fever and cough")}[how]
    with Copies(words.table) as copies:
        rows = start()
    assert rows.dtype == torch.float32
    assert torch.equal(rows, initial_rows(tiny, 3, how, seed=3, text="fever and cough").bfloat16().float())
    assert max(copies.numbers) == rows.numel() < words.table.numel()


class Copies(TorchDispatchMode):
    """Notes how many floating-point numbers each operation makes anew, beside those of `known`."""

    def __init__(self, known):
        super().__init__()
        self.known, self.numbers = known.untyped_storage().data_ptr(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if found.is_floating_point() and found.untyped_storage().data_ptr() != self.known:
            self.numbers.append(found.numel())
        return found


def test_random_rows_have_the_tables_spread(tiny):
    rows = initial_rows(tiny, 200, "random", seed=0)
    assert torch.allclose(rows.std(0).mean(), tiny.table.std(0).mean(), rtol=0.1)
    assert torch.equal(rows, initial_rows(tiny, 200, "random", seed=0))


def test_a_prompt_owns_its_rows_in_fp32():
    start = torch.zeros(2, 3, dtype=torch.bfloat16)
    prompt = SoftPrompt(start)
    assert prompt().dtype == torch.float32
    with torch.no_grad():
        prompt.rows.add_(1)
    assert start.sum() == 0


@pytest.mark.parametrize(
    ("length", "how", "text", "message"),
    [
        (4, "zeros", "", "found 'zeros'; wanted one of vocabulary, random, text"),
        (0, "random", "", "wanted 1 to 255"),
        (256, "random", "", "found 256"),
        (4, "text", "", "at least one word"),
    ],
)
def test_bad_starts_are_named(tiny, length, how, text, message):
    with pytest.raises(InputError, match=message):
        initial_rows(tiny, length, how, seed=0, text=text)
