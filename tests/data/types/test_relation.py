"""Relation targets: pinned strings, exact round trips, and outputs of any kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Example, Parsed, Relation, TaskCard
from mpdd.data.types import candidates, parse, render_target
from mpdd.errors import InputError

CARD = TaskCard("t", "re", "Find the relations.", labels=("treats", "causes"))
ARGUMENTS = {
    "D1": ("aspirin", "ASA"),
    "D2": ("heparin",),
    "C1": ("fever",),
    "C2": ("pain", "ache"),
    "C3": ("pain",),
}


def example(*relations, arguments=ARGUMENTS, text="aspirin, heparin and iron for fever; Hepar"):
    return Example("e1", "d1", text, Answer(relations=tuple(Relation(*r) for r in relations)), arguments=arguments)


WORDS = st.text(alphabet=list("aAbn ;:@12\\\n\t->"), min_size=1, max_size=8) | st.text(min_size=1, max_size=8)
SHARED = st.sampled_from(["pain", "a", "A", "none", "a -> b", "a @1", "@1", "->", ";"])


@st.composite
def items(draw):
    card = TaskCard("t", "re", "Find.", labels=tuple(draw(st.lists(WORDS, min_size=1, max_size=4, unique=True))))
    forms = st.lists(SHARED | WORDS, min_size=1, max_size=4).map(tuple)
    arguments = draw(st.dictionaries(st.text(max_size=4), forms, min_size=1, max_size=6))
    keys = st.sampled_from(list(arguments))
    relations = draw(st.lists(st.builds(Relation, st.sampled_from(card.labels), keys, keys), max_size=8))
    gold = Answer(relations=tuple(relations))
    return card, Example("e1", "d1", draw(st.text(max_size=20)), gold, arguments=arguments)


@settings(deadline=None)
@given(items(), st.sampled_from(["", " ", "\n", " \t\n"]))
def test_gold_reads_back_exactly(item, space):
    card, gold = item
    output = space + render_target(card, gold) + space
    assert parse(card, gold, output) == Parsed(Answer(relations=tuple(sorted(set(gold.gold.relations)))))


@st.composite
def fuzzed(draw):
    card, gold = draw(items())
    pieces = ["\n", ": ", ":", "; ", " -> ", "->", " @2", " @0", " @9999999999", "none", "\\", "\\u00", "zzz", "pain"]
    words = st.sampled_from([*pieces, *card.labels, gold.text, gold.text[:2]])
    noise = st.lists(words | st.text(max_size=5), max_size=30).map("".join)
    cut = st.integers(0, 60).map(lambda size: render_target(card, gold)[:size])
    return card, gold, draw(noise | cut | st.builds(str.__add__, cut, noise))


@settings(deadline=None)
@given(fuzzed())
def test_any_output_gives_arguments_or_spans_inside_the_text(item):
    card, gold, output = item
    parsed = parse(card, gold, output)
    found = parsed.answer.relations
    assert list(found) == sorted(set(found))
    assert not (parsed.unparseable and (found or parsed.ungrounded))
    for key in {key for r in found for key in (r.head, r.tail)} - set(gold.arguments):
        start, end = map(int, key.split(":"))
        assert 0 <= start < end <= len(gold.text)


@pytest.mark.parametrize(
    ("relations", "target"),
    [
        ([], "none"),
        ([("treats", "D1", "C1")], "treats: aspirin -> fever"),
        ([("causes", "D2", "C1"), ("treats", "D2", "C1")], "treats: heparin -> fever\ncauses: heparin -> fever"),
        ([("treats", "D2", "C1"), ("treats", "D1", "C1")], "treats: aspirin -> fever; heparin -> fever"),
        ([("treats", "D1", "C2")], "treats: aspirin -> ache"),
        ([("treats", "D1", "C3")], "treats: aspirin -> pain @2"),
    ],
)
def test_targets_are_pinned(relations, target):
    gold = example(*relations)
    assert render_target(CARD, gold) == target
    assert parse(CARD, gold, target).answer.relations == tuple(sorted(gold.gold.relations))
    assert candidates(CARD, gold) is None


def test_notation_inside_a_form_is_escaped():
    gold = example(("treats", "a", "b"), arguments={"a": ("T->C; x",), "b": ("two\nlines",)})
    assert render_target(CARD, gold) == r"treats: T\->C\; x -> two\nlines"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("none", Parsed(Answer())),
        ("treats: none", Parsed(Answer())),
        ("", Parsed(Answer(), unparseable=True)),
        ("treats: aspirin", Parsed(Answer(), unparseable=True)),
        ("cures: aspirin -> fever", Parsed(Answer(), unparseable=True)),
        ("treats: asa -> FEVER", Parsed(Answer(relations=(Relation("treats", "D1", "C1"),)))),
        ("treats: ASA -> fever; aspirin -> fever", Parsed(Answer(relations=(Relation("treats", "D1", "C1"),)))),
        ("treats: aspirin -> pain", Parsed(Answer(relations=(Relation("treats", "D1", "C2"),)))),
        ("treats: aspirin -> pain @9", Parsed(Answer(relations=(Relation("treats", "D1", "C2"),)))),
        ("treats: iron -> fever", Parsed(Answer(relations=(Relation("treats", "21:25", "C1"),)))),
        ("treats: hepar -> fever", Parsed(Answer(relations=(Relation("treats", "9:14", "C1"),)))),
        ("treats: HEPAR -> fever", Parsed(Answer(relations=(Relation("treats", "37:42", "C1"),)))),
        ("treats: warfarin -> fever; iron -> rash", Parsed(Answer(), ungrounded=2)),
    ],
)
def test_outputs_are_read(output, expected):
    assert parse(CARD, example(), output) == expected


@pytest.mark.parametrize("relation", [("treats", "D1", "X"), ("treats", "E", "D1"), ("cures", "D1", "C1")])
def test_an_invalid_gold_relation_is_an_error(relation):
    with pytest.raises(InputError, match="Example e1 of task t"):
        render_target(CARD, example(relation, arguments={**ARGUMENTS, "E": ("",)}))
