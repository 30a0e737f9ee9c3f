"""What is written for annotation tools is read again, by our own readers of their exports, with the same items and offsets."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings

from mpdd.annotate.convert import write
from mpdd.annotate.writers import formats, writer
from mpdd.annotate.writers.base import without_spaces
from mpdd.data.cards.labelled import Naming, read_labelled
from tests.annotate.strategies import LABELS, NER, RE, RELATIONS, batches, entities_of, relations_of
from tests.conftest import tries

# A label without white space stands for ours in brat; [data.labels] of a card says so.
NAMES = {name: label for label, name in (without_spaces(LABELS) | without_spaces(RELATIONS)).items() if name != label}


def accept_predictions(path: Path) -> Path:
    """Do what a person does in Label Studio who accepts every prediction."""
    tasks = json.loads((path / "tasks.json").read_text(encoding="utf-8"))
    for task in tasks:
        task["annotations"] = [{"id": 1, "result": task.pop("predictions")[0]["result"]}]
    (path / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    return path / "tasks.json"


def accept_examples(path: Path) -> Path:
    """Do what a person does in Prodigy who accepts every example."""
    examples = [json.loads(line) | {"answer": "accept"} for line in path.read_text(encoding="utf-8").split("\n") if line]
    path.write_text("".join(json.dumps(example) + "\n" for example in examples), encoding="utf-8")
    return path


FORMATS = {
    "bioc-json": ("out.json", lambda path: path, ""),
    "bioc-xml": ("out.xml", lambda path: path, ""),
    "brat": ("out", lambda path: path, ""),
    "label-studio": ("out", accept_predictions, ""),
    "prodigy": ("out.jsonl", accept_examples, ""),
    "doccano": ("out.jsonl", lambda path: path, ""),
    "spacy": ("out.spacy", lambda path: path, ""),
    "inception": ("out", lambda path: path, ""),
}
NEEDS = {"spacy": "spacy", "inception": "cassis"}


@pytest.mark.parametrize("to", FORMATS)
@given(notes=batches())
@settings(max_examples=tries(25), deadline=None)
def test_entities_and_relations_come_back_as_they_were(to, notes):
    assume(any(note.entities for note in notes))  # files without one item of a card are refused
    if to in NEEDS:
        pytest.importorskip(NEEDS[to])
    name, accepted, file_format = FORMATS[to]
    with TemporaryDirectory() as folder:
        output = Path(folder) / name
        write(notes, output, to)
        path = accepted(output)
        naming = Naming(file_format, labels=NAMES)
        entities, _ = read_labelled(NER, [path], naming)
        relations, _ = read_labelled(RE, [path], naming)
    assert [read_entities(example) for example in entities] == [entities_of(note) for note in notes]
    assert [read_relations(example) for example in relations] == [relations_of(note) for note in notes]


def read_entities(example):
    return {(e.label, example.offset + e.start, example.offset + e.end) for e in example.gold.entities}


def read_relations(example):
    forms = {key: " ".join(words[0].split()) for key, words in example.arguments.items()}
    return {(r.label, forms[r.head], forms[r.tail]) for r in example.gold.relations}


# docs/formats.md lists every format that is written, with what it does not hold.

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_the_page_lists_what_can_be_written():
    table = PAGE.partition("## What is written")[2]
    for name in formats():
        of = writer(name)
        output = f"`{of.suffix}`" if of.suffix else "a folder"
        assert f"| `{name}` | {output} | {of.title} | {of.lost} |" in table
