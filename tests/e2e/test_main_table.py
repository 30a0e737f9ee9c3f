"""The prepared run for a GPU, on a CPU with a tiny backbone: it ends in time, goes on, and ends with the whole table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from mpdd.data import catalogue
from tests.data.cards.conftest import CARDS, lines, record

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


def make(experiment, out, seconds, *more):
    command = [sys.executable, "-m", "scripts.main_table", str(experiment), "--out", str(out), "--processes", "2"]
    return subprocess.run([*command, "--seconds", str(seconds), *more], cwd=ROOT, capture_output=True, text=True, check=False)


def test_what_is_not_done_in_time_is_done_by_the_same_command(experiment, tmp_path):
    out = tmp_path / "run"
    first = make(experiment, out, 60.5)  # half a second for the cells
    assert first.returncode == 3 and "6 cells are missing" in first.stdout
    second = make(experiment, out, 400)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "0 cells are missing" in second.stdout
    assert (out / "results.json").is_file() and (out / "report.html").is_file()


def test_a_process_that_fails_is_not_taken_for_one_that_ran_out_of_time(experiment, tmp_path):
    found = make(experiment, tmp_path / "run", 400, "--set", f"backbone={tmp_path}")  # a folder without a model
    assert found.returncode == 1 and "A process failed; its words are in" in found.stdout
    assert "mpdd: " in (tmp_path / "run" / "processes" / "1.log").read_text()


def test_an_experiment_that_does_not_fit_is_refused_before_anything_starts(experiment, tmp_path):
    (tmp_path / "two.jsonl").unlink()
    found = make(experiment, tmp_path / "run", 400)
    assert found.returncode == 2 and "mpdd: " in found.stderr and "Traceback" not in found.stderr
    assert not (tmp_path / "run" / "processes").exists()
