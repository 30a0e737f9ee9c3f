"""Choices: pinned strings, exact round trips, and outputs of any kind."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Example, Parsed, TaskCard
from mpdd.data.types import candidates, parse, render_input, render_target
from mpdd.data.types.choice import letter
from mpdd.data.types.spans import fold
from mpdd.errors import InputError

QA = TaskCard("t", "qa", "Answer the question.")
FIXED = TaskCard("t", "qa", "Answer the question.", labels=("yes", "no", "maybe"))
CLASS = TaskCard("t", "classification", "Classify.", labels=("low", "high"))
NLI = TaskCard("t", "nli", "Compare.", labels=("entailment", "neutral", "not entailment"), text_field="Premise")


def example(choice=0, choices=()):
    return Example("e1", "d1", "Some text.", Answer(choice=choice), fields=(("question", "Which?"),), choices=choices)


def read(output, card=NLI, choices=()):
    return parse(card, example(choices=choices), output).answer.choice


OPTIONS = st.sampled_from(["a", "A", "B", "b.", "(C)", " a ", "", "none", "yes\nno", "ß", "ss"]) | st.text(max_size=8)
LABELS = st.lists(OPTIONS.filter(fold), min_size=1, max_size=6, unique_by=fold).map(tuple)


@settings(deadline=None)
@given(st.lists(OPTIONS, min_size=1, max_size=30).map(tuple), st.data(), st.sampled_from(["", " ", "\n", " \t\n"]))
def test_every_option_reads_back(choices, data, space):
    gold = example(data.draw(st.integers(0, len(choices) - 1)), choices)
    assert parse(QA, gold, space + render_target(QA, gold) + space) == Parsed(gold.gold)
    compared = candidates(QA, gold)
    assert compared is not None
    assert [read(target, QA, choices) for target in compared] == list(range(len(choices)))


@settings(deadline=None)
@given(LABELS, st.data(), st.sampled_from(["nli", "qa", "classification"]))
def test_every_label_reads_back(labels, data, task_type):
    card = TaskCard("t", task_type, "Compare.", labels=labels)
    gold = example(data.draw(st.integers(0, len(labels) - 1)))
    assert parse(card, gold, f" {render_target(card, gold)}\n") == Parsed(gold.gold)
    assert candidates(card, gold) == tuple(label.strip() for label in labels)


@settings(deadline=None)
@given(st.lists(OPTIONS, max_size=30).map(tuple), LABELS, st.text() | st.lists(OPTIONS).map(" ".join))
def test_any_output_gives_an_option_or_nothing(choices, labels, output):
    for card, count in ((QA, len(choices or labels)), (NLI, len(labels)), (CLASS, len(labels))):
        card = replace(card, labels=labels)
        parsed = parse(card, example(choices=choices), output)
        assert parsed.unparseable == (parsed.answer.choice is None)
        assert parsed.answer.choice is None or 0 <= parsed.answer.choice < count


def test_input_is_pinned():
    lines = ["Answer the question.", "Text: Some text.", "Question: Which?", "Options:", "A. one", "B. two", "Answer:"]
    assert render_input(QA, example(choices=("one", "two"))) == "\n".join(lines)
    assert render_input(NLI, example()) == "Compare.\nPremise: Some text.\nQuestion: Which?\nAnswer:"


def test_targets_are_pinned():
    assert candidates(QA, example(choices=("Aspirin ", "no drug"))) == ("Aspirin", "no drug")
    assert candidates(QA, example(choices=("IV drug", "iv  DRUG", "other"))) == ("A", "B", "C")
    assert candidates(QA, example(choices=("", "other"))) == ("A", "B")
    assert candidates(FIXED, example(choices=("a", "b"))) == ("a", "b")
    assert candidates(FIXED, example()) == ("yes", "no", "maybe")
    assert candidates(NLI, example(choices=("a", "b"))) == ("entailment", "neutral", "not entailment")
    assert render_target(NLI, example(2)) == "not entailment"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("heparin", 1),
        (" HEPARIN\n", 1),
        ("heparin\n\nBecause it is.", 1),
        ("B", 1),
        ("B.", 1),
        ("(B)", 1),
        ("B: heparin", 1),
        ("C", 0),
        ("D. something", 3),
        ("E", None),
        ("b", None),
        ("A patient takes it", None),
        ("Because", None),
        ("heparin or iron", None),
        ("", None),
    ],
)
def test_options_are_read(output, expected):
    assert read(output, QA, ("C", "heparin", "iron", "zinc")) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Neutral", 1),
        ("neutral.", 1),
        ("not entailment, because", 2),
        ("Entailment\nThe premise", 0),
        ("neutrality", None),
        ("It is neutral", None),
        ("A", None),
        ("", None),
    ],
)
def test_labels_are_read(output, expected):
    assert read(output) == expected


def test_letters_go_on_after_z():
    assert [letter(index) for index in (0, 25, 26, 27, 52)] == ["A", "Z", "AA", "AB", "BA"]


@pytest.mark.parametrize("choice", [None, -1, 3])
@pytest.mark.parametrize("card", [FIXED, NLI])
def test_an_invalid_gold_choice_is_an_error(card, choice):
    with pytest.raises(InputError, match="Example e1 of task t has no valid choice"):
        render_target(card, example(choice))


@pytest.mark.parametrize("labels", [(), ("yes", "Yes"), ("", "no")])
def test_labels_that_cannot_be_told_apart_are_an_error(labels):
    with pytest.raises(InputError, match="needs labels that differ"):
        render_target(replace(NLI, labels=labels), example())
