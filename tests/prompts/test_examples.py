"""Rows made of examples: those of all tokens are what the examples' tokens themselves do behind the same prompt."""

from __future__ import annotations

import pytest
import torch

from mpdd.data.batch import Encoded, collate
from mpdd.prompts.examples import before_every_layer, example_rows, states_behind
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.forward import forward

EXAMPLES = [Encoded("a", (5, 6, 7, 8), (9, 0)), Encoded("a", (15, 16), (17, 18, 0)), Encoded("a", (25,), (26, 27))]
QUESTION = Encoded("a", (40, 41, 42), (43, 44, 45))


def starts(tiny):
    """A prompt at the input, and one with rows before every layer."""
    generator = torch.Generator().manual_seed(0)
    return {"input": from_vocabulary(tiny, 3, 0), "all": torch.randn(3, tiny.depth * tiny.width, generator=generator)}


@pytest.mark.parametrize("depth", ["input", "all"])
def test_rows_of_all_tokens_do_what_the_example_itself_does(tiny, depth):
    prompt, example = starts(tiny)[depth], EXAMPLES[0]
    rows = example_rows(tiny, prompt, [example], 100).rows
    assert rows.shape == (6, tiny.depth * tiny.width)
    longer = torch.cat([before_every_layer(tiny, prompt), rows])
    ids = (*example.input_ids, *example.answer_ids, *QUESTION.input_ids)
    spelt_out = collate([Encoded("a", ids, QUESTION.answer_ids)], tiny.end)
    found = forward(tiny, collate([QUESTION], tiny.end), [longer]).logits
    torch.testing.assert_close(found, forward(tiny, spelt_out, [prompt]).logits, rtol=1e-4, atol=1e-4)


def test_each_example_has_equally_many_rows_and_none_of_another_one(tiny):
    prompt = starts(tiny)["all"]
    found = example_rows(tiny, prompt, EXAMPLES, 7)
    assert found.owners.tolist() == [0, 0, 1, 1, 2, 2]
    last = torch.cat([states_behind(tiny, prompt, example)[-2:] for example in EXAMPLES])
    torch.testing.assert_close(found.rows, last)
    others = example_rows(tiny, prompt, [EXAMPLES[0], QUESTION, EXAMPLES[2]], 7)
    same = found.not_of([1])
    assert same.tolist() == [True, True, False, False, True, True]
    torch.testing.assert_close(found.rows[same], others.rows[same])
    assert not torch.allclose(found.rows[~same], others.rows[~same])
