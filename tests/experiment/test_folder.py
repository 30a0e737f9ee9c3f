"""A run folder: finished units stay, another experiment's run is kept from harm, and one that never began may change."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from mpdd.data import catalogue
from mpdd.data.leaks import NOTHING, Held
from mpdd.errors import InputError
from mpdd.experiment import config
from mpdd.experiment.folder import RunFolder
from mpdd.experiment.setup import draw
from mpdd.progress import Reporter

LEAST = {"name": "small", "sources": ["bc5cdr_ner", "scifact"], "targets": ["rqe"]}
CELL = {"row": {"value": 0}}
FIRST, SECOND = config.build(LEAST, "a.toml"), config.build(LEAST | {"targets": ["phee"]}, "b.toml")


def test_the_configuration_is_written_as_resolved(tmp_path):
    RunFolder(tmp_path / "run", FIRST)
    assert (tmp_path / "run" / "config.toml").read_text(encoding="utf-8") == config.to_toml(FIRST)


@pytest.mark.parametrize("work", ["prompts", "cells", "checkpoints"])
def test_the_work_of_another_experiment_is_refused_and_kept(tmp_path, work):
    RunFolder(tmp_path, FIRST)
    (tmp_path / work).mkdir()
    with pytest.raises(InputError, match="another configuration.*--out"):
        RunFolder(tmp_path, SECOND)
    assert (tmp_path / "config.toml").read_text(encoding="utf-8") == config.to_toml(FIRST)
    RunFolder(tmp_path, FIRST)


@pytest.mark.parametrize("more", [{"seeds": [0, 1]}, {"shots": [4, "all"]}, {"methods": ["zero-shot", "ia3"]}], ids=str)
def test_a_run_goes_on_with_more_cells(tmp_path, more):
    RunFolder(tmp_path, FIRST)
    (tmp_path / "cells").mkdir()
    RunFolder(tmp_path, config.build(LEAST | more, "a.toml"))
    RunFolder(tmp_path, FIRST)


def test_a_run_does_not_go_on_from_another_first_seed(tmp_path):
    RunFolder(tmp_path, FIRST)
    (tmp_path / "cells").mkdir()
    with pytest.raises(InputError, match="but for methods, shots and further seeds"):
        RunFolder(tmp_path, config.build(LEAST | {"seeds": [1, 0]}, "a.toml"))


def test_a_run_of_the_former_objective_does_not_go_on_with_the_present_one(tmp_path):
    folder = RunFolder(tmp_path, FIRST)
    folder.unit("cell", lambda: CELL)
    written = tmp_path / "config.toml"
    written.write_text(written.read_text().replace('loss_per = "task"\n', ""))  # as versions before the key wrote it
    with pytest.raises(InputError, match="another configuration"):
        RunFolder(tmp_path, FIRST)
    RunFolder(tmp_path, FIRST.model_copy(update={"loss_per": "example"}))


def test_an_experiment_may_be_corrected_before_anything_was_trained(tmp_path):
    """A run that ended at its first step, for want of a backbone say, must not stand in its own way."""
    RunFolder(tmp_path, FIRST).write_json("provenance.json", {})
    RunFolder(tmp_path, SECOND)
    assert (tmp_path / "config.toml").read_text(encoding="utf-8") == config.to_toml(SECOND)


def test_a_unit_is_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"row": {"value": len(made)}}

    assert RunFolder(tmp_path, FIRST).unit("rqe/mpdd", make) == {"row": {"value": 1}}
    assert RunFolder(tmp_path, FIRST).unit("rqe/mpdd", make) == {"row": {"value": 1}}
    assert RunFolder(tmp_path, FIRST).unit("rqe/lora", make) == {"row": {"value": 2}}


def test_a_unit_that_fails_leaves_nothing_and_is_made_anew(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RunFolder(tmp_path, FIRST).unit("rqe/mpdd", fail)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.toml"]
    assert RunFolder(tmp_path, FIRST).unit("rqe/mpdd", lambda: CELL) == CELL


def test_steps_that_are_logged_again_after_a_kill_stand_there_once(tmp_path):
    for losses in ([3.0, 2.0, 1.0], [1.0, 0.5]):
        watch = RunFolder(tmp_path, FIRST).watch("teach", lambda: None, stage="teach", task=lambda job: job.split()[0])
        for step, loss in enumerate(losses, start=4 - len(losses)):
            watch.log("rqe lr 0.1", {"step": step, "loss": loss})
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == [
        f'{{"run": "teach/rqe lr 0.1", "stage": "teach", "task": "rqe", "step": {step}, "loss": {loss}}}'
        for step, loss in ((1, 3.0), (2, 1.0), (3, 0.5))
    ]


def test_half_a_line_that_a_kill_left_is_dropped(tmp_path):
    def log(step):
        RunFolder(tmp_path, FIRST).watch("teach", lambda: None).log("rqe", {"step": step})

    log(1)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"run": "teach/r')
    log(2)
    log(3)
    assert path.read_text() == "".join(f'{{"run": "teach/rqe", "step": {step}}}\n' for step in (1, 2, 3))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": 1', b"{}", b"[]", b"null", b'{"row": []}', b"[" * 200_000])
def test_a_damaged_unit_is_named_with_the_way_out(tmp_path, content):
    folder = RunFolder(tmp_path, FIRST)
    folder.unit("rqe/mpdd", lambda: CELL)
    (tmp_path / "cells" / "rqe--mpdd.json").write_bytes(content)
    with pytest.raises(InputError, match=r"rqe--mpdd\.json is damaged\. Delete it; the same command makes it anew\."):
        folder.unit("rqe/mpdd", dict)


def test_a_folder_in_the_place_of_which_a_file_lies_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(InputError, match="Cannot write to the run folder"):
        RunFolder(tmp_path / "file", FIRST)
    assert (tmp_path / "file").read_bytes() == b"kept"


@pytest.mark.parametrize(
    "line", ["{}", "[]", "null", '{"run": "teach"}', '{"run": [], "step": 1}', '{"run": "teach", "step": {}}']
)
def test_a_log_with_a_line_that_is_no_step_is_named(tmp_path, line):
    RunFolder(tmp_path, FIRST)
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged"):
        RunFolder(tmp_path, FIRST)


@pytest.mark.parametrize("content", ["{}", "[]", '{"data_sha256": {}, "backbone": "x"}'])
def test_a_provenance_that_says_nothing_is_named(tmp_path, content):
    folder = RunFolder(tmp_path, FIRST)
    (tmp_path / "cells").mkdir()
    (tmp_path / "provenance.json").write_text(content)
    with pytest.raises(InputError, match=r"provenance\.json is damaged"):
        folder.write_provenance({"data_sha256": {}, "backbone": {"fingerprint": "a"}})


# What an experiment draws of a task: within its limits, and a source without what a target tests on.

SOURCE, TARGET = "synthetic_drugs", "synthetic_allergy"
VALUES = {
    "name": "x",
    "backbone": "embedded",
    "sources": [SOURCE, "synthetic_dosage"],
    "targets": [TARGET],
    "methods": ["zero-shot"],
}


@pytest.fixture
def experiment():
    return config.build(VALUES | {"limits": {"train": 250, "dev": 20, "test": 10}}, "here")


def test_a_source_is_drawn_without_what_the_tests_hold(experiment):
    train, dev = catalogue.load(SOURCE).train, catalogue.load(SOURCE).dev
    held = Held.by([*train[:200], dev[0]])
    drawn = draw(experiment, SOURCE, held)
    assert drawn.left_out >= 201
    assert not {e.id for e in (*drawn.train, *drawn.dev)} & {e.id for e in (*train[:200], dev[0])}
    assert (len(drawn.train) <= 100, len(drawn.dev), len(drawn.test)) == (True, 20, 10)
    whole = draw(experiment, SOURCE, NOTHING)
    assert (len(whole.train), len(whole.dev), whole.left_out) == (250, 20, 0)


def test_a_source_of_which_nothing_is_left_is_refused(experiment):
    with pytest.raises(InputError, match="source synthetic_drugs has no examples left; found 30[0-9] that share a document"):
        draw(experiment, SOURCE, Held.by(catalogue.load(SOURCE).train))


def test_a_long_job_in_a_log_says_how_far_it_is_in_ever_rarer_lines(monkeypatch):
    seconds, log = iter(range(121)), io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    with Reporter(Console(file=log)).job("own mpdd", 1_200) as tick:
        for _ in range(120):
            tick(10)
    lines = ["  own mpdd: 150 of 1,200 after 15 s", "  own mpdd: 300 of 1,200 after 30 s", "  own mpdd: 600 of 1,200 after 60 s"]
    assert log.getvalue().splitlines() == lines
