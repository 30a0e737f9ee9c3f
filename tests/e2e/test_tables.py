"""The prepared runs that make whole tables, on a CPU: they end in time, go on, and end with the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from mpdd.data import catalogue
from mpdd.evaluation.records import SUFFIX
from mpdd.experiment import config
from mpdd.experiment.check import require_tasks
from scripts import privacy_table
from tests.data.cards.conftest import CARDS, lines, record
from tests.e2e.processes import Forked

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


@pytest.fixture
def experiment(tiny_folder, tmp_path):
    for number, name in enumerate(("one", "two")):
        (tmp_path / f"{name}.jsonl").write_text(lines([record("nli", n) for n in range(100 * number, 100 * number + 20)]))
        data = {"format": "jsonl", "train": f"{name}.jsonl"}
        (tmp_path / f"{name}.toml").write_text(
            tomli_w.dumps({"name": name, "instruction": "Entails?", **CARDS["nli"], "data": data})
        )
    catalogue._load.cache_clear()
    path = tmp_path / "experiment.toml"
    short = {"steps": 2, "every": 1, "batch_size": 2}
    values = {"name": "x", "backbone": str(tiny_folder), "targets": ["one.toml", "two.toml"], "adapt": short}
    path.write_text(tomli_w.dumps(values | {"methods": ["zero-shot", "in-context", "prompt-tuning"], "prompt": {"length": 4}}))
    return path


def make(experiment, out, seconds, *more, python=False):
    """The exit code of the script, what it printed and what it said of errors; forked with all that it starts, or anew."""
    arguments = [str(experiment), "--out", str(out), "--processes", "2", "--seconds", str(seconds), *more]
    if python:
        command = [sys.executable, "-m", "scripts.main_table", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr
    process = Forked(arguments, ROOT, os.environ | {"OMP_NUM_THREADS": "1"}, "scripts.main_table")
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def test_what_is_not_done_in_time_is_done_by_the_same_command(experiment, tmp_path):
    out = tmp_path / "run"
    code, printed, _ = make(experiment, out, 60.01)  # a hundredth of a second for the cells
    assert code == 3 and "6 cells are missing" in printed
    code, printed, err = make(experiment, out, 400)
    assert code == 0, printed + err
    assert "0 cells are missing" in printed
    assert (out / "results.json").is_file() and (out / "report.html").is_file()


def test_a_process_that_fails_is_not_taken_for_one_that_ran_out_of_time(experiment, tmp_path):
    code, printed, _ = make(experiment, tmp_path / "run", 400, "--set", f"backbone={tmp_path}")  # a folder without a model
    assert code == 1 and "A process failed; its words are in" in printed
    assert "mpdd: " in (tmp_path / "run" / "processes" / "1.log").read_text()


def test_an_experiment_that_does_not_fit_is_refused_before_anything_starts(experiment, tmp_path):
    (tmp_path / "two.jsonl").unlink()
    code, _, err = make(experiment, tmp_path / "run", 400, python=True)
    assert code == 2 and "mpdd: " in err and "Traceback" not in err
    assert not (tmp_path / "run" / "processes").exists()


# The table of privacy, small, on a random backbone: made, gone on with, published, and shown.

METHODS = ["mpdd", "prompt-tuning", "lora"]


@pytest.fixture
def privacy_experiment(tiny_folder, tmp_path):
    for number, name in enumerate(("own", "source")):
        (tmp_path / f"{name}.jsonl").write_text(lines([record("nli", n) for n in range(100 * number, 100 * number + 30)]))
        card = {"name": name, "instruction": "Entails?", **CARDS["nli"], "data": {"format": "jsonl", "train": f"{name}.jsonl"}}
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps(card))
    catalogue._load.cache_clear()
    short = {"steps": 2, "batch_size": 2, "every": 2}
    adapt = {**short, "mpdd": [0.03], "prompt_tuning": [0.1], "lora": [0.001], "lora_rank": 1}
    values = {
        "name": "small", "methods": METHODS, "backbone": str(tiny_folder), "sources": ["source.toml"], "targets": ["own.toml"],
        "prompt": {"length": 4, "rank": 2, "depth": "all"}, "compute": {"dtype": "fp32"}, "limits": {"test": 4, "dev": 2},
        "teach": short, "distil": short, "adapt": adapt,
    }  # fmt: skip
    (tmp_path / "small.toml").write_text(tomli_w.dumps(values))
    return tmp_path / "small.toml"


def test_scores_and_attacks_of_every_method_at_every_epsilon(privacy_experiment, tmp_path, capsys, monkeypatch):
    out, published = tmp_path / "runs", tmp_path / "results"
    make = ["make", str(privacy_experiment), "--out", str(out), "--epsilons", "none", "8", "--delta", "1e-3"]
    make += ["--canaries", "2", "--candidates", "7"]
    assert privacy_table.main(make) == 0
    shown = capsys.readouterr().out
    assert [line.split(" | ")[2:4] for line in shown.splitlines()[2:]] == [[m, e] for e in ("none", "8") for m in METHODS]
    made = json.loads((out / "epsilon-8" / "attacks.json").read_text())
    assert {cell["method"] for cell in made} == set(METHODS) and all(0 < cell["epsilon"] <= 8 for cell in made)
    assert all(0 <= cell["inserted"]["mean"] <= cell["inserted"]["most"] == 3 for cell in made)
    assert all(len(cell["attacks"]) == 2 for cell in made)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*/attacks/*")}
    assert privacy_table.main(make) == 0 and capsys.readouterr().out == shown  # goes on: nothing is made again
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*/attacks/*")} == times
    assert privacy_table.main(["publish", str(out), "--out", str(published)]) == 0
    assert {path.name for path in published.iterdir()} == {f"none{SUFFIX}", f"epsilon-8{SUFFIX}"}
    capsys.readouterr()
    assert privacy_table.main(["show", str(published)]) == 0 and capsys.readouterr().out == shown
    page = tmp_path / "privacy.md"
    page.write_text("before\n<!-- privacy-table -->\n<!-- /privacy-table -->\nafter\n")
    monkeypatch.setattr(privacy_table, "PAGE", page)
    update = ["update", str(published)]
    assert [privacy_table.main(arguments) for arguments in ([*update, "--check"], update, [*update, "--check"])] == [1, 0, 0]
    written = page.read_text()
    assert shown.strip() in written and "2 steps of 2 examples" in written and "delta 0.001" in written
    assert written.startswith("before\n") and written.endswith("after\n")


def test_the_prepared_experiment_fits():
    read = config.read(Path(__file__).parents[2] / "experiments" / "privacy.toml", ["adapt.privacy.epsilon=3"])
    require_tasks(read)
    assert read.adapt.privacy.unit == "example" and len(read.seeds) == 3
