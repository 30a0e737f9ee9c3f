"""A prompt in a batch is what it is by hand, in PEFT, and alone."""

from __future__ import annotations

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from mpdd.data.batch import Encoded, collate
from mpdd.prompts.attach import attach, move
from mpdd.prompts.examples import before_every_layer, example_rows, states_behind
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.forward import forward
from tests.conftest import tries


def text(tiny, lengths, side, seed=0):
    """Random token rows padded on `side`: ids and mask."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    ids = torch.randint(5, tiny.model.config.vocab_size, (len(lengths), longest), generator=generator)
    columns = torch.arange(longest)[None]
    sizes = torch.tensor(lengths)[:, None]
    return ids, columns < sizes if side == "right" else columns >= longest - sizes


def logits(tiny, attached):
    with torch.no_grad():
        return tiny.model(
            inputs_embeds=attached.embeddings, attention_mask=attached.mask.long(), position_ids=attached.positions
        ).logits


@pytest.mark.parametrize("padded", ["left", "right"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_equals_concatenation_by_hand(tiny, padded, side):
    lengths, prompt_lengths = [7, 3, 5], [4, 2, 0]
    ids, mask = text(tiny, lengths, padded)
    prompts = [torch.randn(n, tiny.width) for n in prompt_lengths]
    attached = attach(prompts, tiny.embed(ids), mask, side=side)
    found = logits(tiny, attached)
    for row, prompt in enumerate(prompts):
        alone = torch.cat([prompt, tiny.embed(ids[row][mask[row]][None])[0]])[None]
        with torch.no_grad():
            expected = tiny.model(inputs_embeds=alone).logits[0]
        assert torch.allclose(found[row][attached.mask[row]], expected, atol=1e-5)


@given(
    rows=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4)), min_size=1, max_size=4),
    padded=st.sampled_from(["left", "right"]),
    side=st.sampled_from(["left", "right"]),
)
@settings(max_examples=tries(60), deadline=None)
def test_layout(rows, padded, side):
    """Every row reads prompt then text, padding gathers on one side, positions count real tokens from 0."""
    lengths, prompt_lengths = [n for n, _ in rows], [p for _, p in rows]
    longest = max(lengths)
    values = torch.arange(1.0, 1 + len(rows) * longest).reshape(len(rows), longest, 1)
    columns, sizes = torch.arange(longest)[None], torch.tensor(lengths)[:, None]
    mask = columns < sizes if padded == "right" else columns >= longest - sizes
    attached = attach([-torch.arange(1.0, n + 1)[:, None] for n in prompt_lengths], values, mask, side=side)
    for row, prompt_length in enumerate(prompt_lengths):
        real = attached.mask[row]
        expected = [*range(-1, -prompt_length - 1, -1), *values[row][mask[row]].flatten().tolist()]
        assert attached.embeddings[row][real].flatten().tolist() == expected
        assert attached.positions[row][real].tolist() == list(range(len(expected)))
        edge = real.tolist()
        assert edge == sorted(edge, reverse=side == "right")
        assert move(mask, attached)[row].sum() == lengths[row]


def test_equals_peft_prompt_tuning(tiny, tiny_folder):
    rows = torch.randn(5, tiny.width)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), config).eval()
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.copy_(rows)
    ids, mask = text(tiny, [6, 4], "right")
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask.long()).logits
    attached = attach([rows, rows], tiny.embed(ids), mask, side="right")
    real = attached.mask
    assert torch.allclose(logits(tiny, attached)[real], expected[real], atol=1e-5)


def test_equals_peft_multitask_prompt_tuning(tiny, tiny_folder):
    tasks, rank, length = 3, 2, 5
    config = peft.MultitaskPromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=length, num_tasks=tasks, num_ranks=rank, prompt_tuning_init="RANDOM"
    )
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), config).eval()
    encoder = model.prompt_encoder["default"]
    meta = MetaPrompt(encoder.embedding.weight, [str(k) for k in range(tasks)], rank)
    with torch.no_grad():
        for tensor in (meta.u, meta.v):
            tensor.normal_()
        encoder.prefix_task_cols.copy_(meta.u.transpose(1, 2))
        encoder.prefix_task_rows.copy_(meta.v)
    ids, mask = text(tiny, [6, 6, 6], "right")
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask.long(), task_ids=torch.tensor([2, 0, 1])).logits
        attached = attach([meta("2"), meta("0"), meta("1")], tiny.embed(ids), mask, side="right")
    assert torch.allclose(logits(tiny, attached), expected, atol=1e-5)


# Rows made of examples: those of all tokens are what the examples' tokens themselves do behind the same prompt.

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
