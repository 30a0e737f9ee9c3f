"""`mpdd evaluate`: scores on labelled files, and no text of them unless it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli_w

from tests.cli.conftest import SECRET

ROWS = [
    {"id": "a", "text": f"{SECRET} takes aspirin.", "entities": [[22, 29, "Drug"]]},
    {"id": "b", "text": "No drugs at all.", "entities": []},
]


@pytest.fixture
def labelled(place):
    (place / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return place / "gold.jsonl"


def test_scores_have_intervals_and_labels(mpdd, labelled):
    ran = mpdd("evaluate", "drugs.safetensors", labelled)
    assert ran.code == 0
    assert "drugs: 2 examples of 2 documents" in ran.out and "strict f1" in ran.out and "Drug" in ran.out
    assert SECRET not in ran.out + ran.err
    ran = mpdd("evaluate", "drugs.safetensors", labelled, "--json")
    found = json.loads(ran.out)
    assert found["metrics"]["strict_f1"].keys() == {"value", "low", "high"}
    assert found["labels"]["Drug"]["gold"] == 1
    assert SECRET not in ran.out
    missed = [error for error in found["errors"] if error["error"] != "spurious"]
    assert [(error["example"].split("@")[0][-1:], error["start"], error["end"]) for error in missed] == [("a", 22, 29)]


def test_text_is_shown_where_it_is_asked_for(mpdd, labelled):
    ran = mpdd("evaluate", "drugs.safetensors", labelled, "--show-text")
    assert ran.code == 0 and "'aspirin'" in ran.out and SECRET in ran.out


def test_a_card_gives_its_test_split(mpdd, place, labelled):
    card = {"name": "own", "type": "ner", "instruction": "List.", "labels": ["Drug"]}
    data = {"train": "train.jsonl", "dev": "dev.jsonl", "test": "gold.jsonl"}
    for split in ("train", "dev"):
        row = {"text": f"Of {split}: aspirin.", "entities": [{"start": len(split) + 5, "end": len(split) + 12, "label": "Drug"}]}
        (place / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    (place / "own.toml").write_text(tomli_w.dumps(card | {"data": data}))
    ran = mpdd("evaluate", "drugs.safetensors", "own.toml", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["examples"] == 2
    (place / "own.toml").write_text(tomli_w.dumps(card | {"labels": ["Pill"], "data": data}))
    ran = mpdd("evaluate", "drugs.safetensors", "own.toml")
    assert ran.code == 2 and ran.err.count("\n") == 1


def test_other_names_of_columns_and_labels_are_taken(mpdd, place):
    rows = [{"words": row["text"], "found": [[s, e, "medicine"] for s, e, _ in row["entities"]]} for row in ROWS]
    (place / "theirs.json").write_text(json.dumps(rows))
    named = ("--column", "text=words", "--column", "entities=found", "--value", "medicine=Drug", "--format", "table")
    ran = mpdd("evaluate", "drugs.safetensors", "theirs.json", *named, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["labels"]["Drug"]["gold"] == 1
    ran = mpdd("evaluate", "drugs.safetensors", "theirs.json", *named, "--value", "tablet=Pill")
    assert ran.code == 2 and ran.err.endswith(
        "--value names a label that the task does not have; found Pill; wanted one of Drug.\n"
    )


def test_a_table_without_names_and_labels_in_any_case(mpdd, place):
    cells = [
        '"{}","{}"'.format(row["text"], json.dumps([[s, e, "DRUG"] for s, e, _ in row["entities"]]).replace('"', '""'))
        for row in ROWS
    ]
    (place / "theirs.csv").write_text("".join(f"{line}\n" for line in cells))
    named = ("--headerless", "--column", "text=1", "--column", "entities=2", "--json")
    assert "or --ignore-case, labels may be in any case" in mpdd("evaluate", "drugs.safetensors", "theirs.csv", *named).err
    ran = mpdd("evaluate", "drugs.safetensors", "theirs.csv", *named, "--ignore-case")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["labels"]["Drug"]["gold"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("drugs.safetensors", "none.jsonl"), "There is no such file of labelled data; found none.jsonl"),
        (("meta.safetensors", "gold.jsonl"), "meta.safetensors is not for one task"),
        (("none.safetensors", "gold.jsonl"), "There is no such prompt file"),
        (("packs", "gold.jsonl"), "The folder packs holds no task prompts; wanted at least one .safetensors file of a task"),
        (("bc5cdr", "gold.jsonl"), "No prompt for the task bc5cdr comes with the package; wanted perhaps bc5cdr_ner"),
        (("drugs.safetensors", "gold.jsonl", "--format", "word"), "Unknown format; found word"),
        (("drugs.safetensors", "gold.jsonl", "--column", "text"), "--column names two things"),
        (("drugs.safetensors", "own.toml", "--format", "csv"), "A card says itself how its files are read"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(mpdd, labelled, arguments, message):
    Path("packs").mkdir()
    ran = mpdd("evaluate", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err and ran.err.count("\n") == 1 and SECRET not in ran.err
