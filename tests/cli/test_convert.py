"""`mpdd convert`: what `predict` wrote, in other tools' formats, beside the notes it was asked about."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import SECRET


@pytest.fixture
def answers(mpdd, place):
    (place / "more.jsonl").write_text(json.dumps({"id": "7", "note": "Ibuprofen 💊."}) + "\n", encoding="utf-8")
    inputs = ("note.txt", "more.jsonl", "--column", "text=note")
    ran = mpdd("predict", "drugs.safetensors", "short.safetensors", *inputs, "--output", "a.jsonl")
    assert ran.code == 0
    return place / "a.jsonl"


def test_answers_are_written_in_another_format(mpdd, place, answers):
    for to, output in (("brat", "brat"), ("csv", "tables"), ("html", "page.html"), ("fhir", "bundle.json")):
        ran = mpdd("convert", "a.jsonl", "note.txt", "more.jsonl", "--column", "text=note", "--to", to, "--output", output)
        assert (ran.code, ran.out) == (0, f"2 notes: {output}\n")
        assert SECRET not in ran.out + ran.err
    assert (place / "brat" / "note.txt").read_bytes() == (place / "note.txt").read_bytes()
    rows = (place / "tables" / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert sum(row.startswith(("note,", "7,")) for row in rows) >= 2


def test_notes_that_were_not_asked_are_counted(mpdd, place, answers):
    (place / "other.txt").write_text("Not asked.")
    inputs = ("note.txt", "more.jsonl", "other.txt", "--column", "text=note")
    ran = mpdd("convert", "a.jsonl", *inputs, "--to", "prodigy", "--output", "p.jsonl")
    assert ran.out == "2 notes: p.jsonl (1 note without answers left out)\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Something is missing; wanted mpdd convert ANSWERS NOTES... --to FORMAT --output OUT."),
        (("a.jsonl", "note.txt", "--to", "brad", "--output", "x"), "There is no format 'brad' to write; wanted perhaps brat."),
        (("none.jsonl", "note.txt", "--to", "html", "--output", "x"), "There is no such file of answers; found none.jsonl"),
        (("a.jsonl", "note.txt", "--to", "html", "--output", "x"), "Answers without their note; found 1 such notes"),
        (("a.jsonl", "note.txt", "--to", "html", "--output", "note.txt"), "note.txt is there already; found a file"),
        (("a.jsonl", "changed", "--to", "html", "--output", "x"), "do not fit their note|without their note"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(mpdd, place, answers, arguments, message):
    (place / "changed").mkdir()
    (place / "changed" / "note.txt").write_text("other")
    ran = mpdd("convert", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert re.search(message if "|" in message else re.escape(message), ran.err)
    assert ran.err.count("\n") == 1 and SECRET not in ran.err
    assert not (place / "x").exists()


def test_entities_of_a_label_are_conditions_too(mpdd, place, answers):
    (place / "a.jsonl").write_text(
        json.dumps(
            {
                "id": "7",
                "task": "t",
                "entities": [{"label": "Drug", "start": 0, "end": 9, "text": "Ibuprofen", "confidence": 0.5}],
            }
        )
    )
    inputs = ("a.jsonl", "more.jsonl", "--column", "text=note")
    ran = mpdd("convert", *inputs, "--to", "fhir", "--output", "b.json", "--condition", "Drug", "--condition", "Drugs")
    assert (ran.code, ran.err) == (0, "Note: no entity has the label 'Drugs', so that it gave no Condition.\n")
    kinds = [entry["resource"]["resourceType"] for entry in json.loads((place / "b.json").read_text())["entry"]]
    assert kinds == ["Device", "DocumentReference", "Observation", "Condition", "Provenance"]
    ran = mpdd("convert", *inputs, "--to", "brat", "--output", "x", "--condition", "Drug")
    assert ran.code == 2 and ran.err.startswith("mpdd: Conditions are written in FHIR only; found the format brat")


PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8").partition("## What is written")[2]


@pytest.mark.parametrize(("to", "suffix"), re.findall(r"^\| `([a-z-]+)` \| (?:`(\.[a-z]+)`|a folder) \|", PAGE, re.MULTILINE))
def test_the_command_of_the_page_writes_each_format_of_its_table(mpdd, place, to, suffix):
    (command,) = re.findall("^mpdd convert .*$", PAGE, re.MULTILINE)
    _, _, answers, notes, *_ = command.split()
    (place / notes).write_text(json.dumps({"id": "7", "text": "Ibuprofen 💊 helped."}) + "\n", encoding="utf-8")
    drug = {"label": "Drug", "start": 0, "end": 9, "text": "Ibuprofen", "confidence": 0.5}
    (place / answers).write_text(json.dumps({"id": "7", "task": "drugs", "entities": [drug]}) + "\n")
    ran = mpdd(*command.replace("--to brat", f"--to {to}").replace("answers-brat", f"out{suffix}").split()[1:])
    assert (ran.code, ran.out) == (0, f"1 note: out{suffix}\n")
    written = place / f"out{suffix}"
    contents = [path.read_bytes() for path in (written.iterdir() if written.is_dir() else [written])]
    assert written.is_dir() == (not suffix) and (to == "spacy" or any(b"Ibuprofen" in content for content in contents))


def test_the_formats_are_listed(mpdd):
    ran = mpdd("convert", "--list")
    assert ran.code == 0
    assert all(name in ran.out for name in ("brat", "label-studio", "omop", "fhir", "bioc-xml", "spacy"))
