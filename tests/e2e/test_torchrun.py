"""Two processes against one, of torchrun and of `--processes`: the same training to rounding, a clear end when one
is killed, and one goes on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli_w
import torch

from mpdd.prompts.store import load_prompt
from tests.e2e.conftest import EXPERIMENT, MIRROR

pytestmark = pytest.mark.e2e
SMALL = EXPERIMENT | {"sources": ["scifact", "ddi"], "targets": ["rqe"], "methods": ["prompt-tuning", "lora", "mpdd"]}


@pytest.fixture(scope="module")
def experiment(world):
    """In fp32, so that sums in another order differ in the last digits alone."""
    path = world.folder / "two.toml"
    values = SMALL | {"backbone": str(world.backbone), "compute": {"dtype": "fp32"}}
    values["adapt"] = SMALL["adapt"] | {"batch_size": 4, "steps": 6}
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def start(world, experiment, processes, out, *options, verb="run"):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPDD_MIRROR": str(MIRROR)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "mpdd"]
    alone = [sys.executable, "-m", "mpdd"]
    command = [*(torchrun if processes > 1 else alone), verb, str(experiment), "--out", out, *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=world.folder, env=environment, text=True, start_new_session=True, **pipes)


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def prompts(folder):
    return {path.name: load_prompt(path).tensors for path in sorted((folder / "prompts").glob("*.safetensors"))}


def dev_losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {(line["run"], line["step"]): line["dev_loss"] for line in lines if "dev_loss" in line}


@pytest.fixture(scope="module")
def one(world, experiment):
    finish(start(world, experiment, 1, "one"))
    return world.folder / "one"


def assert_same(folder, one):
    ours, theirs = prompts(folder), prompts(one)
    assert ours.keys() == theirs.keys()
    for name, tensors in theirs.items():
        for part, wanted in tensors.items():
            torch.testing.assert_close(ours[name][part], wanted, rtol=1e-4, atol=1e-4, msg=f"{name} {part}")
    losses, wanted_losses = dev_losses(folder), dev_losses(one)
    assert losses.keys() == wanted_losses.keys()
    assert max(abs(losses[key] - wanted_losses[key]) for key in losses) < 1e-4


def test_two_processes_train_what_one_does(world, experiment, one):
    out = finish(start(world, experiment, 2, "two"))
    assert_same(world.folder / "two", one)
    assert out.count("Report: two/report.html") == 1  # the second process says nothing
    assert {p.name for p in (world.folder / "two").iterdir()} == {p.name for p in one.iterdir()}


def test_the_first_stages_alone_are_shared_too(world, experiment, one):
    out = finish(start(world, experiment, 2, "stages", verb="distil"))
    assert out.count("Prompts: stages/prompts") == 1
    lines = (world.folder / "stages" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines))
    meta, wanted = (load_prompt(run / "prompts" / "metaprompt.safetensors").tensors for run in (world.folder / "stages", one))
    for name, tensor in wanted.items():
        torch.testing.assert_close(meta[name], tensor, rtol=1e-4, atol=1e-4)


def test_two_processes_that_share_the_backbone_train_what_one_does(world, experiment, one):
    """Each has half of every layer's weights (FSDP); one of them goes on with the whole backbone."""
    finish(start(world, experiment, 2, "split", "--set", "compute.shard=true"))
    assert_same(world.folder / "split", one)
    cells = {path.name: path.stat().st_mtime_ns for path in (world.folder / "split" / "cells").rglob("*.json")}
    finish(start(world, experiment, 1, "split", "--set", "compute.shard=true"))
    assert cells == {path.name: path.stat().st_mtime_ns for path in (world.folder / "split" / "cells").rglob("*.json")}


def test_a_killed_process_ends_the_run_in_one_sentence_and_one_process_goes_on(world, experiment, one):
    process = start(world, experiment, 2, "killed")
    teacher = world.folder / "killed" / "prompts" / "teacher-ddi.safetensors"
    until = time.monotonic() + 300
    while not teacher.is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    second = next(pid for pid in children(process.pid) if environment_of(pid).get("RANK") == "1")
    os.kill(second, signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0
    assert (
        "A process of this run has ended, and the others with it. Start the same command again: it goes on where it was." in err
    )
    before = teacher.stat().st_mtime_ns
    finish(start(world, experiment, 1, "killed"))
    assert teacher.stat().st_mtime_ns == before
    assert_same(world.folder / "killed", one)


def test_one_command_starts_two_processes_that_make_what_one_does(world, experiment, one):
    out = finish(start(world, experiment, 1, "beside", "--processes", "2"))
    assert_same(world.folder / "beside", one)
    assert out.count("Report: beside/report.html") == 1
    assert {p.name for p in (world.folder / "beside").iterdir()} == {p.name for p in one.iterdir()}
    made = json.loads((world.folder / "beside" / "provenance.json").read_text(encoding="utf-8"))
    assert made["command"].endswith("--processes 2") and made["parts"][0]["parts"] == ["1/2", "2/2"]


def test_a_process_that_fails_says_why_in_one_sentence_and_ends_the_others(world, experiment):
    finish(start(world, experiment, 1, "unfit", verb="distil"))
    (world.folder / "unfit" / "prompts" / "metaprompt.safetensors").write_bytes(b"no prompt")
    process = start(world, experiment, 1, "unfit", "--processes", "2")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    (sentence,) = [line for line in err.splitlines() if line.startswith("mpdd: ")]
    assert "metaprompt.safetensors" in sentence and "Traceback" not in err


@pytest.mark.parametrize("stage", ["teach", "adapt"])
def test_whoever_stops_the_first_process_stops_all(world, experiment, stage):
    process = start(world, experiment, 1, f"stopped-{stage}", "--processes", "2")
    folder = world.folder / f"stopped-{stage}"
    until, others = time.monotonic() + 300, []
    while len(others) < 2 or not list(folder.glob("checkpoints/teach*" if stage == "teach" else "metrics-*-of-2.jsonl")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        others = children(process.pid)
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line.startswith("mpdd: ")] == [
        "mpdd: stopped; the same command takes a run on from here."
    ]
    assert not [pid for pid in others if Path(f"/proc/{pid}").exists()]


def children(pid):
    """All processes below this one."""
    found = []
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found += [child, *children(child)]
    return found


def environment_of(pid):
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
