"""Questions asked otherwise: what is asked is what is answered, and nothing is drawn anew."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpdd.data.task import Answer, Entity, Example, Relation, TaskCard
from mpdd.data.types import parse, render_input, render_target
from mpdd.data.variations import asked, varied

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
