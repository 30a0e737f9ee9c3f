"""What the commands print: help at once, tables for people, JSON for programs."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import tomli_w

from mpdd import __version__
from mpdd.data import cache, catalogue, counts, synthetic
from mpdd.evaluation.results import Row, write_results
from mpdd.prompts.store import load_prompt
from tests.cli.conftest import LENGTH, SECRET

COMMANDS = {
    "demo": "Run the whole method, small, in minutes on two cores",
    "tasks": "List the catalogue",
    "task": "A task of your own: its card and its data.",
    "task new": "Write a card: ask for what the options leave out",
    "task check": "Read a task's data and say what is in it",
    "backbone": "The frozen language model: what can be named, fetching it, what is in it.",
    "backbone list": "List the backbones with a name of their own",
    "backbone get": "Fetch a known backbone, check its sha256 and keep it",
    "backbone show": "Say what a backbone is",
    "prompt": "Prompt files to share: signatures, and what they carry.",
    "prompt new-key": "Make a pair of keys to sign prompt files with.",
    "prompt sign": "Sign a prompt file; the signature lies beside it.",
    "prompt verify": "Check that a prompt file is signed by one of the keys",
    "prompt strip": "Write a prompt file again without its provenance",
    "data": "The data store.",
    "data get": "Fetch and verify the files of tasks",
    "data export": "Write tasks, their splits and their scoring for lm-evaluation-harness",
    "check": "Validate an experiment and print what follows from it; run nothing.",
    "run": "Run all stages; the same command resumes a run that was stopped.",
    "teach": "Stage 1 alone",
    "distil": "Stages 1 and 2",
    "adapt": "Adapt a finished metaprompt to the task of a card",
    "compare": "All methods of the experiment on every target, with the report.",
    "predict": "Answer notes (txt, jsonl, json, csv, tsv, parquet, folders of txt) with one or more prompt files",
    "convert": "Write answers in another tool's format",
    "review": "Report on answers",
    "evaluate": "Answer labelled data with a prompt and score the answers",
    "inspect": "Say what a prompt file is",
    "report": "Make report.html anew from results.json.",
    "audit": "Attack a prompt: what does it tell of its training notes?",
    "export": "Write prompts for other programs",
    "pack": "Make a prompt pack: a folder of prompts in 16 bits",
    "federate": "Train one metaprompt with other sites: prompts travel, text does not.",
    "serve": "Serve all tasks of a folder over HTTP, with a web page",
    "token": "Make an access token",
}
GROUPS = ["backbone", "data", "task", "prompt"]
SPY = """
import sys, atexit
atexit.register(lambda: sys.stderr.write(" ".join(sorted({name.split(".")[0] for name in sys.modules}))))
from mpdd.cli import main
main()
"""


def in_a_process(*arguments):
    """The output of `mpdd`, and the packages that it imported."""
    command = [sys.executable, "-c", SPY, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout, set(ran.stderr.split())


def answer(mpdd, *arguments):
    ran = mpdd(*arguments)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


# Help


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["run", "--help"], ["predict", "--help"], ["tasks"], ["backbone", "list"]],
)
def test_what_needs_no_model_imports_none(arguments):
    out, imported = in_a_process(*arguments)
    assert out
    assert {"mpdd", "typer"} <= imported
    assert not {"torch", "transformers", "numpy"} & imported - ({"numpy"} if arguments == ["tasks"] else set())


def test_the_version_is_the_package_s(mpdd):
    assert answer(mpdd, "--version") == f"mpdd {__version__}\n"


@pytest.mark.parametrize(("command", "purpose"), COMMANDS.items())
def test_every_command_has_help_that_says_what_it_does(mpdd, command, purpose):
    said = " ".join(answer(mpdd, *command.split(), "--help").split())
    assert said.startswith(f"Usage: mpdd {command} ")
    assert purpose in said


def test_help_lists_every_command_and_no_other(mpdd):
    listed = [line.split()[1] for line in answer(mpdd, "--help").split("Commands")[1].splitlines() if line[2:3].isalpha()]
    assert listed == [command for command in COMMANDS if " " not in command and command not in GROUPS] + GROUPS


# The catalogue


def test_tasks_lists_the_whole_catalogue_by_role_with_sizes(mpdd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    title, heads, *lines = answer(mpdd, "tasks").splitlines()
    assert title == "31 tasks: 21 sources, 10 targets, 1 spare"
    assert heads.split() == ["task", "role", "type", "train", "dev", "test", "licence", "data"]
    lines, ready = lines[:32], lines[32:]
    assert ready[0].startswith("Ready without training") and ready[1:] == [
        "  embedded: all 21 sources",
        "  smollm2-135m-instruct: all 21 sources, all 10 targets",
    ]
    assert [line.split()[1] for line in lines] == ["source"] * 21 + ["target"] * 10 + ["spare"]
    assert sorted(line.split()[0] for line in lines) == list(catalogue.names())
    assert max(map(len, (title, heads, *lines, *ready))) <= 100
    (rqe,) = (line for line in lines if line.startswith("rqe "))
    assert rqe.split()[:6] == ["rqe", "target", "nli", "8,587", "302", "230"]


def test_tasks_as_json_gives_the_same(mpdd):
    listed = json.loads(answer(mpdd, "tasks", "--json"))
    assert [task["name"] for task in listed] == list(catalogue.names())
    assert all(
        set(task) == {"name", "role", "type", "headline", "licence", "data", "cached", "ready_for", "examples"} for task in listed
    )
    assert {task["role"] for task in listed} == {"source", "target", "spare"}
    assert {task["name"]: list(task["examples"].values()) for task in listed} == {
        name: row["examples"] for name, row in counts.table().items()
    }


def test_tasks_says_which_are_cached(mpdd, monkeypatch, tmp_path):
    monkeypatch.setenv("MPDD_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "_BEGAN", 2**63)
    cache.place(catalogue.get("rqe")).write_bytes(b"")
    listed = json.loads(answer(mpdd, "tasks", "--json"))
    assert [task["name"] for task in listed if task["cached"]] == ["rqe"]
    assert [line.split()[0] for line in answer(mpdd, "tasks").splitlines() if ", cached" in line] == ["rqe"]


def test_many_files_are_shown_as_their_folder_and_all_in_json(mpdd):
    out = answer(mpdd, "tasks", "anatem")
    assert "2,424 files in anatem/original-data/standoff" in out
    assert len(out.splitlines()) < 40
    assert len(json.loads(answer(mpdd, "tasks", "anatem", "--json"))[0]["files"]) == 2424
    assert "biored/BioRED/Train.PubTator" in answer(mpdd, "tasks", "biored_re")


def test_a_synthetic_task_is_counted_where_it_is_made(mpdd):
    assert json.loads(answer(mpdd, "tasks", "synthetic_drugs", "--json"))[0]["examples"] == {"train": 300, "dev": 60, "test": 120}


def test_one_task_in_detail_without_its_data(mpdd, monkeypatch, tmp_path):
    monkeypatch.setenv("MPDD_DATA", str(tmp_path))
    monkeypatch.delenv("MPDD_MIRROR", raising=False)
    (task,) = json.loads(answer(mpdd, "tasks", "ncbi_disease", "--json"))
    assert (task["name"], task["type"], task["labels"], task["data"]) == ("ncbi_disease", "ner", ["Disease"], "missing")
    assert task["examples"] == {"train": 2509, "dev": 451, "test": 453}
    assert list(tmp_path.iterdir()) == []
    out = answer(mpdd, "tasks", "ncbi_disease")
    assert all(word in out for word in ("ncbi_disease", task["instruction"], task["licence"], "missing", "2509"))


def test_the_audit_is_printed_and_written(mpdd, monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "names", lambda: tuple(synthetic.TASKS))
    ran = mpdd("tasks", "--audit", "--write", tmp_path / "new" / "audit.json")
    assert (ran.code, ran.err) == (0, "")
    assert "The other 6 share nothing." in ran.out
    written = json.loads((tmp_path / "new" / "audit.json").read_text(encoding="utf-8"))
    assert json.loads(answer(mpdd, "tasks", "--audit", "--json")) == written
    assert set(written["sources"]) == set(synthetic.SOURCES)
    assert written["tests"] == dict.fromkeys(synthetic.TARGETS, 120)


@pytest.mark.parametrize("arguments", [["--text", "x"], ["--write", "x"], ["rqe", "--audit"], ["--audit", "--text", "x"]])
def test_an_audit_that_cannot_be_made_is_refused(mpdd, place, arguments):
    ran = mpdd("tasks", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("mpdd: ") and ran.err.count("\n") == 1
    assert not (place / "x").exists()


# Experiments


def test_check_derives_its_numbers_by_arithmetic_and_writes_nothing(mpdd, place, tiny_folder, tiny):
    values = {
        "name": "small",
        "backbone": str(tiny_folder),
        "sources": ["bc5cdr_ner", "scifact", "medqa"],
        "targets": ["rqe", "phee"],
        "methods": ["zero-shot", "prompt-tuning", "mpdd"],
        "seeds": [0, 1],
        "shots": [8, 16, "all"],
        "prompt": {"length": 5, "rank": 2},
        "teach": {"steps": 7, "batch_size": 2, "lrs": [0.1, 0.2]},
        "distil": {"steps": 11, "batch_size": 3},
        "adapt": {"steps": 13, "batch_size": 4, "prompt_tuning": [0.1], "mpdd": [0.1], "lora": [0.1]},
    }
    (place / "a.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    before = sorted(place.rglob("*"))
    facts = json.loads(answer(mpdd, "check", "a.toml", "--json"))
    assert sorted(place.rglob("*")) == before
    factors = 2 * (5 + 32)
    trained = {name: part["parameters"] for name, part in facts["trainable"].items()}
    assert trained == {
        "prompt-tuning": 5 * 32,
        "mpdd": factors,
        "mpdd-full": 5 * 32 + factors,
        "metaprompt (all sources)": 5 * 32 + 3 * factors,
    }
    assert facts["backbone"]["parameters"] == sum(p.numel() for p in tiny.model.parameters())
    assert facts["trainable"]["mpdd"]["percent"] == pytest.approx(100 * trained["mpdd"] / tiny.parameters, abs=1e-5)
    assert facts["trainable"]["mpdd"]["bytes_fp32"] == 4 * trained["mpdd"]
    cells = 2 * 3 * 2 * 2  # targets, shots, seeds, trained methods
    assert facts["steps"] == {"teach": 3 * 2 * 7, "distil": 11, "adapt": cells * 13}
    assert facts["examples_trained_on"] == 3 * 2 * 7 * 2 + 11 * 3 + cells * 13 * 4
    assert facts["cells"] == cells + 2
    assert facts["context_left_for_text"] == 256 - 5
    assert (facts["backbone"]["rows"], facts["backbone"]["rows_because"]) == tuple(tiny.rows_path.values())

    out = answer(mpdd, "check", "a.toml")
    assert "mpdd-full" in out and facts["backbone"]["fingerprint"] in out


# Prompt files


def test_inspect_says_what_a_prompt_file_is(mpdd, place, tiny):
    header = json.loads(answer(mpdd, "inspect", "says.safetensors", "--json"))
    assert (header["kind"], header["length"], header["width"]) == ("soft", LENGTH, tiny.width)
    assert (header["backbone"], header["fingerprint"]) == (tiny.name, tiny.fingerprint)
    assert header["card"]["labels"] == ["yes", "no"]
    assert header["tensors"] == {"rows": [LENGTH, tiny.width]}
    assert header["stored_bytes"] == (place / "says.safetensors").stat().st_size
    assert header["digest"] == load_prompt(place / "says.safetensors").header.digest

    out = answer(mpdd, "inspect", "says.safetensors")
    assert all(word in out for word in ("says.safetensors", tiny.fingerprint, header["digest"], "Does the text say so?"))


def test_inspect_shows_a_metaprompt_s_tasks_and_shapes(mpdd, place, tiny):
    header = json.loads(answer(mpdd, "inspect", "meta.safetensors", "--json"))
    assert (header["kind"], header["tasks"], header["rank"], header["card"]) == ("meta", ["a", "b"], 1, None)
    assert header["tensors"] == {"shared": [LENGTH, tiny.width], "u": [2, 1, LENGTH], "v": [2, 1, tiny.width]}


# Answers


def test_one_note_and_one_prompt_give_one_json_object(mpdd, place):
    result = json.loads(answer(mpdd, "predict", "short.safetensors", "note.txt", "--json"))
    assert (result["id"], result["task"], result["cut_characters"]) == ("note", "short", 0)
    assert isinstance(result["summary"], str)


def test_many_notes_and_prompts_give_a_json_list_in_order(mpdd, place):
    rows = [{"id": name, "text": f"{name} 💊 fever\r\n", "Hypothesis": "fever"} for name in ("é", "b")]
    (place / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prompts = ["says.safetensors", "drugs.safetensors"]
    results = json.loads(answer(mpdd, "predict", *prompts, "a.jsonl", "--json"))
    assert [(r["id"], r["task"]) for r in results] == [("é", "says"), ("é", "drugs"), ("b", "says"), ("b", "drugs")]
    assert all(r["answer"] in ("yes", "no") for r in results[::2])

    ran = mpdd("predict", *prompts, "a.jsonl", "--output", "out/answers.jsonl")
    assert (ran.code, ran.out) == (0, "") and ran.err.startswith("4 answers in ")
    lines = (place / "out" / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == results
    assert [path.name for path in (place / "out").iterdir()] == ["answers.jsonl"]
    parts = [place / "out" / f"part-{i}.jsonl" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        mpdd("predict", *prompts, "a.jsonl", "--output", part, "--shard", f"{i}/3")
    assert "".join(part.read_text(encoding="utf-8") for part in parts) == "".join(line + "\n" for line in lines)

    out = answer(mpdd, "predict", *prompts, "a.jsonl")
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [f"{r['id']}  {r['task']}" for r in results]


def test_a_note_is_printed_nowhere_but_in_answers(mpdd, place):
    """The tiny model's words are random: what a note says can only come through a span or a log."""
    ran = mpdd("predict", "says.safetensors", "drugs.safetensors", "note.txt")
    assert ran.code == 2 and SECRET not in ran.out + ran.err
    ran = mpdd("predict", "short.safetensors", "note.txt", "--output", "a.jsonl")
    assert (ran.code, ran.out) == (0, "")
    assert re.fullmatch(r"1 answers? in [\d.]+ s \([\d.,]+ a second\): a\.jsonl\n", ran.err)


# Reports


def test_report_makes_the_page_anew_from_the_results_alone(mpdd, place):
    row = Row(
        method="mpdd", backbone="tiny", backbone_parameters=1000, target="rqe", task_type="nli", shots=8, seed=0,
        metric="macro_f1", value=61.5, ci_low=50.0, ci_high=70.0, n_examples=9, chance=33.3, unparseable=0.0,
        trainable_parameters=10, trainable_fraction=0.01, stored_bytes=40, train_examples_seen=8, train_seconds=1.0,
        tuning_trials=1,
    )  # fmt: skip
    (place / "old").mkdir()
    write_results(place / "old" / "results.json", [row])
    assert answer(mpdd, "report", "old") == "Report: old/report.html\n"
    first = (place / "old" / "report.html").read_bytes()
    assert b"61.5" in first
    answer(mpdd, "report", "old")
    assert (place / "old" / "report.html").read_bytes() == first
