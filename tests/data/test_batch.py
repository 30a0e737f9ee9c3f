"""Token batches: answers stand where the loss looks, and texts are cut at their end only."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.batch import collate, encode, encode_answer, encode_input, pad_left
from mpdd.data.task import Answer, Entity, Example, Relation, TaskCard
from mpdd.data.types import parse, render_input, render_target
from mpdd.data.variations import asked, varied
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


# Questions asked otherwise: what is asked is what is answered, and nothing is drawn anew.

TEXT = "aspirin eased the fever"
NER = TaskCard("n", "ner", "List the drugs and signs.", labels=("Drug", "Sign", "Dose"))
RE = TaskCard("r", "re", "List who eases what.", labels=("eases", "causes"))
QA = TaskCard("q", "qa", "Choose.")
NLI = TaskCard("i", "nli", "Does the text say so?", labels=("yes", "no", "maybe"))
WORDS = TaskCard("s", "summarization", "Sum it up.")
ENTITIES = Example("e", "d", TEXT, Answer(entities=(Entity(0, 7, "Drug"), Entity(18, 23, "Sign"))))
PAIR = Example("e", "d", TEXT, Answer(relations=(Relation("eases", "a", "f"),)), arguments={"a": ("aspirin",), "f": ("fever",)})
QUESTION = Example("e", "d", "", Answer(choice=2), (("Question", "which?"),), ("one", "two", "three", "four"))
SAID = Example("e", "d", TEXT, Answer(choice=1))
SUMMED = Example("e", "d", TEXT, Answer(text="fever went"))
CASES = [(NER, ENTITIES), (RE, PAIR), (QA, QUESTION), (NLI, SAID), (WORDS, SUMMED)]


@pytest.mark.parametrize(("card", "example"), CASES)
@given(seed=st.integers(0, 10**6))
def test_the_answer_is_the_gold_one_to_what_is_asked(card, example, seed):
    new, other = varied(card, example, random.Random(seed))
    assert parse(new, other, render_target(new, other)).answer == other.gold
    assert other.text == example.text and other.id == example.id and new.name == card.name
    if card.type in ("ner", "re"):
        assert new.labels and set(new.labels) <= set(card.labels)
        kept = [item for item in (*example.gold.entities, *example.gold.relations) if item.label in new.labels]
        assert [*other.gold.entities, *other.gold.relations] == kept
    if card is QA:
        assert other.choices[other.gold.choice] == "three" and 2 <= len(other.choices) <= 4
        assert set(other.choices) <= set(example.choices)
    if card is NLI:
        assert other == example and all(label in render_input(new, other) for label in card.labels)
    if card is WORDS:
        assert (new, other) == (card, example)


def test_every_size_and_wording_comes_about():
    drawn = [varied(NER, ENTITIES, random.Random(seed))[0] for seed in range(200)]
    assert {len(card.labels) for card in drawn} == {1, 2, 3}
    assert {card.instruction == NER.instruction for card in drawn} == {True, False}
    assert {card.labels for card in drawn} >= {("Drug", "Sign"), ("Sign", "Drug")}
    answers = [render_target(*varied(NER, ENTITIES, random.Random(seed))) for seed in range(200)]
    assert 0 < answers.count("none") < 30  # a label that is not there is asked for too, but seldom
    assert {"Drug: aspirin", "Sign: fever", "Sign: fever\nDrug: aspirin"} <= set(answers)


def test_a_share_is_asked_otherwise_and_always_the_same():
    examples = [Example(f"e{k}", f"d{k}", TEXT, ENTITIES.gold) for k in range(400)]
    first, again = list(asked(NER, examples, 0.5, 0)), list(asked(NER, examples, 0.5, 0))
    assert first == again != list(asked(NER, examples, 0.5, 1))
    assert 120 < sum(card != NER for card, _ in first) <= 200 * 1.2
    assert [card for card, _ in asked(NER, examples, 0, 0)] == [NER] * 400


def test_labels_are_named_where_they_are_written():
    assert render_input(NER, ENTITIES).split("\n")[1] == "Labels: Drug; Sign; Dose"
    assert "Labels:" not in render_input(NLI, SAID) and "Labels:" not in render_input(QA, QUESTION)
