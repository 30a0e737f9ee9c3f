"""Exports in which any part is missing or something else: examples and counts, or one sentence without a text."""

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
from tests.data.cards.exported import WRITERS, Annotated

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
