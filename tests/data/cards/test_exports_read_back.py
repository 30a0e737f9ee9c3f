"""Generated texts and spans, written in each export by writers of our own, read back as they were."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.cards import formats
from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import Notes
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from tests.conftest import tries
from tests.data.cards.conftest import SECRET
from tests.data.cards.exported import TOKEN_WRITERS, WRITERS, Annotated, write

LABELS = ("Drug", "Problem")
NER = Layout(TaskCard("own", "ner", "Do it.", labels=LABELS))
RE = Layout(TaskCard("own", "re", "Do it.", labels=("causes", "treats")))
BETWEEN = [" ", "\r\n", "\n", " 😢 ", ", ", " \u00a0", " é ", '"', " 心💊 ", "\t"]
MOST_CHARS = 300  # below the length of a window


@st.composite
def annotated(draw, between=BETWEEN, fillers=("ward", "😢😢", "Ä", "x,y")):
    """A text of words that are told apart by their numbers, some of them annotated, with relations between these."""
    words = [f"{draw(st.sampled_from(('fever', 'Ödem', '💊pill')))}{n}" for n in range(draw(st.integers(1, 6)))]
    text, spans = draw(st.sampled_from(fillers)), []
    for word in words:
        text += draw(st.sampled_from(between))
        if draw(st.booleans()):
            spans.append((len(text), len(text) + len(word), draw(st.sampled_from(LABELS))))
        text += word
    ends = st.integers(0, max(len(spans) - 1, 0))
    pairs = draw(st.lists(st.tuples(st.sampled_from(("causes", "treats")), ends, ends), max_size=3)) if len(spans) > 1 else []
    return Annotated(text[:MOST_CHARS], tuple(spans), tuple((r, h, t) for r, h, t in dict.fromkeys(pairs) if h != t))


def read(name, documents, layout=NER):
    """The examples of an export in a file that nothing describes, and the notes."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Notes(strict=True)
        return formats.read("", layout, "c", [write(Path(folder), name, documents)], notes), notes.counts


def spans(example):
    return tuple(sorted((e.start + example.offset, e.end + example.offset, e.label) for e in example.gold.entities))


@settings(max_examples=tries(25), deadline=None)
@given(st.lists(annotated(), min_size=1, max_size=3))
@pytest.mark.parametrize("name", WRITERS)
def test_spans_read_back_as_they_were(name, documents):
    examples, notes = read(name, documents)
    assert [spans(example) for example in examples] == [document.spans for document in documents]
    for example, document in zip(examples, documents, strict=True):
        if not name.startswith(("bigbio", "bioc")):  # read with a line's end between passages, whatever stood there
            assert example.text == document.text.strip()
        for entity in example.gold.entities:
            start = entity.start + example.offset
            assert example.text[entity.start : entity.end] == document.text[start : entity.end + example.offset]
    if name != "plain":
        assert any("recognised as" in note for note in notes)


@settings(max_examples=tries(25), deadline=None)
@given(st.lists(annotated(between=(" ", " 😢 ", " é ", " 心 "), fillers=("ward", "Ä")), min_size=1, max_size=3))
@pytest.mark.parametrize("name", TOKEN_WRITERS)
def test_spans_of_words_read_back_as_they_were(name, documents):
    if not any(document.spans for document in documents):
        documents = [*documents, Annotated("ward fever", ((5, 10, "Drug"),))]
    examples, _ = read(name, documents)
    assert [(example.text, spans(example)) for example in examples] == [(d.text, d.spans) for d in documents]


@settings(max_examples=tries(25), deadline=None)
@given(st.lists(annotated(), min_size=1, max_size=3))
@pytest.mark.parametrize("name", ["label-studio", "doccano-relations", "prodigy", "bigbio", "bioc", "bioc-utf8"])
def test_relations_read_back_with_their_direction(name, documents):
    examples, _ = read(name, documents, RE)
    for example, document in zip(examples, documents, strict=True):
        words = [document.text[start:end] for start, end, _ in document.spans]
        wanted = {(label, words[head], words[tail]) for label, head, tail in document.relations}
        found = {(r.label, example.arguments[r.head][0], example.arguments[r.tail][0]) for r in example.gold.relations}
        assert found == wanted


# Exports in which any part is missing or something else: examples and counts, or one sentence without a text.

TEXT = f"Rash after amoxicillin, {SECRET} 😢."
DOCUMENTS = [Annotated(f"{TEXT} {n}", ((0, 4, "Problem"), (11, 22, "Drug")), (("causes", 1, 0),)) for n in range(3)]
CARDS = [
    TaskCard("own", "ner", "Do it.", labels=("Drug", "Problem")),
    TaskCard("own", "re", "Do it.", labels=("causes",)),
    TaskCard("own", "classification", "Do it.", labels=("Drug", "Problem")),
    TaskCard("own", "qa", "Do it.", fields=("Question",), form="extractive"),
]
OTHER = st.sampled_from([None, 3, -1, 2.5, True, "x", "[", [], {}, [[]], [None], {"a": None}, [3, 4, 5], "\ud800", 10**30])
PLACES = st.lists(st.integers(0, 50), min_size=1, max_size=7)


def damaged(value, places, other):
    """A copy in which the part that the places lead to is something else, or is missing where `other` is missing."""
    value = copy.deepcopy(value)
    part, above, key = value, None, None
    for place in places:
        if not isinstance(part, dict | list) or not part:
            break
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        above, key = part, keys[place % len(keys)]
        part = above[key]
    if above is None:
        return other
    if other == "missing":
        above.pop(key)
    else:
        above[key] = other
    return value


@settings(max_examples=tries(40), deadline=None)
@given(places=PLACES, other=OTHER | st.just("missing"), card=st.sampled_from(CARDS), strict=st.booleans())
@pytest.mark.parametrize("name", [name for name, (file, _) in WRITERS.items() if file.endswith((".json", ".jsonl"))])
def test_a_damaged_export_is_read_or_refused_in_one_sentence(name, places, other, card, strict):
    file, writer = WRITERS[name]
    content = writer(DOCUMENTS).decode()
    if file.endswith(".json"):
        content = json.dumps(damaged(json.loads(content), places, other))
    else:
        rows = damaged([json.loads(line) for line in content.splitlines()], places, other)
        content = "".join(json.dumps(row) + "\n" for row in (rows if isinstance(rows, list) else [rows]))
    with tempfile.TemporaryDirectory() as folder:
        path, notes = Path(folder) / file, Notes(strict)
        path.write_text(content)
        try:
            examples = formats.read("", Layout(card), "c", [path], notes)
        except InputError as error:
            assert SECRET not in str(error)
            return
    assert all(entity.end <= len(example.text) for example in examples for entity in example.gold.entities)
    assert SECRET not in " ".join(notes.counts)
