"""Summaries and free answers, and the dispatch on a card's type."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Example, Parsed, TaskCard
from mpdd.data.types import candidates, parse, render_input, render_target
from mpdd.errors import InputError

CARD = TaskCard("t", "summarization", "Summarise.", text_field="Findings")
FREE = TaskCard("t", "qa", "Answer.", text_field="Findings", form="free")
BOTH = st.sampled_from([CARD, FREE])


def example(text):
    return Example("e1", "d1", "Clear lungs.", Answer(text=text))


@settings(deadline=None)
@given(BOTH, st.text().filter(str.strip), st.sampled_from(["", " ", "\n", " \t\n"]))
def test_free_text_reads_back(card, text, space):
    output = space + render_target(card, example(text)) + space
    assert parse(card, example(text), output) == Parsed(Answer(text=text.strip()))


@settings(deadline=None)
@given(BOTH, st.text())
def test_any_output_is_an_answer_unless_it_is_empty(card, output):
    parsed = parse(card, example("x"), output)
    assert parsed.ungrounded == 0
    assert parsed.answer.text == output.strip()
    assert parsed.unparseable == (not output.strip())


def test_strings_are_pinned():
    gold = example(" No acute\ndisease. ")
    assert render_input(CARD, gold) == "Summarise.\nFindings: Clear lungs.\nAnswer:"
    assert render_target(CARD, gold) == "No acute\ndisease."
    assert candidates(CARD, gold) is candidates(FREE, gold) is None


def test_an_unknown_type_is_an_error():
    card = replace(CARD, type="poetry")
    for ask in (render_target, candidates, lambda card, gold: parse(card, gold, "")):
        with pytest.raises(InputError, match="Task t has an unknown type; found 'poetry'"):
            ask(card, example("x"))
