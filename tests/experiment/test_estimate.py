"""A rehearsal runs every stage on the experiment's own examples and leaves nothing behind; its sums are those of a run."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest
import tomli_w

from mpdd.data import catalogue
from mpdd.data.batch import Encoded
from mpdd.experiment import config
from mpdd.experiment.estimate import _Cost, _enough, _share, predicted
from mpdd.methods.options import Steps
from mpdd.progress import Silent
from mpdd.training.tune import Data
from tests.data.cards.conftest import CARDS, lines, record


@pytest.fixture
def experiment(tiny_folder, tmp_path):
    """An experiment of three own tasks on the tiny backbone."""
    for name, first in (("one", 0), ("two", 100), ("three", 200)):
        (tmp_path / f"{name}.jsonl").write_text(lines([record("nli", n) for n in range(first, first + 20)]))
        data = {"format": "jsonl", "train": f"{name}.jsonl"}
        card = {"name": name, "instruction": "Entails?", **CARDS["nli"], "data": data}
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps(card))
    catalogue._load.cache_clear()
    short = {"steps": 400, "every": 200, "batch_size": 2}  # seconds are rounded to tenths
    return config.build(
        {
            "name": "own", "backbone": str(tiny_folder), "sources": [str(tmp_path / "one.toml"), str(tmp_path / "two.toml")],
            "targets": [str(tmp_path / "three.toml")], "prompt": {"length": 4}, "teach": short, "distil": short, "adapt": short,
        },
        "test",
    )  # fmt: skip


def test_every_stage_gets_its_time_and_nothing_stays(experiment, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    found = predicted(experiment, Silent())
    seconds = found["seconds"]
    assert list(seconds) == ["open", "teach", "ask_teachers", "distil", "adapt", "predict", "all"]
    assert seconds["all"] == pytest.approx(sum(list(seconds.values())[:-1]), abs=0.5)
    assert seconds["teach"] > 0 and seconds["adapt"] > 0
    most = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 2**20 < found["peak_bytes"] <= 1.05 * most
    assert not list(here.iterdir())


def test_a_stage_validates_before_it_starts_and_at_its_end():
    assert _Cost(step=2.0, validation=3.0).of(Steps(steps=10, every=4)) == 10 * 2.0 + (1 + 3) * 3.0
    assert _Cost(step=2.0, validation=3.0).of(Steps(steps=8, every=4)) == 8 * 2.0 + (1 + 2) * 3.0


def test_some_tasks_stand_for_all_by_their_tokens():
    def data(size):
        row = Encoded("x", tuple(range(size)), (1, 2))
        return Data([row] * 5, [row] * 3)

    whole = {str(size): data(size) for size in (8, 18, 28, 38, 48, 1998)}
    assert _enough(whole, rows=8) == ["1998", "48", "38", "28"]
    assert len(_enough(whole, rows=1)) == 6
    half = {"48": whole["48"], "8": replace(whole["8"], dev=whole["8"].dev[:1])}
    assert _share({"48": whole["48"], "8": whole["8"]}, half, "train") == 1.0
    assert _share({"48": whole["48"], "8": whole["8"]}, half, "dev") == (150 + 30) / (150 + 10)
