"""The notation's escapes and the search for mentions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpdd.data.types.spans import (
    escape,
    fold,
    is_none,
    item_places,
    occurrences,
    pick,
    read_lines,
    read_mention,
    split,
    unescape,
)

ODD = st.text(alphabet=list("ab \\;:@->n12u0\n\r\t\x1c\x85\u2003é")) | st.text()


@given(ODD)
def test_escape_reads_back_and_survives_stripping(text):
    for marks in ((";",), (":",), (";", "->")):
        raw = escape(text, *marks)
        assert unescape(raw) == text
        assert raw == raw.strip()
        assert "\n" not in raw
        assert all(split(raw, mark) == [raw] for mark in marks)


@given(ODD.filter(bool), st.integers(1, 999_999))
def test_a_mention_keeps_its_rank(text, rank):
    raw = escape(text, ";")
    assert read_mention(raw) == (text, 1)
    assert read_mention(f"{raw} @{rank}") == (text, rank)


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("fever", "fever"),
        ("a; b", r"a\; b"),
        ("heart\nfailure", r"heart\nfailure"),
        (" edge\t", r"\u0020edge\u0009"),
        ("\\n", r"\\n"),
        ("IL @2", r"IL \@2"),
        ("a@1", "a@1"),
        ("T->C", r"T\->C"),
    ],
)
def test_escape_writes(text, raw):
    assert escape(text, ";", "->") == raw


@pytest.mark.parametrize("raw", [r"a\q", "a\\", r"\u12", r"\uD800", "\\"])
def test_an_unknown_escape_stands_for_itself(raw):
    assert unescape(raw) == raw


def test_split_stops_and_strips():
    assert split(r"a\;b ; c;;d", ";") == [r"a\;b", "c", "", "d"]
    assert split("a -> b -> c", "->", 1) == ["a", "b -> c"]


@pytest.mark.parametrize(("raw", "expected"), [("none", True), (" None. ", True), ("none @1", False), ("nones", False)])
def test_is_none(raw, expected):
    assert is_none(raw) is expected


def test_a_rank_too_long_to_be_one_is_text():
    assert read_mention("a @1234567") == ("a @1234567", 1)


def test_pick_falls_back_to_the_first():
    assert [pick("abc", rank) for rank in (0, 1, 3, 4)] == ["a", "a", "c", "a"]


def test_occurrences_prefer_word_boundaries():
    assert occurrences("family MI, MI", "MI") == [7, 11]
    assert occurrences("aMI MI MIb", "MI") == [4, 1, 7]
    assert occurrences("aaaa", "aa") == [0, 1, 2]
    assert occurrences("aaaa", "") == []


@given(st.text(alphabet=list("aAbßİıſ ."), max_size=20), st.text(alphabet=list("aAbßİıſ ."), max_size=3))
def test_occurrences_are_where_they_say(text, mention):
    for start in occurrences(text, mention):
        assert text[start : start + len(mention)] == mention
    for start in occurrences(text, mention, ignore_case=True):
        assert len(text[start : start + len(mention)]) == len(mention) > 0
    assert set(occurrences(text, mention)) <= set(occurrences(text, mention, ignore_case=True))


def test_read_lines_skips_what_it_does_not_know():
    output = "Here it is:\ndrug: aspirin;; heparin \nDisease: none\nGene: BRCA1\nno colon"
    assert read_lines(("Drug", "Disease"), output) == ([("Drug", "aspirin"), ("Drug", "heparin")], True)


def test_an_exact_label_comes_before_a_folded_one():
    assert read_lines(("A", "a"), "a: x\nA: y") == ([("a", "x"), ("A", "y")], False)


def test_fold():
    assert fold(" Straße\n A ") == "strasse a"


@given(st.lists(st.tuples(st.sampled_from(["Drug", "a: b"]), ODD.filter(bool)), max_size=6), st.sampled_from(["", " ", "\n "]))
def test_items_are_found_where_they_were_written(items, before):
    labels = ["Drug", "a: b"]
    output = (
        before + "\n".join(f"{escape(label, ':')}: {escape(text, ';')} ; fever" for label, text in items) + "\nunknown: x\nnone"
    )
    found = item_places(labels, output)
    assert [output[start:end] for start, end in found] == [raw for _, raw in read_lines(labels, output)[0]]
    assert found == sorted(found) and all(a[1] <= b[0] for a, b in zip(found, found[1:], strict=False))
