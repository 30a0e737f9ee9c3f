"""Two processes against one, of torchrun and of `--processes`: the same training to rounding, a clear end when one
is killed, and one goes on.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli_w
import torch

from mpdd.prompts.store import load_prompt
from tests.e2e.conftest import EXPERIMENT

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


def ranks(world, experiment, out, *options, verb="run"):
    """Two processes that work together: what torchrun tells its processes, they find in their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    joined = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    command = (verb, experiment, "--out", out, *options)
    return [world.start(*command, **joined, RANK=str(number), LOCAL_RANK=str(number)) for number in (0, 1)]


def finish(*processes):
    """What the first of some processes printed, when all have come to a good end."""
    printed = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), printed
    return printed[0][0]


def prompts(folder):
    return {path.name: load_prompt(path).tensors for path in sorted((folder / "prompts").glob("*.safetensors"))}


def dev_losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {(line["run"], line["step"]): line["dev_loss"] for line in lines if "dev_loss" in line}


@pytest.fixture(scope="module")
def one(world, experiment):
    world.run("run", experiment, "--out", "one")
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
    """The first stages by `distil`, which shares them out, too, and the others by torchrun itself in the same folder."""
    folder = world.folder / "two"
    out = finish(*ranks(world, experiment, "two", verb="distil"))
    assert out.count("Prompts: two/prompts") == 1
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines))
    metaprompt = folder / "prompts" / "metaprompt.safetensors"
    written = metaprompt.stat().st_mtime_ns
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mpdd"]
    command = [*torchrun, "run", str(experiment), "--out", "two"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    out = finish(subprocess.Popen(command, cwd=world.folder, env=world.environment, text=True, **pipes))
    assert metaprompt.stat().st_mtime_ns == written
    assert_same(folder, one)
    assert out.count("Report: two/report.html") == 1  # the second process says nothing
    assert {p.name for p in folder.iterdir()} == {p.name for p in one.iterdir()}


def test_two_processes_that_share_the_backbone_train_what_one_does(world, experiment, one):
    """All stages; each has half of every layer's weights (FSDP). One of them goes on with the whole backbone."""
    finish(*ranks(world, experiment, "split", "--set", "compute.shard=true"))
    assert_same(world.folder / "split", one)
    cells = {path.name: path.stat().st_mtime_ns for path in (world.folder / "split" / "cells").rglob("*.json")}
    world.run("run", experiment, "--out", "split", "--set", "compute.shard=true")
    assert cells == {path.name: path.stat().st_mtime_ns for path in (world.folder / "split" / "cells").rglob("*.json")}


def wait_until(reached, process):
    """Wait for `reached()`; the process must not end before."""
    until = time.monotonic() + 300
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_process_ends_the_run_in_one_sentence_and_one_process_goes_on(world, experiment, one):
    first, second = ranks(world, experiment, "killed")
    teacher = world.folder / "killed" / "prompts" / "teacher-ddi.safetensors"
    wait_until(teacher.is_file, first)
    second.kill()
    _, err = first.communicate(timeout=300)
    assert first.returncode == 1
    assert err.splitlines()[-1] == (
        "mpdd: A process of this run has ended, and the others with it. Start the same command again: it goes on where it was."
    )
    before = teacher.stat().st_mtime_ns
    world.run("run", experiment, "--out", "killed")
    assert teacher.stat().st_mtime_ns == before
    assert_same(world.folder / "killed", one)


def test_one_command_starts_two_processes_that_make_what_one_does_also_if_it_is_stopped(world, experiment, one):
    """It is stopped while they teach and while they adapt, and goes on: whoever stops the first process stops all."""
    folder, command = world.folder / "beside", ("run", experiment, "--out", "beside", "--processes", "2")
    for begun in ("checkpoints/teach*", "metrics-*-of-2.jsonl"):
        process = world.start(*command)
        wait_until(lambda: len(children(process.pid)) >= 2 and list(folder.glob(begun)), process)  # noqa: B023
        others = children(process.pid)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert [line for line in err.splitlines() if line.startswith("mpdd: ")] == [
            "mpdd: stopped; the same command takes a run on from here."
        ]
        assert len(others) >= 2
        until = time.monotonic() + 10  # Python's own helper process ends when it sees that its parent has
        while left := [pid for pid in others if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < until, left
            time.sleep(0.02)
    out, _ = world.run(*command)
    assert_same(folder, one)
    assert out.count("Report: beside/report.html") == 1
    assert {p.name for p in folder.iterdir()} == {p.name for p in one.iterdir()}
    made = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert made["command"].endswith("--processes 2") and made["parts"][0]["parts"] == ["1/2", "2/2"]


def test_a_process_that_fails_says_why_in_one_sentence_and_ends_the_others(world, experiment, one):
    shutil.copytree(one, world.folder / "unfit")
    shutil.rmtree(world.folder / "unfit" / "cells")
    (world.folder / "unfit" / "prompts" / "metaprompt.safetensors").write_bytes(b"no prompt")
    process = world.start("run", experiment, "--out", "unfit", "--processes", "2")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    (sentence,) = [line for line in err.splitlines() if line.startswith("mpdd: ")]
    assert "metaprompt.safetensors" in sentence and "Traceback" not in err


def children(pid):
    """All processes below this one."""
    found = []
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found += [child, *children(child)]
    return found
