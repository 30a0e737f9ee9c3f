"""A run that is killed again and again, or shared by several processes, ends like one that was never disturbed."""

from __future__ import annotations

import json
import random
import re
import signal
import time

import pytest
from safetensors.torch import load_file

from mpdd.evaluation.results import read_results
from tests.e2e.conftest import EXPERIMENT, contents

pytestmark = pytest.mark.e2e

LEFTOVERS = [
    "prompts/.teacher-medqa.safetensors.k1ll3d00",
    "cells/.rqe--mpdd--8--s0.json.k1ll3d01",
    ".results.json.77.unfinished",
]


def wait_until(reached, process):
    """Wait for `reached()`; the process must not end before."""
    until = time.monotonic() + 300
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.002)


def stop(world, reached, *, after=0.0, how=signal.SIGKILL):
    """Start or resume the run in `broken`, end it `after` seconds from when `reached()`, and return its code and errors."""
    process = world.start("run", world.experiment, "--out", "broken")
    try:
        wait_until(reached, process)
        time.sleep(after)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, err


def finished_units(folder):
    """What a resumed run must not make again, with the time it was written."""
    made = [*folder.glob("prompts/teacher-*"), *folder.glob("prompts/metaprompt*"), *folder.glob("cells/*.json")]
    return {path.name: path.stat().st_mtime_ns for path in made}


@pytest.fixture(scope="module")
def broken(world, finished):
    """The folder of a run that was killed four times, interrupted once, and then ran to its end."""
    folder = world.folder / "broken"
    rng = random.Random(7)

    def there(pattern, count=1):
        return lambda: len(list(folder.glob(pattern))) >= count

    def checkpoint_beyond(part, steps):
        """A checkpoint of this part exists, and its log has got this far."""

        def reached():
            log = folder / "metrics.jsonl"
            return (
                list(folder.glob(f"checkpoints/{part}*")) and log.read_text().count(f'"run": "{part.replace("--", "/")}') > steps
            )

        return reached

    moments = [
        (checkpoint_beyond("teach", 12), 0.0),
        (there("prompts/teacher-scifact.safetensors"), rng.uniform(0, 0.3)),
        (checkpoint_beyond("distil--metaprompt", 2), 0.0),
        (checkpoint_beyond("rqe--mpdd", 1), 0.0),
    ]
    kept = {}
    for reached, after in moments:
        code, _ = stop(world, reached, after=after)
        assert code == -signal.SIGKILL
        assert not (folder / "results.json").exists()
        now = finished_units(folder)
        assert kept.items() <= now.items()
        kept = now
    for name in LEFTOVERS:
        (folder / name).write_bytes(b"half a fi")
    one_more = len(list(folder.glob("cells/*.json"))) + 1
    code, err = stop(world, there("cells/*.json", one_more), how=signal.SIGINT)
    assert code == 130
    assert err.splitlines()[-1] == "mpdd: stopped; the same command takes a run on from here."
    assert "Traceback" not in err
    assert kept.items() <= finished_units(folder).items()
    world.run("run", world.experiment, "--out", "broken")
    return folder


def without_times(values):
    return {name: value for name, value in values.items() if name != "train_seconds"}


def test_results_are_those_of_the_unbroken_run(broken, finished):
    ours, theirs = (read_results(folder / "results.json") for folder in (broken, finished.folder))
    assert [without_times(vars(row)) for row in ours] == [without_times(vars(row)) for row in theirs]


def test_every_prompt_has_the_same_bytes(broken, finished):
    ours, theirs = contents(broken / "prompts"), contents(finished.folder / "prompts")
    named = [name for name in theirs if name.endswith(".safetensors")]
    assert len(named) == 3 + 2 + 3 * 5
    for name in named:
        tensors, wanted = load_file(broken / "prompts" / name), load_file(finished.folder / "prompts" / name)
        assert {k: t.numpy().tobytes() for k, t in tensors.items()} == {k: t.numpy().tobytes() for k, t in wanted.items()}
        assert ours[name] == theirs[name]


def test_outputs_and_learning_curves_are_the_same_too(broken, finished):
    for path in finished.folder.glob("cells/*.json"):
        ours, theirs = (json.loads((folder / "cells" / path.name).read_text()) for folder in (broken, finished.folder))
        assert without_times(ours.pop("row")) == without_times(theirs.pop("row"))
        assert ours == theirs
    for name in ("metrics.jsonl", "examples.json", "config.toml"):
        assert (broken / name).read_bytes() == (finished.folder / name).read_bytes()


def test_nothing_is_left_but_what_a_killed_process_could_not_take_away(broken, finished):
    extra = set(contents(broken)) - set(contents(finished.folder))
    assert set(LEFTOVERS) <= extra
    assert all(re.fullmatch(r"(.+/)?\.[^/]+\.([a-z0-9_]{8}|[0-9]+\.unfinished)", name) for name in extra)
    assert set(contents(finished.folder)) <= set(contents(broken))


# Several processes in one run folder at the same time: together they make what one process makes.

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
