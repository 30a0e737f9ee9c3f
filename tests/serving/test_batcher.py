"""What waits goes together; a failure stays with its own job; what was taken back is not run."""

import threading
from concurrent.futures import CancelledError

import pytest

from mpdd.errors import InputError
from mpdd.serving.batcher import Batcher, EngineError, StoppedError


class Engine:
    """Answers each request with itself; waits where told to, fails on "bad" and complains about "long"."""

    def __init__(self):
        self.batches = []
        self.go, self.begun = threading.Event(), threading.Event()
        self.go.set()

    def __call__(self, requests):
        self.batches.append(list(requests))
        self.begun.set()
        assert self.go.wait(10)
        if "bad" in requests:
            raise ValueError("the text itself")
        if "long" in requests:
            raise InputError("Too long")
        return [f"{request}!" for request in requests]


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def batcher(engine):
    made = Batcher(engine, rows=4)
    yield made
    engine.go.set()
    made.stop()


def occupied(batcher, engine):
    """A job that keeps the engine busy."""
    engine.go.clear()
    first = batcher.submit(["first"])
    assert engine.begun.wait(10)
    return first


def test_what_waits_goes_together_and_each_gets_its_own(batcher, engine):
    first = occupied(batcher, engine)
    jobs = [batcher.submit([name, name.upper()]) for name in "abc"]
    assert batcher.waiting == 6
    engine.go.set()
    assert first.result(10) == ["first!"]
    assert [job.result(10) for job in jobs] == [["a!", "A!"], ["b!", "B!"], ["c!", "C!"]]
    assert engine.batches == [["first"], ["a", "A", "b", "B"], ["c", "C"]]


def test_a_job_larger_than_a_batch_goes_whole(batcher, engine):
    assert len(batcher.submit(list("abcdefgh")).result(10)) == 8
    assert engine.batches == [list("abcdefgh")]


def test_a_failure_stays_with_its_own_job_and_says_nothing(batcher, engine):
    first = occupied(batcher, engine)
    good, bad, long = batcher.submit(["good"]), batcher.submit(["bad"]), batcher.submit(["long"])
    engine.go.set()
    assert first.result(10) and good.result(10) == ["good!"]
    with pytest.raises(EngineError) as failed:
        bad.result(10)
    assert not failed.value.args
    with pytest.raises(InputError, match="Too long"):
        long.result(10)


def test_what_is_taken_back_before_its_batch_is_not_run(batcher, engine):
    first = occupied(batcher, engine)
    gone, kept = batcher.submit(["gone"]), batcher.submit(["kept"])
    assert gone.cancel()
    engine.go.set()
    assert first.result(10) and kept.result(10) == ["kept!"]
    with pytest.raises(CancelledError):
        gone.result(0)
    assert ["gone"] not in engine.batches


def test_stopping_finishes_what_was_submitted(engine):
    batcher = Batcher(engine, rows=1)
    jobs = [batcher.submit([str(n)]) for n in range(5)]
    batcher.stop()
    assert [job.result(0) for job in jobs] == [[f"{n}!"] for n in range(5)]
    with pytest.raises(StoppedError):
        batcher.submit(["late"])


def test_many_threads_get_their_own_answers(batcher):
    wrong = []

    def ask(n):
        if batcher.submit([n, -n]).result(10) != [f"{n}!", f"{-n}!"]:
            wrong.append(n)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
