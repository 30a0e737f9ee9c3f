"""Multiple labels: pinned strings, exact round trips, and outputs of any kind."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Example, Parsed, TaskCard
from mpdd.data.types import candidates, parse, render_input, render_target
from mpdd.data.types.spans import fold, is_none
from mpdd.errors import InputError

CARD = TaskCard("t", "classification", "Code the note.", labels=("I10", "E11; type 2", "Asthma, mild"), form="multiple")
WORDS = st.text(alphabet=list("aAbn ;:@12\\\n\t.none"), min_size=1, max_size=8) | st.text(min_size=1, max_size=8)
LABELS = st.lists(WORDS.filter(lambda w: fold(w) and not is_none(w)), min_size=1, max_size=6, unique_by=fold).map(tuple)


def example(*labels):
    return Example("e1", "d1", "Some text.", Answer(labels=labels))


@st.composite
def items(draw):
    card = replace(CARD, labels=draw(LABELS))
    return card, example(*draw(st.lists(st.integers(0, len(card.labels) - 1), max_size=8)))


@settings(deadline=None)
@given(items(), st.sampled_from(["", " ", "\n", " \t\n"]))
def test_gold_reads_back_exactly(item, space):
    card, gold = item
    expected = Answer(labels=tuple(sorted(set(gold.gold.labels))))
    assert parse(card, gold, space + render_target(card, gold) + space) == Parsed(expected)


@st.composite
def fuzzed(draw):
    card, gold = draw(items())
    words = st.sampled_from(["\n", ";", "; ", "none", "None.", "\\", "\\u00", "\\n", " ", *card.labels, "zzz"])
    noise = st.lists(words | st.text(max_size=5), max_size=30).map("".join)
    cut = st.integers(0, 60).map(lambda size: render_target(card, gold)[:size])
    return card, gold, draw(noise | cut | st.builds(str.__add__, cut, noise))


@settings(deadline=None)
@given(fuzzed())
def test_any_output_gives_labels_of_the_card(item):
    card, gold, output = item
    parsed = parse(card, gold, output)
    found = parsed.answer.labels
    assert parsed.answer == Answer(labels=tuple(sorted(set(found))))
    assert all(0 <= label < len(card.labels) for label in found)
    assert not (parsed.unparseable and (found or parsed.ungrounded))
    again = replace(gold, gold=parsed.answer)
    assert parse(card, gold, render_target(card, again)) == Parsed(parsed.answer)


@pytest.mark.parametrize(
    ("labels", "target"),
    [((), "none"), ((0,), "I10"), ((2, 0), "I10; Asthma, mild"), ((0, 1, 1), r"I10; E11\; type 2")],
)
def test_targets_are_pinned(labels, target):
    assert render_target(CARD, example(*labels)) == target
    assert (
        render_input(CARD, example(*labels))
        == "Code the note.\nLabels: I10; E11\\; type 2; Asthma, mild\nText: Some text.\nAnswer:"
    )
    assert candidates(CARD, example(*labels)) is None


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("none", Parsed(Answer())),
        (" None. \n", Parsed(Answer())),
        ("asthma,  MILD ;i10", Parsed(Answer(labels=(0, 2)))),
        ("I10; I10; i10", Parsed(Answer(labels=(0,)))),
        ("I10\nE11\\; type 2", Parsed(Answer(labels=(0, 1)))),
        ("none; I10", Parsed(Answer(labels=(0,)))),
        ("I10; gout; Gout; J45", Parsed(Answer(labels=(0,)), ungrounded=2)),
        ("The patient has asthma.", Parsed(Answer(), ungrounded=1)),
        ("E11; type 2", Parsed(Answer(), ungrounded=2)),
        ("", Parsed(Answer(), unparseable=True)),
        (" ; \n;", Parsed(Answer(), unparseable=True)),
    ],
)
def test_outputs_are_read(output, expected):
    assert parse(CARD, example(), output) == expected


@pytest.mark.parametrize("labels", [(3,), (-1, 0), (0, 99)])
def test_invalid_gold_labels_are_an_error(labels):
    with pytest.raises(InputError, match="Example e1 of task t has labels that its card lacks"):
        render_target(CARD, example(*labels))


@pytest.mark.parametrize("labels", [(), ("yes", "Yes"), ("", "no"), ("I10", "None")])
def test_labels_that_cannot_be_told_apart_are_an_error(labels):
    with pytest.raises(InputError, match="Task t needs labels that differ"):
        render_target(replace(CARD, labels=labels), example())
