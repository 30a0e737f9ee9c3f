"""Token batches: answers stand where the loss looks, and texts are cut at their end only."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.batch import collate, encode, encode_answer, encode_input, pad_left
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import render_input
from mpdd.errors import InputError
from tests.conftest import tries

CARD = TaskCard("short", "summarization", "Say it in one line.", fields=("Question",))


def example(text, answer="fever", question="what"):
    return Example("e1", "e1", text, Answer(text=answer), fields=(("Question", question),))


@given(rows=st.lists(st.tuples(st.text(max_size=40), st.text(min_size=1, max_size=20)), min_size=1, max_size=5))
@settings(max_examples=tries(50), deadline=None)
def test_the_loss_looks_at_the_answer_and_at_nothing_else(tiny, rows):
    encoded = [encode(tiny.tokenizer, CARD, example(text, answer), tiny.context) for text, answer in rows]
    batch = collate(encoded, tiny.end)
    whole = torch.cat([batch.ids, torch.full((len(rows), 1), tiny.end)], dim=1)
    followed = whole[:, 1:][batch.predicts]
    expected = torch.tensor([t for e in encoded for t in e.answer_ids])
    assert torch.equal(batch.targets, expected)
    ends = batch.targets == tiny.end
    assert torch.equal(followed[~ends], expected[~ends])
    assert batch.rows.tolist() == [b for b, e in enumerate(encoded) for _ in e.answer_ids]
    assert batch.mask.sum(1).tolist() == [len(e.input_ids) + len(e.answer_ids) - 1 for e in encoded]


def test_an_answer_is_a_space_the_target_and_the_end(tiny):
    ids = encode_answer(tiny.tokenizer, "fever")
    assert tiny.tokenizer.decode(ids) == " fever<end>"


def test_what_is_spelt_like_the_end_token_is_text(tiny):
    encoded = encode(tiny.tokenizer, CARD, example("fever<end>cough", "a<end>b"), tiny.context)
    assert tiny.end not in encoded.input_ids
    assert encoded.answer_ids.index(tiny.end) == len(encoded.answer_ids) - 1
    assert "fever<end>cough" in tiny.tokenizer.decode(encoded.input_ids)


@given(text=st.text(max_size=400), room=st.integers(40, 120))
@settings(max_examples=tries(80), deadline=None)
def test_a_long_text_loses_its_end_and_the_loss_is_counted(tiny, text, room):
    found = encode_input(tiny.tokenizer, CARD, example(text), room)
    assert len(found.input_ids) <= room
    kept = text[: len(text) - found.cut]
    assert list(found.input_ids) == tiny.tokenizer(render_input(CARD, example(kept)))["input_ids"]
    if found.cut:
        whole = tiny.tokenizer(render_input(CARD, example(text)))["input_ids"]
        assert len(whole) > room


def test_a_question_that_does_not_fit_is_an_error_without_text(tiny):
    with pytest.raises(InputError, match="Example e1 of short does not fit the context without its text") as caught:
        encode_input(tiny.tokenizer, CARD, example("secret", question="secret " * 100), 50)
    assert "secret" not in str(caught.value)


def test_left_padding(tiny):
    ids, mask = pad_left([[5, 6, 7], [8]], pad=0)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[True, True, True], [False, False, True]]
