"""Several processes in one run folder at the same time, on real data: together they make what one process makes."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from mpdd.evaluation.results import read_results
from tests.e2e.conftest import EXPERIMENT, contents
from tests.e2e.test_resume import without_times

pytestmark = pytest.mark.e2e
PARTS = 3


@pytest.fixture(scope="module")
def shared(world):
    """The run folder of a preparation, parts that start at once, and a last run; and what that one said."""
    world.run("distil", world.experiment, "--out", "shared")
    started = [world.start("run", world.experiment, "--out", "shared", "--shard", f"{n}/{PARTS}") for n in range(1, PARTS + 1)]
    said = [process.communicate(timeout=600) for process in started]
    assert [process.returncode for process in started] == [0] * PARTS, said
    assert all("Stage 3: 7 cells" in err and "dev loss" not in err for _, err in said)
    assert len(list((world.folder / "shared" / "cells").iterdir())) == 3 * len(EXPERIMENT["methods"]) == 7 * PARTS
    _, err = world.run("run", world.experiment, "--out", "shared")
    return world.folder / "shared", err


def logged(folder):
    rows = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return sorted(rows, key=lambda row: (row["run"], row["step"]))


def test_the_whole_is_that_of_one_process(shared, finished):
    folder, err = shared
    assert "dev loss" not in err and "trainable" not in err
    ours, theirs = (read_results(run / "results.json") for run in (folder, finished.folder))
    assert [without_times(vars(row)) for row in ours] == [without_times(vars(row)) for row in theirs]
    assert logged(folder) == logged(finished.folder)
    for name in ("examples.json", "config.toml", "comparisons.json", "transfer.json"):
        assert (folder / name).read_bytes() == (finished.folder / name).read_bytes()
    assert contents(folder).keys() == contents(finished.folder).keys()
    for path in (finished.folder / "prompts").rglob("*.safetensors"):
        ours, theirs = load_file(folder / path.relative_to(finished.folder)), load_file(path)
        assert {name: t.tolist() for name, t in ours.items()} == {name: t.tolist() for name, t in theirs.items()}
