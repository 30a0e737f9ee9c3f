"""Mentions are found by their words, however the note spaces, breaks or sets them, and offsets stay those of the note."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import parse
from mpdd.data.types.extract import locate
from mpdd.data.types.grounding import Grounding, plain

SPACES = [" ", "\n", "\r\n", "  ", "\t", "\u00a0", "\u200b ", "\u200b", "\f", " \n   ", "\u2028", "\u3000", "\u202f"]
INVISIBLE = ["", "", "\u00ad", "\u200d", "\u2060", "\ufeff"]
LIGATURES = {"fi": "\ufb01", "fl": "\ufb02", "ff": "\ufb00"}
WORDS = ["breast", "cancer", "cystic", "fibrosis", "inflamed", "10", "mg", "diff\u00e9rent", "\u4e73\u817a\u764c"]
NER = TaskCard("t", "ner", "List.", labels=("Problem",))
RE = TaskCard("t", "re", "List.", labels=("treats",))


@st.composite
def set_words(draw, words):
    """Words as a note may set them: joined by any white space, with invisible characters, ligatures and capitals."""
    shown = []
    for word in words:
        for letters, ligature in LIGATURES.items():
            word = word.replace(letters, draw(st.sampled_from([letters, ligature])))
        word = word.upper() if draw(st.booleans()) else word
        shown.append(draw(st.sampled_from(INVISIBLE)).join(word))
    return shown[0] + "".join(draw(st.sampled_from(SPACES)) + word for word in shown[1:])


@st.composite
def notes(draw):
    """A note that holds a mention, the mention in plain words, and where it stands."""
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4))
    mention, before, after = draw(set_words(words)), draw(st.sampled_from(["", "Has ", "\ufb01\n", "\u00ad("])), ") seen."
    return before + mention + after, " ".join(words), (len(before), len(before) + len(mention))


@given(notes())
def test_a_mention_is_found_by_its_words(note):
    text, words, place = note
    assert place in Grounding(text).spans(words)
    assert all(plain(text[start:end]) == plain(words) or "\u200b" in text for start, end in Grounding(text).spans(words))


@given(notes())
def test_entities_relations_and_extracted_answers_are_grounded_alike(note):
    text, words, place = note
    example = Example("e", "d", text, Answer())
    (entity,) = (found := parse(NER, example, f"Problem: {words}")).answer.entities
    assert (found.ungrounded, text[entity.start : entity.end]) == (0, text[slice(*place)])
    (relation,) = (found := parse(RE, example, f"treats: {words} -> seen")).answer.relations
    assert (found.ungrounded, relation.head) == (0, f"{place[0]}:{place[1]}")
    assert locate(text, words) == place


@given(st.text(max_size=40), st.text(max_size=6))
def test_a_place_holds_the_words_and_nothing_else(text, mention):
    for start, end in Grounding(text).spans(mention):
        assert 0 <= start < end <= len(text)
        shown = text[start:end]
        assert plain(shown) == plain(mention) or plain(shown.replace("\u200b", " ")) == plain(mention)


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("breastcancer", "breast cancer"),
        ("breast\ncancer", "breastcancer"),
        ("o\ufb03ce", "of"),  # within the ligature ffi
        ("cafe\u0301", "cafe"),
        ("caf\u00e9", "cafe"),
        ("fever", ""),
        ("fever", "\u00ad"),
    ],
)
def test_other_words_are_nowhere(text, mention):
    assert Grounding(text).spans(mention) == []


def test_whole_words_come_first_and_every_place_counts():
    text = "inbreast\ncancer, breast\ncancer and breast  cancer"
    places = [match.span() for match in re.finditer(r"breast\s+cancer", text)]
    assert Grounding(text).spans("Breast cancer") == [*places[1:], places[0]]


def test_each_naming_of_a_mention_takes_a_place_of_its_own():
    text = "breast cancer, BREAST cancer and breast\ncancer"
    found = parse(NER, Example("e", "d", text, Answer()), "Problem: " + "; ".join(["breast cancer"] * 4))
    assert [text[e.start : e.end] for e in found.answer.entities] == ["breast cancer", "BREAST cancer", "breast\ncancer"]
    assert found.ungrounded == 0


def test_the_second_of_two_places_can_be_picked():
    text = "breast\ncancer, then breast\tcancer"
    (entity,) = parse(NER, Example("e", "d", text, Answer()), "Problem: breast cancer @2").answer.entities
    assert text[entity.start : entity.end] == "breast\tcancer"


def test_arguments_of_a_relation_are_known_by_their_words():
    example = Example("e", "d", "x", Answer(), arguments={"C1": ("breast can\u00adcer",), "C2": ("cystic \ufb01brosis",)})
    (relation,) = parse(RE, example, "treats: breast cancer -> Cystic fibrosis").answer.relations
    assert (relation.head, relation.tail) == ("C1", "C2")
