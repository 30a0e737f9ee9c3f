"""`mpdd predict` as users give it notes: what it takes, what it says of a mistake, and what it never overwrites."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from mpdd.inference.decoding import steering
from tests.cases import CASES
from tests.cli.conftest import SECRET
from tests.cli.test_bad_input import everything, refused  # noqa: F401  a fixture

INPUTS = CASES / "inputs"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# What it takes


@pytest.mark.parametrize(
    ("inputs", "ids"),
    [
        ([INPUTS / "notes"], ["a", "b"]),
        ([INPUTS / "notes" / "a.txt", INPUTS / "notes" / "b.txt"], ["a", "b"]),
        ([INPUTS / "n.json"], ["1"]),
        ([INPUTS / "n.tsv"], ["1"]),
        ([INPUTS / "semi.csv"], ["1"]),
        ([INPUTS / "NOTEEVENTS.csv", "--column", "text=TEXT", "--column", "id=ROW_ID"], ["1"]),
        ([INPUTS / "NOTEEVENTS.csv.gz", "--column", "text=TEXT"], ["1"]),
        ([INPUTS / "n.json", INPUTS / "notes"], ["1", "a", "b"]),
    ],
)
def test_notes_are_taken_as_users_have_them(mpdd, place, inputs, ids):
    ran = mpdd("predict", "short.safetensors", *inputs, "--output", "a.jsonl")
    assert ran.code == 0
    assert [answer["id"] for answer in lines(place / "a.jsonl")] == ids


@pytest.mark.parametrize("name", ["n.csv", "n.jsonl", "n.parquet"])
def test_an_empty_text_is_answered_empty_and_counted(mpdd, place, name):
    ran = mpdd("predict", "short.safetensors", "drugs.safetensors", CASES / "rows" / name, "--output", "a.jsonl")
    assert ran.code == 0 and "Notes without text, answered empty: 1 of 3." in ran.err
    answers = lines(place / "a.jsonl")
    assert [answer["id"] for answer in answers] == ["1", "1", "2", "2", "3", "3"]
    assert (answers[2]["summary"], answers[3]["entities"]) == ("", [])
    ran = mpdd("predict", "short.safetensors", CASES / "rows" / name, "--json")
    assert len(json.loads(ran.out)) == 3 and "answered empty: 1 of 3" in ran.err


def test_what_is_left_out_of_a_folder_is_said(mpdd, place):
    (place / "ward").mkdir()
    (place / "ward" / "a.txt").write_text("fever")
    (place / "ward" / "scan.pdf").write_text("x")
    assert "ward: files left out that do not end in .txt: 1." in mpdd("predict", "short.safetensors", "ward").err


# What it says


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["note.txt"], "note.txt is a note or a table of notes, and no prompt file was given; wanted one or more prompt files"),
        (["folder"], "folder is a folder, and no prompt file was given"),
        (["drugs.safetensors", "folder"], "folder is a folder without texts; found 1 .csv; wanted files that end in .txt. Give"),
        (["drugs.safetensors", "prompts"], "No notes were given; found 2 prompt files or folders of them; wanted prompt"),
        (
            ["drugs.safetensors", "twin.safetensors", "note.txt"],
            "Two prompts are for the task drugs; found drugs.safetensors and",
        ),
        (["drugs.safetensors", "note.txt", "--column", "text"], "A column is not understood; found text; wanted NAME=COLUMN"),
        (["drugs.safetensors", "folder/a.csv"], "no text; found 2 columns; wanted a column text. Perhaps --column text=NOTE."),
        (["drugs.safetensors", "none"], "There is no such input file; found none"),
        (["drugs.safetensors", "a" * 300 + ".txt"], "File name too long"),
        (["drugs.safetensors", "note.txt", "note.txt", "--workers", "2", "--output", "out"], "found 2 inputs; wanted one, with"),
        (["drugs.safetensors", "a.parquet", "--column", "a=b", "--workers", "2", "--output", "out"], "found --column; wanted"),
    ],
)
def test_a_mistake_says_what_was_found(refused, place, arguments, message):  # noqa: F811
    (place / "folder").mkdir()
    (place / "folder" / "a.csv").write_text(f"id;NOTE\n1;{SECRET}\n")
    (place / "prompts").mkdir()
    (place / "twin.safetensors").write_bytes((place / "drugs.safetensors").read_bytes())
    (place / "prompts" / "a.safetensors").write_bytes((place / "drugs.safetensors").read_bytes())
    assert message in refused("predict", *arguments)


def test_control_characters_do_not_reach_the_terminal(mpdd, place):
    name = "\x1b]0;owned\x07\x9b31m"
    (place / "a.jsonl").write_text(json.dumps({"id": name, "text": "fever"}) + "\n")
    for options in ([], ["--json"]):
        ran = mpdd("predict", "short.safetensors", "a.jsonl", *options)
        assert ran.code == 0
        assert not {"\x1b", "\x07", "\x9b"} & set(ran.out + ran.err)
    assert json.loads(ran.out)["id"] == name
    ran = mpdd("predict", "says.safetensors", "a.jsonl")
    assert ran.code == 2 and "Note \\x1b]0;owned\\x07\\x9b31m lacks" in ran.err


# What it never overwrites


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("note.txt", "The output note.txt would replace a file that is read; found note.txt; wanted another --output"),
        ("./note.txt", "would replace a file that is read"),
        ("link.txt", "would replace a file that is read"),
        ("hard.txt", "would replace a file that is read"),
        ("drugs.safetensors", "would replace a file that is read; found drugs.safetensors"),
        ("ward/new.txt", "would replace a text in a folder that is read; found ward"),
        ("ward/a.txt", "would replace a text in a folder that is read"),
        ("/dev/null", "Cannot write the output; found a device or a pipe at /dev/null; wanted a file that ends in .jsonl"),
        ("pipe", "found a device or a pipe at pipe"),
        ("ward", "found a folder at ward"),
        ("a" * 251, "The name of the output is too long; found 251 bytes; wanted at most 240"),
        ("a" * 300, "The name of the output is too long"),
        ("é" * 130, "The name of the output is too long; found 260 bytes"),
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_an_output_is_no_input_no_prompt_and_no_device(refused, place, output, message, force):  # noqa: F811
    (place / "link.txt").symlink_to("note.txt")
    os.link(place / "note.txt", place / "hard.txt")
    (place / "ward").mkdir()
    (place / "ward" / "a.txt").write_text("fever")
    os.mkfifo(place / "pipe")
    said = refused("predict", "drugs.safetensors", "note.txt", "ward", "--output", output, *force)
    assert message in said


def test_another_file_is_replaced_with_force_alone(mpdd, refused, place):  # noqa: F811
    (place / "thesis.txt").write_text("years of work")
    said = refused("predict", "short.safetensors", "note.txt", "--output", "thesis.txt")
    assert "thesis.txt is there already, and does not hold answers to these notes and tasks; wanted another --output" in said
    assert mpdd("predict", "short.safetensors", "note.txt", "--output", "thesis.txt", "--force").code == 0
    assert lines(place / "thesis.txt")[0]["id"] == "note"


def test_answers_to_the_same_notes_and_tasks_are_replaced_and_others_are_not(mpdd, refused, place):  # noqa: F811
    for _ in range(2):
        assert mpdd("predict", "short.safetensors", "note.txt", "--output", "a.jsonl").code == 0
    assert "is there already" in refused("predict", "drugs.safetensors", "note.txt", "--output", "a.jsonl")
    (place / "other.txt").write_text("fever")
    assert "is there already" in refused("predict", "short.safetensors", "other.txt", "--output", "a.jsonl")
    assert "is there already" in refused("predict", "short.safetensors", "note.txt", "other.txt", "--output", "a.jsonl")


def test_workers_do_not_write_among_their_notes(refused, place):  # noqa: F811
    (place / "notes").mkdir()
    (place / "notes" / "a.parquet").write_bytes((CASES / "rows" / "n.parquet").read_bytes())
    said = refused("predict", "drugs.safetensors", "notes", "--output", "notes", "--workers", "1")
    assert "The output notes is the folder of the notes" in said
    said = refused("predict", "drugs.safetensors", "notes", "--output", "note.txt", "--workers", "1")
    assert "note.txt; found File exists" in said


# One at a time


HOLD = """
import sys, time
from pathlib import Path
from mpdd.errors import InputError
from mpdd.files.locks import held
with held(Path(sys.argv[1]), InputError("busy")):
    print("held", flush=True)
    time.sleep(120)
"""


@contextmanager
def holding(path):
    """Another process that holds a lock until it is killed."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        yield
    finally:
        other.kill()
        other.communicate()


def test_two_jobs_do_not_write_one_output_and_a_killed_one_blocks_nobody(mpdd, refused, place):  # noqa: F811
    with holding(place / ".a.jsonl.lock"):
        said = refused("predict", "short.safetensors", "note.txt", "--output", "a.jsonl")
        assert "Another process is writing a.jsonl; wanted one at a time, or another --output" in said
    assert (place / ".a.jsonl.lock").exists()
    assert mpdd("predict", "short.safetensors", "note.txt", "--output", "a.jsonl").code == 0
    assert not [path for path in place.iterdir() if path.name.startswith(".a")]


# Grounded answers


def test_grounded_answers_name_only_the_note(mpdd, place, monkeypatch):
    monkeypatch.setattr(steering, "LEAST", 0.0)  # an untrained model would say other words
    (place / "n.txt").write_text("aspirin and ibuprofen were given")
    ran = mpdd("predict", "drugs.safetensors", "n.txt", "--grounded", "--json")
    assert ran.code == 0
    answer = json.loads(ran.out)
    assert answer["ungrounded"] == 0 and not answer["unparseable"]


def test_grounded_answers_are_refused_where_they_cannot_be_had(mpdd, place):
    (place / "n.txt").write_text("aspirin")
    ran = mpdd("predict", "drugs.safetensors", "n.txt", "--grounded", "--engine", "http://127.0.0.1:9")
    assert ran.code == 2 and "--grounded with --engine" in ran.err


def test_what_is_not_read_of_a_note_is_said(mpdd, place):
    (place / "n.txt").write_text("fever and cough " * 400)  # a summary reads one window
    ran = mpdd("predict", "short.safetensors", "n.txt", "--output", "a.jsonl")
    assert ran.code == 0 and "Answers to a part of their note: 1; " in ran.err
    ran = mpdd("predict", "short.safetensors", "n.txt")
    assert ran.code == 0 and "characters at the end did not fit the context" in " ".join(ran.out.split())


def test_prompts_are_taken_from_a_folder_and_from_the_hub(mpdd, place, shelf, tiny_folder, monkeypatch):
    """A folder without notes is one of prompts; of the hub's cache, in its library's layout, as there is no network here."""
    from huggingface_hub import constants

    from mpdd.serving import server

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = place / "cache" / "models--org--tasks"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for name in ("drugs.safetensors", "meta.safetensors"):
        (snapshot / name).write_bytes((shelf / name).read_bytes())
    for prompts in ("hf://org/tasks", snapshot):
        ran = mpdd("predict", prompts, "note.txt", "--backbone", tiny_folder, "--json")
        assert ran.code == 0 and json.loads(ran.out)["task"] == "drugs", ran.err
    assert json.loads(mpdd("inspect", "hf://org/tasks", "--json").out)["file"] == "drugs.safetensors"
    ran = mpdd("export", "hf://org/tasks", "--to", "peft", "--out", "made", "--backbone", tiny_folder)
    assert ran.code == 0 and (place / "made" / "adapter_config.json").is_file(), ran.err
    (place / "gold.jsonl").write_text('{"text": "aspirin", "entities": []}\n')
    ran = mpdd("evaluate", "hf://org/tasks", "gold.jsonl", "--backbone", tiny_folder)
    assert ran.code == 0 and ran.out.startswith("drugs: 1 examples"), ran.err
    monkeypatch.setattr(server, "run", lambda service, host, port: None)
    ran = mpdd("serve", "--prompts", "hf://org/tasks", "--backbone", tiny_folder)
    assert ran.code == 0 and "1 task at" in ran.err, ran.err
    for command in (
        ("predict", "hf://org/none", "note.txt"),
        ("inspect", "hf://org/none"),
        ("serve", "--prompts", "hf://org/none"),
    ):
        ran = mpdd(*command)
        assert (ran.code, ran.err.count("\n")) == (2, 1) and "hf://org/none cannot be fetched" in ran.err
        assert "found no connection to the hub, and no copy in its cache; wanted hf://ORG/NAME" in ran.err
        assert "found a name that no repository can have" in mpdd("predict", "hf://a/b/c", "note.txt").err
    (snapshot / "says.safetensors").write_bytes((shelf / "says.safetensors").read_bytes())
    ran = mpdd("inspect", "hf://org/tasks")
    assert ran.code == 2 and "holds several prompts; found drugs.safetensors, says.safetensors" in ran.err
