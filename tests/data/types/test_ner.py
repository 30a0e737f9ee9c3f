"""Entity targets: pinned strings, exact round trips, and outputs of any kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Entity, Example, Parsed, TaskCard
from mpdd.data.types import candidates, parse, render_input, render_target, target_of
from mpdd.errors import InputError

CARD = TaskCard("t", "ner", "Find the entities.", labels=("Drug", "Disease"))


def example(text, *spans):
    return Example("e1", "d1", text, Answer(entities=tuple(Entity(*span) for span in spans)))


def named(text, output, card=CARD):
    parsed = parse(card, example(text), output)
    return [(e.start, e.end, e.label) for e in parsed.answer.entities]


TEXTS = st.text(alphabet=list("aabnoe ;:@12\\\n\t->"), min_size=1, max_size=30) | st.text(min_size=1, max_size=30)
LABELS = st.lists(TEXTS | st.sampled_from(["", "none", "Drug", "drug", "A:B", " a "]), min_size=1, unique=True)


@st.composite
def items(draw):
    card = TaskCard("t", "ner", "Find.", labels=tuple(draw(LABELS)))
    text = draw(TEXTS)
    starts = st.integers(0, len(text) - 1)
    spans = starts.flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, len(text))))
    entities = draw(st.lists(st.builds(lambda span, label: Entity(*span, label), spans, st.sampled_from(card.labels))))
    return card, Example("e1", "d1", text, Answer(entities=tuple(entities)))


@settings(deadline=None)
@given(items(), st.sampled_from(["", " ", "\n", " \t\n"]))
def test_gold_reads_back_exactly(item, space):
    card, gold = item
    output = space + render_target(card, gold) + space
    expected = tuple(sorted(set(gold.gold.entities)))
    assert parse(card, gold, output) == Parsed(Answer(entities=expected))


@st.composite
def fuzzed(draw):
    card, gold = draw(items())
    pieces = ["\n", ": ", ":", ";", "; ", " @2", " @0", " @99999999999999999999", "none", "\\", "\\u00", "\\n", "->"]
    words = st.sampled_from([*pieces, *card.labels, gold.text, gold.text[:2], gold.text.upper(), "zzz"])
    noise = st.lists(words | st.text(max_size=5), max_size=30).map("".join)
    cut = st.integers(0, 60).map(lambda size: render_target(card, gold)[:size])
    return card, gold, draw(noise | cut | st.builds(str.__add__, cut, noise))


@settings(deadline=None)
@given(fuzzed())
def test_any_output_gives_spans_inside_the_text(item):
    card, gold, output = item
    parsed = parse(card, gold, output)
    found = parsed.answer.entities
    assert all(0 <= e.start < e.end <= len(gold.text) and e.label in card.labels for e in found)
    assert list(found) == sorted(set(found))
    assert not (parsed.unparseable and (found or parsed.ungrounded))
    again = target_of(card, gold, parsed.answer)
    assert parse(card, gold, again).answer == parsed.answer


@pytest.mark.parametrize(
    ("text", "spans", "target"),
    [
        ("No complaint.", [], "none"),
        ("Fever after aspirin.", [(12, 19, "Drug"), (0, 5, "Disease")], "Drug: aspirin\nDisease: Fever"),
        ("pain and pain", [(0, 4, "Disease"), (9, 13, "Disease")], "Disease: pain; pain"),
        ("pain and pain", [(9, 13, "Disease")], "Disease: pain @2"),
        ("an MI in the family: aMI", [(22, 24, "Disease")], "Disease: MI @2"),
        ("painful pain", [(8, 12, "Disease")], "Disease: pain"),
        ("lung cancer", [(0, 11, "Disease"), (5, 11, "Disease")], "Disease: lung cancer; cancer"),
        ("lung cancer", [(0, 4, "Disease"), (0, 11, "Disease")], "Disease: lung cancer; lung"),
        ("heart\nfailure; acute", [(0, 20, "Disease")], r"Disease: heart\nfailure\; acute"),
        ("none", [(0, 4, "Drug")], "Drug: none @1"),
        ("IL @2", [(0, 5, "Drug")], r"Drug: IL \@2"),
    ],
)
def test_targets_are_pinned(text, spans, target):
    gold = example(text, *spans)
    assert render_target(CARD, gold) == target
    assert parse(CARD, gold, target).answer.entities == tuple(sorted(gold.gold.entities))


def test_input_is_pinned():
    gold = Example("e1", "d1", "Fever.", Answer(), fields=(("section", "HPI"), ("noteType", "ICU")))
    lines = ["Find the entities.", "Labels: Drug; Disease", "Text: Fever.", "Section: HPI", "NoteType: ICU", "Answer:"]
    assert render_input(CARD, gold) == "\n".join(lines)
    assert candidates(CARD, gold) is None


def test_an_empty_text_has_no_line():
    assert render_input(CARD, example("")) == "Find the entities.\nLabels: Drug; Disease\nAnswer:"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("none", Parsed(Answer())),
        ("None.", Parsed(Answer())),
        ("Drug: none", Parsed(Answer())),
        ("", Parsed(Answer(), unparseable=True)),
        (" \n ", Parsed(Answer(), unparseable=True)),
        ("I cannot help.", Parsed(Answer(), unparseable=True)),
        ("Gene: pain", Parsed(Answer(), unparseable=True)),
        ("Drug:", Parsed(Answer(), unparseable=True)),
        ("Drug: heparin; warfarin", Parsed(Answer(), ungrounded=2)),
        ("disease: PAIN", Parsed(Answer(entities=(Entity(0, 4, "Disease"),)))),
        ("Disease: pain; pain; pain", Parsed(Answer(entities=(Entity(0, 4, "Disease"), Entity(9, 13, "Disease"))))),
        ("Disease: pain @7", Parsed(Answer(entities=(Entity(0, 4, "Disease"),)))),
    ],
)
def test_outputs_are_read(output, expected):
    assert parse(CARD, example("pain and pain"), output) == expected


def test_a_mention_before_the_cursor_is_found_from_the_beginning():
    assert named("fever then pain", "Disease: pain; fever") == [(0, 5, "Disease"), (11, 15, "Disease")]


def test_each_label_has_its_own_cursor():
    assert named("a b a", "Drug: b; a\nDisease: a") == [(0, 1, "Disease"), (2, 3, "Drug"), (4, 5, "Drug")]


def test_case_is_ignored_without_moving_offsets():
    assert named("İ straße FEVER", "Disease: fever") == [(9, 14, "Disease")]


@pytest.mark.parametrize("span", [(0, 0, "Drug"), (-1, 2, "Drug"), (0, 99, "Drug"), (0, 2, "Gene")])
def test_an_invalid_gold_entity_is_an_error_without_note_text(span):
    with pytest.raises(InputError, match="Example e1 of task t") as caught:
        render_target(CARD, example("secret", span))
    assert "secret" not in str(caught.value)
