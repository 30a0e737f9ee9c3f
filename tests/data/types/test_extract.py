"""Extracted answers: pieces of a text read back exactly, and are found in it again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Example, Parsed, TaskCard
from mpdd.data.types import candidates, parse, render_input, render_target
from mpdd.data.types.extract import locate
from mpdd.errors import InputError

CARD = TaskCard("t", "qa", "Answer from the text.", fields=("Question",), form="extractive")
TEXT = "The Flu (type A)\nspreads; flu spreads in 2 days. Influenza too."


def example(answer, text=TEXT):
    return Example("e1", "d1", text, Answer(text=answer), fields=(("Question", "How fast?"),))


PIECES = st.lists(st.sampled_from([*"aAbß.(?*\\ \n\t\u00a0\u2028\x1f", "ab", "İ"]), min_size=1, max_size=30).map("".join)


@settings(deadline=None)
@given(PIECES | st.text(min_size=1), st.data(), st.sampled_from(["", " ", "\n", " \t\n"]))
def test_every_piece_of_a_text_reads_back(text, data, space):
    start = data.draw(st.integers(0, len(text) - 1))
    piece = text[start : data.draw(st.integers(start + 1, len(text)))].strip()
    if not piece:
        return
    gold = example(piece, text)
    assert parse(CARD, gold, space + render_target(CARD, gold) + space) == Parsed(gold.gold)
    found, end = locate(text, piece)
    assert text[found:end].split() == piece.split() or text[found:end].lower() == piece.lower()


@settings(deadline=None)
@given(PIECES, PIECES | st.text())
def test_any_output_keeps_its_words_and_says_whether_the_text_has_them(text, output):
    parsed = parse(CARD, example("", text), output)
    assert parsed.answer == Answer(text=output.strip())
    assert parsed.unparseable == (not output.strip())
    assert parsed.ungrounded == (bool(output.strip()) and locate(text, output) is None)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("flu", "flu"),
        ("The flu", "The Flu"),
        ("(type A) spreads", "(type A)\nspreads"),
        ("type a)  spreads", "type A)\nspreads"),
        ("2 days", "2 days"),
        ("INFLU", "Influ"),
        ("in two days", None),
        ("", None),
        (" \n", None),
    ],
)
def test_answers_are_found_whatever_their_spacing_and_case(answer, found):
    place = locate(TEXT, answer)
    assert (None if place is None else TEXT[slice(*place)]) == found


def test_whole_words_in_the_same_case_come_first():
    assert locate(TEXT, "flu") == (26, 29)
    assert locate("Influenza, Flu", "flu") == (11, 14)
    assert locate("influx", "flu") == (2, 5)


def test_strings_are_pinned():
    gold = example("2 days")
    assert render_input(CARD, gold) == f"Answer from the text.\nText: {TEXT}\nQuestion: How fast?\nAnswer:"
    assert render_target(CARD, gold) == "2 days"
    assert candidates(CARD, gold) is None


@pytest.mark.parametrize("answer", ["zebra", "", " "])
def test_a_gold_answer_outside_the_text_is_an_error_that_does_not_quote_it(answer):
    with pytest.raises(InputError, match="Example e1 of task t has an answer that its text does not hold") as caught:
        render_target(CARD, example(answer))
    assert "zebra" not in str(caught.value)
