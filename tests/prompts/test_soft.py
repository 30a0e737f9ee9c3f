"""Where a soft prompt's rows come from."""

from __future__ import annotations

import pytest
import torch

from mpdd.errors import InputError
from mpdd.prompts.soft import SoftPrompt, initial_rows


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
