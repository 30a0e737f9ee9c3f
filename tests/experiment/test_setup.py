"""What an experiment draws of a task: within its limits, and a source without what a target tests on."""

import io
import time

import pytest
from rich.console import Console

from mpdd.data import catalogue
from mpdd.data.leaks import NOTHING, Held
from mpdd.errors import InputError
from mpdd.experiment import config
from mpdd.experiment.setup import draw
from mpdd.progress import Reporter

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
