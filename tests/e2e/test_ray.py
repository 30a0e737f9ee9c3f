"""Two Ray workers share a folder of real notes; the job is killed midway, then one worker, and nothing is lost or twice."""

from __future__ import annotations

import json
import math
import re
import signal
import time

import psutil
import pyarrow
import pytest
from pyarrow import parquet

from mpdd.annotate.ray import KEY, read_answers
from mpdd.backbone.model import load as load_backbone
from mpdd.data import catalogue
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, load_prompt, save_prompt

pytest.importorskip("ray")
pytestmark = pytest.mark.e2e
TASKS = ("ncbi_disease", "phee")
NOTES = 640
RAY = {"RAY_worker_niceness": "0"}  # else its workers, of niceness 15, starve where the machine is busy


@pytest.fixture(scope="module")
def job(world):
    """Prompt files of two tasks, and short real notes in two Parquet files with small row groups."""
    backbone = load_backbone(str(world.backbone))
    prompts = []
    for seed, name in enumerate(TASKS):
        rows = from_vocabulary(backbone, 4, seed=seed)
        header = Header("soft", str(world.backbone), backbone.fingerprint, 4, backbone.width, card=catalogue.get(name).card)
        prompts.append(save_prompt(world.folder / f"{name}.safetensors", {"rows": rows}, header).path)
    texts = [one.text[:200] for one in catalogue.load("phee").train[:NOTES]]
    notes = world.folder / "notes"
    notes.mkdir()
    for half in (0, 1):
        chosen = range(half, NOTES, 2)
        table = pyarrow.table({"id": [f"n{i}" for i in chosen], "text": [texts[i] for i in chosen]})
        parquet.write_table(table, notes / f"{half}.parquet", row_group_size=100)
    return prompts, notes


@pytest.fixture(scope="module")
def alone(world, job):
    """What one process answers, by note and task."""
    prompts, notes = job
    found = {}
    for file in sorted(notes.iterdir()):
        output = world.folder / f"{file.stem}.jsonl"
        world.run("predict", *prompts, file, "--output", output)
        found |= {(row["id"], row["task"]): row for row in map(json.loads, output.read_text().splitlines())}
    return found


def workers_of(process):
    """Ray's processes that answer, which say what they are."""
    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        try:
            if one.name().startswith("ray::") and "Worker" in " ".join(one.cmdline()):
                found.append(one)
        except psutil.NoSuchProcess:
            pass
    return found


def parts(output):
    return sorted(output.glob("part-*.parquet"))


def wait_for(reached, process):
    """Wait for `reached()`. Ray's own start is not counted: on a busy machine it takes minutes."""
    until = math.inf
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        if until == math.inf and workers_of(process):
            until = time.monotonic() + 300
        time.sleep(0.05)


def answers_of(prompt, output, *, alone=False):
    """Rows of the parts with answers for a prompt; or of those that have no other, by a job that had no other prompt."""
    digest = load_prompt(prompt).header.digest
    found = [parquet.read_table(path, columns=["prompt"])["prompt"].to_pylist() for path in parts(output)]
    return sum(len(row) for row in found if digest in row and not (alone and set(row) != {digest}))


def require_whole(output, alone):
    rows = read_answers(output)
    keys = [tuple(row[name] for name in KEY) for row in rows]
    assert len(set(keys)) == len(keys) == NOTES * len(TASKS)
    assert {(row["id"], row["task"]): row["result"] for row in rows} == alone


def test_a_killed_job_goes_on_with_a_further_prompt_and_a_killed_worker_loses_nothing(world, job, alone, tmp_path):
    """The second job starts at once: workers outlive their job for seconds, go on writing, and may do nothing that the next job
    does, too. One of its own two workers is killed; the answers are whole, and the same command then does nothing."""
    prompts, notes = job
    output = tmp_path / "out"
    first = world.start("predict", prompts[0], notes, "--output", output, "--workers", 2, **RAY)
    wait_for(lambda: parts(output), first)
    first.kill()
    first.wait()
    there = {path: path.read_bytes() for path in parts(output)}
    command = ("predict", *prompts, notes, "--output", output, "--workers", 2)
    process = world.start_python(*command, **RAY)
    wait_for(lambda: answers_of(prompts[1], output), process)
    killed = workers_of(process)
    killed[0].send_signal(signal.SIGKILL)
    assert len(killed) == 2 and answers_of(prompts[1], output) < NOTES
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0 and not said, errors
    before = answers_of(prompts[0], output, alone=True)
    assert 0 < before < NOTES
    assert re.search(rf"^{NOTES * len(TASKS) - before:,} answers in .*, {before:,} answered before", errors, re.MULTILINE)
    assert there.items() <= {path: path.read_bytes() for path in parts(output)}.items()
    require_whole(output, alone)
    made = {path: path.read_bytes() for path in parts(output)}
    assert "0 answers in" in world.run(*command)[1]
    assert {path: path.read_bytes() for path in parts(output)} == made


def test_a_note_that_cannot_be_answered_ends_the_job_without_its_text_shown(world, job, tmp_path):
    prompts, _ = job
    table = pyarrow.table({"id": ["a", "b"], "text": ["Jane Roe 4711", "Jane Roe 4712"], "choices": [None, 5]})
    parquet.write_table(table, tmp_path / "notes.parquet")
    process = world.start("predict", prompts[0], tmp_path / "notes.parquet", "--output", tmp_path / "out", "--workers", 1, **RAY)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 1 and not said
    assert errors.splitlines()[-1].startswith("mpdd: notes.parquet, row 2: choices cannot be read; found int")
    assert "Jane" not in errors and "Traceback" not in errors
