"""Outputs of pieces that are right, half right and garbage, for every type and form; and answers in free words."""

import re
import unicodedata
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import FORMS, Answer, Entity, Example, Parsed, Relation, TaskCard, TaskType
from mpdd.data.types import candidates, parse, render_input, render_target
from mpdd.data.types.spans import read_lines, read_mention, split
from mpdd.errors import InputError

TEXT = "Aspirin (ASA) 100 mg; aspirin\nhelped. Straße: İbuprofen -> pain, chest\u00a0pain @2 none 💊 \\n fever"
DRUGS, EFFECTS = [(0, 7), (9, 12), (22, 29)], [(59, 63), (65, 75)]
LABELS = ("Drug", "Side: effect", "dose; form", "drug use")
FOUND = tuple(sorted([*(Entity(*span, "Drug") for span in DRUGS), *(Entity(*span, "Side: effect") for span in EFFECTS)]))
ARGUMENTS = {"0:7": ("Aspirin", "ASA"), "C1": ("pain", "ache"), "C2": ("pain",)}
PAIRS = (Relation("Drug", "0:7", "C2"), Relation("drug use", "C1", "0:7"))


def gold_of(kind, form):
    """A card and an example with a gold answer."""
    card = TaskCard("t", kind, "Do it.", labels=() if kind in ("qa", "summarization") else LABELS, form=form)
    gold = {
        "ner": Answer(entities=FOUND),
        "re": Answer(relations=PAIRS),
        "qa": Answer(choice=1) if card.form == "choice" else Answer(text=TEXT[22:37]),
        "nli": Answer(choice=1),
        "summarization": Answer(text="Aspirin helped."),
        "classification": Answer(choice=1) if card.form == "single" else Answer(labels=(0, 1, 2)),
    }[kind]
    choices = ("aspirin", "Aspirin ", "chest pain", "none") if card.form == "choice" else ()
    return card, Example("e", "d", TEXT, gold, choices=choices, arguments=ARGUMENTS if kind == "re" else {})


KINDS = [(kind, form) for kind in get_args(TaskType) for form in FORMS.get(kind, ("",))]
GARBAGE = ["\n", ": ", ":", ";", "; ", " -> ", "->", " @2", " @0", " @99999999999999999999", "none", "None.", "\\", "\\u00",
           "\\n", "\\;", "\x00", "\u2028", "\ud800", "(B)", "B.", "E", "zzz", "💊", "ß", "SS", "i\u0307", "\t", " "]  # fmt: skip
PLACES = st.tuples(st.integers(0, len(TEXT)), st.integers(1, 20)).map(lambda place: TEXT[place[0] : sum(place)])
NAMES = st.sampled_from([*LABELS, "Side\\: effect", "dose\\; form", *sum(ARGUMENTS.values(), ()), "aspirin", "chest pain"])
PIECES = st.one_of(
    st.sampled_from(GARBAGE),
    NAMES,
    NAMES.map(str.upper),
    PLACES,
    PLACES.map(str.swapcase),
    st.builds("\n{}: {}; {}".format, NAMES, PLACES, PLACES),
    st.builds("\n{}: {} -> {}".format, NAMES, PLACES, NAMES),
    st.text(max_size=6),
)


@st.composite
def outputs(draw, target):
    """A piece of the right answer, before, after or among others."""
    start = draw(st.integers(0, len(target)))
    kept = target[start : draw(st.integers(start, len(target)))] if draw(st.booleans()) else ""
    before, after = (draw(st.lists(PIECES, max_size=12).map("".join)) for _ in range(2))
    return before + kept + after


def same(words, others):
    """Whether the words are among the others but for case, spacing and typographic forms."""
    return any(re.fullmatch(re.escape(other), words, re.IGNORECASE) or loose(other) == loose(words) for other in others)


def loose(words):
    """The letters alone, in one case."""
    return "".join(unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", words).casefold()).split())


def check(card, example, output):
    parsed = parse(card, example, output)
    answer, count = parsed.answer, len(example.choices or card.labels)
    assert parse(card, example, output) == parsed
    items = [*answer.entities, *answer.relations, *answer.labels, answer.choice, answer.text]
    assert not (parsed.unparseable and (parsed.ungrounded or any(item not in (None, "") for item in items)))
    assert answer.text in ("", output.strip())
    assert all(0 <= index < count for index in [*answer.labels, *([] if answer.choice is None else [answer.choice])])
    assert {item.label for item in (*answer.entities, *answer.relations)} <= set(card.labels)
    raws = [raw for _, raw in read_lines(card.labels, output)[0]]
    named = [read_mention(part)[0] for raw in raws for part in (split(raw, "->", 1) if card.type == "re" else [raw])]
    spans = [(entity.start, entity.end) for entity in answer.entities]
    for key in {key for relation in answer.relations for key in (relation.head, relation.tail)}:
        if key in example.arguments:
            assert any(" ".join(form.casefold().split()) == " ".join(name.casefold().split())
                       for form in example.arguments[key] for name in named)  # fmt: skip
        else:
            spans.append(tuple(map(int, key.split(":"))))
    for start, end in spans:
        assert 0 <= start < end <= len(TEXT)
        assert same(TEXT[start:end], named)


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_whatever_is_written_only_what_the_example_holds_comes_back(kind, form):
    card, example = gold_of(kind, form)
    target = render_target(card, example)
    assert parse(card, example, target).answer == example.gold

    @settings(deadline=None)
    @given(outputs(target))
    def fuzz(output):
        check(card, example, output)

    fuzz()


def test_the_gold_of_this_file_is_where_it_says():
    assert [TEXT[start:end] for start, end in (*DRUGS, *EFFECTS)] == ["Aspirin", "ASA", "aspirin", "pain", "chest\u00a0pain"]


# Summaries and free answers, and the dispatch on the type of a card.

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
