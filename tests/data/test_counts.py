"""The table of counts and the command that measures it; the page of the benchmark and the command that writes it."""

import json
import sys
import tomllib
from dataclasses import replace

import pytest

from mpdd.data import catalogue, counts, store
from mpdd.data.task import Answer, Entity, Example, Relation, Splits
from scripts import update_counts, update_open31

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


# docs/open31.md


def test_the_page_is_as_the_command_writes_it(monkeypatch):
    assert run(update_open31, monkeypatch, "--check") == 0


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
    page.write_text(update_open31.PAGE.read_text(encoding="utf-8").replace("| 8,587 |", "| 8,588 |"), encoding="utf-8")
    monkeypatch.setattr(update_open31, "PAGE", page)
    assert run(update_open31, monkeypatch, "--check") == 1
    assert run(update_open31, monkeypatch) == 0
    assert run(update_open31, monkeypatch, "--check") == 0
    monkeypatch.setattr(update_open31, "AUDIT", committed)
    monkeypatch.setattr(update_open31, "ROOT", tmp_path)
    for change in ({"data_sha256": "0"}, {"tests": audit["tests"] | {"rqe": 1}}):
        committed.write_text(json.dumps(audit | change), encoding="utf-8")
        assert run(update_open31, monkeypatch, "--check") == 1
        assert "make it anew with `mpdd tasks --audit`" in capsys.readouterr().out
