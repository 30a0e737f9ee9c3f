"""The catalogue: tasks found by listing a folder, unknown names answered with near ones, and the counts of their examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

import mpdd
from mpdd.data import catalogue, counts, store
from mpdd.data.store import registry
from mpdd.data.task import FORMS, Answer, Entity, Example, Relation, Splits, TaskCard
from mpdd.data.tasks import __path__ as folders
from mpdd.errors import InputError
from scripts import update_counts, update_open31

HEAVY = ("torch", "pandas", "openpyxl", "lxml", "pooch", "numpy", "transformers")


def test_every_module_of_the_folder_is_a_task():
    files = {path.stem for path in Path(folders[0]).glob("*.py")} - {"__init__"}
    assert set(catalogue.names()) == files
    assert list(catalogue.names()) == sorted(files)


@pytest.mark.parametrize("name", catalogue.names())
def test_a_task_goes_by_its_file_name_and_is_complete(name):
    task = catalogue.get(name)
    assert task.name == name
    assert task.card.instruction.endswith((".", "?"))
    assert "\n" not in task.card.instruction
    assert task.licence
    assert task.citation
    assert task.files


def test_the_registry_pins_what_the_tasks_read_and_nothing_else():
    assert {file for name in catalogue.names() for file in catalogue.get(name).files} == set(registry())


@pytest.mark.parametrize(
    ("name", "near"), [("bc5cdr", "bc5cdr_ner"), ("PubMed-QA", "pubmedqa"), ("NCBI-Disease", "ncbi_disease")]
)
def test_an_unknown_name_is_answered_with_near_ones(name, near):
    for call in (catalogue.get, catalogue.load):
        with pytest.raises(InputError) as caught:
            call(name)
        assert repr(name) in str(caught.value)
        assert near in str(caught.value)


def test_a_name_like_none_is_answered_with_all():
    with pytest.raises(InputError, match=f"one of {catalogue.names()[0]}, "):
        catalogue.get("zzzz")


def test_getting_every_task_imports_nothing_heavy():
    program = (
        "import sys; from mpdd.data import catalogue; [catalogue.get(name) for name in catalogue.names()];"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(mpdd.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


# Task cards: forms of answers, and JSON.


@pytest.mark.parametrize(
    ("kind", "form"),
    [("qa", "choice"), ("classification", "single"), ("ner", ""), ("re", ""), ("nli", ""), ("summarization", "")],
)
def test_the_form_is_filled_in(kind, form):
    assert TaskCard("t", kind, "Do it.").form == form


@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind, forms in FORMS.items() for form in forms])
def test_every_form_survives_json(kind, form):
    card = TaskCard("t", kind, "Do it.", form=form)
    assert card.form == form
    assert TaskCard.from_dict(card.to_dict()) == card
    assert replace(card, name="u").form == form


def test_a_choice_may_have_labels_or_not():
    assert TaskCard("t", "qa", "Answer.", labels=("yes", "no")).form == "choice"
    assert TaskCard("t", "qa", "Answer.", labels=("yes", "no"), form="choice").form == "choice"


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "ner", "form": "single"},
        {"type": "nli", "form": "choice"},
        {"type": "summarization", "form": "free"},
        {"type": "qa", "form": "multiple"},
        {"type": "classification", "form": "extractive"},
        {"type": "qa", "form": "Free"},
        {"type": "qa", "form": "extractive", "labels": ("yes", "no")},
        {"type": "qa", "form": "free", "labels": ("yes", "no")},
        {"type": "qa", "form": True},
        {"type": "qa", "form": False},
        {"type": "qa", "form": None},
        {"type": "qa", "form": ["free"]},
    ],
)
def test_a_form_that_does_not_fit_is_one_error(wrong):
    with pytest.raises(InputError, match="The task t cannot have answers of this form; found form .* wanted for qa: choice, "):
        TaskCard(**{"name": "t", "instruction": "Do it.", **wrong})


# The table of counts, the page of the benchmark, and the commands that write them.

real_data = pytest.mark.skipif(store.mirror_root() is None, reason="no real data: MPDD_MIRROR is not set")


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    return script.main()


def test_what_is_counted_of_splits():
    gold = Answer((Entity(0, 1, "a"), Entity(1, 2, "a")), (Relation("r", "a", "b"),), labels=(0, 3))
    first = Example("1", "d", "x", gold, lost=2)
    splits = Splits(
        (first, replace(first, id="2", gold=Answer(choice=0))), (), (Example("3", "e", "y", Answer(text="z")),), {"n": 1}
    )
    row = counts.measure(splits)
    assert (row["documents"], row["examples"], row["gold"], row["notes"]) == ([1, 0, 1], [2, 0, 1], [10, 0, 1], {"n": 1})
    assert row["ids"] == counts.measure(replace(splits, notes={}))["ids"]
    assert row["ids"] != counts.measure(replace(splits, dev=splits.test, test=()))["ids"]


@pytest.mark.e2e
@real_data
def test_the_committed_table_is_what_the_command_writes(monkeypatch, capsys):
    assert run(update_counts, monkeypatch, "--check") == 0
    assert capsys.readouterr().out == "as measured\n"


def test_the_command_measures_anew_and_keeps_each_source(monkeypatch, capsys, tmp_path):
    row = {"documents": [1, 1, 1], "examples": [2, 2, 2], "gold": [3, 3, 3], "ids": "0123", "notes": {'why\'s "so"': 4}}
    path = tmp_path / "counts.toml"
    path.write_text('# Head.\n\n[rqe]\nsource = "a | b"\n', encoding="utf-8")
    table = {"rqe": {"source": "a | b"}}
    monkeypatch.setattr(update_counts, "PATH", path)
    monkeypatch.setattr(counts, "table", lambda: table)
    monkeypatch.setattr(counts, "measure", lambda splits: row)
    monkeypatch.setattr(catalogue, "names", lambda: ("rqe", "medqa"))
    monkeypatch.setattr(catalogue, "load", lambda name: None)
    assert run(update_counts, monkeypatch, "--check") == 1
    assert capsys.readouterr().out == "[medqa] [rqe]\n"
    assert run(update_counts, monkeypatch) == 0
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    assert written == {"medqa": row | {"source": "measured here"}, "rqe": row | {"source": "a | b"}}
    assert path.read_text(encoding="utf-8").startswith("# Head.\n\n[medqa]\n")
    table = written
    assert run(update_counts, monkeypatch, "--check") == 0


# docs/open31.md; that it is as the command writes it is part of `make lint`.


def test_the_page_has_every_task_its_licence_and_the_hash_of_the_data():
    lines = update_open31.PAGE.read_text(encoding="utf-8").splitlines()
    for name in catalogue.names():
        (row,) = (line for line in lines if line.startswith(f"| {name} |") and catalogue.get(name).citation in line)
        assert catalogue.get(name).licence in row
        assert all(f"| {number:,} |" in row for number in counts.table()[name]["examples"])
    said = [line for line in lines if "`upstream.tsv`, sha256" in line]
    assert len(said) == 9 and all(store.registry_hash() in line for line in said)


def test_a_changed_page_or_an_audit_of_other_data_fails(monkeypatch, capsys, tmp_path):
    page, committed = tmp_path / "page.md", tmp_path / "audit.json"
    audit = json.loads(update_open31.AUDIT.read_text(encoding="utf-8"))
    page.write_text(update_open31.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(update_open31, "PAGE", page)
    for slow in ("shot_lines", "label_lines", "ablation_lines"):  # intervals of published runs
        monkeypatch.setattr(update_open31, slow, lambda *_: ["a table"])
    for change in (lambda text: text, lambda text: text.replace("| 8,587 |", "| 8,588 |")):
        page.write_text(change(page.read_text(encoding="utf-8")), encoding="utf-8")
        assert run(update_open31, monkeypatch, "--check") == 1
        assert run(update_open31, monkeypatch) == 0
        assert run(update_open31, monkeypatch, "--check") == 0
    monkeypatch.setattr(update_open31, "AUDIT", committed)
    monkeypatch.setattr(update_open31, "ROOT", tmp_path)
    for change in ({"data_sha256": "0"}, {"tests": audit["tests"] | {"rqe": 1}}):
        committed.write_text(json.dumps(audit | change), encoding="utf-8")
        assert run(update_open31, monkeypatch, "--check") == 1
        assert "make it anew with `mpdd tasks --audit`" in capsys.readouterr().out
