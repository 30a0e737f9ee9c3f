"""Generated texts and spans, written in each export and as tables, read back as they were."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.cards import card_file, formats
from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import Notes
from mpdd.data.task import SPLITS, TaskCard
from mpdd.data.types import parse, render_target
from mpdd.errors import InputError
from tests.conftest import tries
from tests.data.cards.conftest import CARDS as VALUES_OF_CARDS
from tests.data.cards.conftest import SECRET, lines, table
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


# Random tables: every entity and extracted answer is what its offsets give, and every gold answer reads back.

KNOWN = ["fever", "a", "Ä", "💊", "\u2028", "no. Rash", ",", '"', "|;", "\r\n", "[", "x" * 90]
WORDS = st.sampled_from(KNOWN) | st.text(max_size=9)
DRAWN_TEXT = st.lists(WORDS, min_size=1, max_size=90).map(" ".join)


def drawn_spans(text):
    places = st.integers(0, len(text))
    return st.lists(st.tuples(places, places, st.sampled_from(VALUES_OF_CARDS["ner"]["labels"])).map(list), max_size=6)


ENTITIES = DRAWN_TEXT.flatmap(lambda text: st.fixed_dictionaries({"text": st.just(text), "entities": drawn_spans(text)}))


def splits(kind, records, file_format):
    """The splits of a card over these records as train, and one plain record as dev and as test."""
    with tempfile.TemporaryDirectory() as folder:
        path, held = Path(folder) / "own.toml", {"train": records}
        for split in ("dev", "test"):
            held[split] = [{**records[0], "text": f"Held out for {split}.", **({"entities": []} if kind == "ner" else {})}]
            held[split][0] |= {"answer": "Held"} if kind == "extractive" else {}
        for split, rows in held.items():
            content = {"jsonl": lines, "csv": table, "tsv": lambda r: table(r, "\t")}[file_format](rows)
            (path.parent / split).write_bytes(content.encode())
        card = {"name": "own", "instruction": "Do it.", **VALUES_OF_CARDS[kind]}
        path.write_text(tomli_w.dumps({**card, "data": {"format": file_format, **{split: split for split in SPLITS}}}))
        task = card_file.read(path)
        return task.card, task.load(path.parent)


@settings(deadline=None)
@given(st.lists(ENTITIES, min_size=1, max_size=4), st.sampled_from(["jsonl", "csv", "tsv"]))
def test_entities_are_what_their_offsets_give(records, file_format):
    records.append({"text": "Plain.", "entities": [[0, 5, "Tumour"]]})
    card, found = splits("ner", records, file_format)
    texts = [record["text"] for record in records]
    given = {(r["text"][a:b].strip(), label) for r in records for a, b, label in r["entities"] if a < b}
    kept = 0
    for example in found.train:
        assert any(example.text in text for text in texts)
        assert len(example.text) <= 400 or " " not in example.text
        for entity in example.gold.entities:
            assert (example.text[entity.start : entity.end], entity.label) in given
        assert parse(card, example, render_target(card, example)).answer == example.gold
        kept += len(example.gold.entities)
    lost = sum(number for reasons in found.losses.values() for number in reasons.values())
    assert kept + lost == sum(len(r["entities"]) for r in records)


@settings(deadline=None)
@given(DRAWN_TEXT.filter(str.strip), st.data(), st.sampled_from(["jsonl", "csv"]))
def test_extracted_answers_are_pieces_of_their_text(text, data, file_format):
    answer = data.draw(st.sampled_from([text, *text.split()]))
    rows = [{"text": text, "answer": answer}, {"text": "Plain it is.", "answer": "plain"}]
    rows = [{**row, "Question": "What?"} for row in rows]
    card, found = splits("extractive", rows, file_format)
    for example in found.train:
        assert example.gold.text and example.gold.text in example.text
        assert parse(card, example, render_target(card, example)).answer == example.gold
    assert len(found.train) + sum(found.notes.values()) == 2
