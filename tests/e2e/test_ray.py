"""Two Ray workers share a folder of real notes; one is killed midway, then the whole job, and nothing is lost or there twice."""

from __future__ import annotations

import json
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


def wait_for(output, count, process):
    until = time.monotonic() + 300
    while len(parts(output)) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)


def answered_by_a_job_with(prompt, output):
    """Rows of the parts that hold answers for no other prompt: those of a job that had no other one."""
    digest = load_prompt(prompt).header.digest
    tables = [parquet.read_table(path, columns=["prompt"]) for path in parts(output)]
    return sum(table.num_rows for table in tables if set(table["prompt"].to_pylist()) == {digest})


def require_whole(output, alone):
    rows = read_answers(output)
    keys = [tuple(row[name] for name in KEY) for row in rows]
    assert len(set(keys)) == len(keys) == NOTES * len(TASKS)
    assert {(row["id"], row["task"]): row["result"] for row in rows} == alone


def test_a_killed_worker_loses_nothing_and_repeats_nothing(world, job, alone, tmp_path):
    prompts, notes = job
    output = tmp_path / "out"
    process = world.start("predict", *prompts, notes, "--output", output, "--workers", 2)
    wait_for(output, 2, process)
    killed = workers_of(process)
    killed[0].send_signal(signal.SIGKILL)
    assert len(killed) == 2 and len(parts(output)) < 10
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    require_whole(output, alone)
    assert "1,280 answers" in errors and not said
    before = {path: path.read_bytes() for path in parts(output)}
    assert "0 answers in" in world.run("predict", *prompts, notes, "--output", output, "--workers", 2)[1]
    assert {path: path.read_bytes() for path in parts(output)} == before


def test_a_killed_job_goes_on_and_a_further_prompt_is_added(world, job, alone, tmp_path):
    """At once: workers outlive their job for seconds, go on writing, and may do nothing that the next job does, too."""
    prompts, notes = job
    output = tmp_path / "out"
    process = world.start("predict", prompts[0], notes, "--output", output, "--workers", 2)
    wait_for(output, 1, process)
    process.kill()
    process.wait()
    there = {path: path.read_bytes() for path in parts(output)}
    _, errors = world.run("predict", *prompts, notes, "--output", output, "--workers", 2)
    process.communicate()
    before = answered_by_a_job_with(prompts[0], output)
    assert 0 < before < NOTES
    assert re.search(rf"^{NOTES * len(TASKS) - before:,} answers in .*, {before:,} answered before", errors, re.MULTILINE)
    assert there.items() <= {path: path.read_bytes() for path in parts(output)}.items()
    require_whole(output, alone)


def test_a_note_that_cannot_be_answered_ends_the_job_without_its_text_shown(world, job, tmp_path):
    prompts, _ = job
    table = pyarrow.table({"id": ["a", "b"], "text": ["Jane Roe 4711", "Jane Roe 4712"], "choices": [None, 5]})
    parquet.write_table(table, tmp_path / "notes.parquet")
    process = world.start("predict", prompts[0], tmp_path / "notes.parquet", "--output", tmp_path / "out", "--workers", 2)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 1 and not said
    assert errors.splitlines()[-1].startswith("mpdd: notes.parquet, row 2: choices cannot be read; found int")
    assert "Jane" not in errors and "Traceback" not in errors
