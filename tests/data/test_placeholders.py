"""Placeholders of de-identified notes stay whole in windows, cuts, targets, predictions and grounded answers."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.annotate.answers import types
from mpdd.annotate.answers.highlights import note_as_html
from mpdd.data.batch import encode_input
from mpdd.data.placeholders import Placeholders, last_edge
from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.data.types import parse, render_input, render_target
from mpdd.data.windows import sentences, windows
from mpdd.inference.decoding.answers import grammar_of
from mpdd.inference.decoding.note import Note
from tests.conftest import tries
from tests.inference.decoding.test_grammar import written

FORMS = ("[**Name**]", "[**2151-7-16**]", "___", "XXXX", "<DATE>", "**NAME[Smith, J.]", "[**Hospital 18. A\nWing; 2: B**]")
CARD = TaskCard("t", "ner", "Find.", labels=("Name", "DATE", "Problem"))
RE = TaskCard("t", "re", "Find.", labels=("treats",))
EXTRACT = TaskCard("t", "qa", "Answer.", form="extractive")

inner = st.text(st.sampled_from("ab1 .;:@->\n\\(A"), max_size=12)
runs = st.sampled_from(["_", "X"]).flatmap(lambda sign: st.integers(4, 9).map(sign.__mul__))
forms = st.sampled_from(FORMS) | inner.map("[**{}**]".format) | runs
words = st.sampled_from(["Name", "DATE", "date", "2151-7-16", "pain", "Hospital", "Dr.", "Seen.", "A", "x", "**", "<", "[", "。"])
gaps = st.sampled_from([" ", " ", "\n", ". ", "; ", ", ", "("])
notes = st.lists(st.tuples(forms | words, gaps).map("".join), min_size=1, max_size=9).map("".join)


def example(text, *entities):
    return Example("e", "d", text, Answer(entities=tuple(entities)))


def cut(text, spans):
    """The placeholders that one of the spans begins or ends within."""
    return [p for p in Placeholders(text).spans for edges in spans for edge in edges if p[0] < edge < p[1]]


def whole_spans(text):
    edges = [at for at in range(len(text) + 1) if Placeholders(text).around(at) is None]
    return [(start, end) for start in edges for end in edges if start < end and text[start:end].strip()]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_whole(form):
    text = f"Seen by {form}, then home. {form}"
    assert [text[start:end] for start, end in Placeholders(text).spans] == [form, form]


@pytest.mark.parametrize(
    "text", ["a ** b **", "**WARFARIN** 5 mg", "p < 0.05 and q > 3", "<b>", "XX", "__", "aXXXX", "[**open", "[CI]"]
)
def test_other_words_are_no_placeholders(text):
    assert Placeholders(text).spans == []


def test_text_full_of_openings_takes_no_time():
    began = time.process_time()
    for text in ("[**" * 20_000, "[** " + "* " * 50_000, "X" * 50_000 + "a", "<A" * 50_000, "**A[" * 20_000):
        Placeholders(text)
    assert time.process_time() - began < 1


@settings(deadline=None)
@given(notes, st.integers(1, 60))
def test_no_sentence_and_no_window_ends_within_a_placeholder(text, max_chars):
    assert cut(text, sentences(text)) == []
    found = windows(text, max_chars)
    assert cut(text, found) == []
    between = zip([0, *(end for _, end in found)], [*(start for start, _ in found), len(text)], strict=True)
    assert not any(text[start:end].strip() for start, end in between)


def test_a_text_without_spaces_is_cut_around_its_placeholders(monkeypatch):
    monkeypatch.setattr("mpdd.data.windows.LONGEST_WORD", 0)
    text = "患者[**Hospital**]入院[**Name**]治療"
    found = [text[start:end] for start, end in windows(text, 8)]
    assert "".join(found) == text and cut(text, windows(text, 8)) == []


@settings(deadline=None)
@given(notes, st.data())
def test_gold_reads_back_with_its_labels_and_names_placeholders_whole(text, data):
    """Also gold that begins or ends within a placeholder, as annotators may have set it."""
    spans = [(start, end) for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
    chosen = data.draw(st.lists(st.tuples(st.sampled_from(spans), st.sampled_from(CARD.labels)), max_size=5, unique=True))
    gold = example(text, *(Entity(*span, label) for span, label in chosen))
    parsed = parse(CARD, gold, render_target(CARD, gold))
    assert parsed.answer.entities == tuple(sorted(set(gold.gold.entities))) and parsed.ungrounded == 0
    assert text in render_input(CARD, gold)


@pytest.mark.parametrize("form", FORMS)
def test_a_placeholder_is_an_entity_of_no_other_label(form):
    text = f"Name and DATE: {form} was seen for pain. {form} is 2151-7-16."
    first = text.index(form)
    gold = example(text, Entity(first, first + len(form), "DATE"), Entity(text.index("pain"), text.index("pain") + 4, "Problem"))
    assert parse(CARD, gold, render_target(CARD, gold)).answer.entities == tuple(sorted(gold.gold.entities))
    without = example(text, Entity(0, 4, "Name"))
    assert parse(CARD, without, render_target(CARD, without)).answer.entities == (Entity(0, 4, "Name"),)


def test_words_within_a_placeholder_are_not_what_a_model_means():
    text = "[**Name**] on <DATE>, [**2151-7-16**]. Name: unknown."
    read = parse(CARD, example(text), "Name: Name; **]\nDATE: DATE; 2151-7-16; <DATE>")
    assert [(text[e.start : e.end], e.start) for e in read.answer.entities] == [("<DATE>", 14), ("Name", 39)]
    assert read.ungrounded == 3
    pair = parse(RE, example(text), "treats: 2151-7-16 -> unknown; [**2151-7-16**] -> unknown")
    assert len(pair.answer.relations) == 1 and pair.ungrounded == 1


@settings(deadline=None)
@given(notes, st.data())
def test_no_predicted_entity_cuts_a_placeholder(text, data):
    pieces = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(lambda ends: text[min(ends) : max(ends)])
    labels = st.sampled_from(CARD.labels)
    lines = st.builds(lambda label, items: f"{label}: {'; '.join(items)}", labels, st.lists(pieces, max_size=4))
    output = "\n".join(data.draw(st.lists(lines, max_size=3))).replace("@0", "@1")  # with a zero in front, only gold is written
    assert cut(text, [(e.start, e.end) for e in parse(CARD, example(text), output).answer.entities]) == []


@settings(max_examples=tries(60), deadline=None)
@given(notes, st.integers(0, 10**6))
@pytest.mark.parametrize("card", [CARD, EXTRACT], ids=["ner", "extractive"])
def test_grounded_answers_name_placeholders_whole(card, text, seed):
    answer = written(grammar_of(card, Note(text), True), random.Random(seed)) if Note(text).starts else None
    edges = [at for at in range(len(text) + 1) if Note(text).bounds[at]]
    assert not any(Placeholders(text).around(at) for at in edges)
    if answer is not None:
        parsed = parse(card, example(text), answer.decode())
        assert parsed.ungrounded == 0 and cut(text, [(e.start, e.end) for e in parsed.answer.entities]) == []


@settings(max_examples=tries(40), deadline=None)
@given(notes, st.integers(1, 60))
def test_a_text_that_does_not_fit_is_cut_before_a_placeholder(tiny, text, surplus):
    whole = encode_input(tiny.tokenizer, CARD, example(text), 10**6)
    least = len(encode_input(tiny.tokenizer, CARD, example(""), 10**6).input_ids) + 4
    room = max(least, len(whole.input_ids) - surplus)
    kept = len(text) - encode_input(tiny.tokenizer, CARD, example(text), room).cut
    assert last_edge(text, kept) == kept


def test_pages_show_placeholders_as_they_stand():
    text = "Seen [**2151-7-16**] or <DATE>, ___ by XXXX."
    spans = [(text.index(form), text.index(form) + len(form)) for form in ("[**2151-7-16**]", "<DATE>", "___", "XXXX")]
    entities = tuple(types.Entity("Date", start, end, text[start:end]) for start, end in spans)
    html = note_as_html(types.AnnotatedNote("n", text, (types.TaskAnswer("t", "entities", entities),)))
    for start, end in spans:
        shown = text[start:end].replace("<", "&lt;").replace(">", "&gt;")
        assert f">{shown}<small>Date</small></mark>" in html
    assert "<DATE>" not in html
