"""What waits goes together; a failure stays with its own job; what was taken back is not run."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.errors import InputError
from mpdd.serving.batcher import Batcher, EngineError, Pace, StoppedError
from mpdd.serving.limits import Admission, Full, Limits, RateLimit
from tests.conftest import tries


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


def occupied_by_who_had_much(batcher, engine, requests):
    """A job of the caller "a", who has had as many requests answered before, that keeps the engine busy."""
    first = occupied(batcher, engine)
    before = batcher.submit([f"a{n}" for n in range(requests)], "a")
    engine.go.set()
    assert first.result(10) and before.result(10)
    engine.go.clear()
    engine.begun.clear()
    busy = batcher.submit([f"a{n}" for n in range(requests)], "a")
    assert engine.begun.wait(10)
    return busy


def test_what_waits_goes_together_and_each_gets_its_own(batcher, engine):
    first = occupied(batcher, engine)
    jobs = [batcher.submit([name, name.upper()]) for name in "abc"]
    assert batcher.waiting == 6
    engine.go.set()
    assert first.result(10) == ["first!"]
    assert [job.result(10) for job in jobs] == [["a!", "A!"], ["b!", "B!"], ["c!", "C!"]]
    assert engine.batches == [["first"], ["a", "A", "b", "B"], ["c", "C"]]


def test_a_job_larger_than_a_batch_takes_several(batcher, engine):
    assert batcher.submit(list("abcdefghi")).result(10) == [f"{letter}!" for letter in "abcdefghi"]
    assert engine.batches == [list("abcd"), list("efgh"), ["i"]]


def test_callers_share_every_batch_however_long_their_jobs(batcher, engine):
    first = occupied(batcher, engine)
    long = [batcher.submit([f"a{n}" for n in range(12)], "a") for _ in range(3)]
    short = batcher.submit(["b0", "b1", "b2"], "b")
    engine.go.set()
    assert first.result(10) and short.result(10) == ["b0!", "b1!", "b2!"]
    assert all(job.result(10) == [f"a{n}!" for n in range(12)] for job in long)
    rows = [row for batch in engine.batches[1:] for row in batch]
    assert rows.index("b2") < 8


def test_who_comes_back_after_a_pause_goes_first_but_not_for_ever(batcher, engine):
    busy = occupied_by_who_had_much(batcher, engine, 100)
    back = batcher.submit([f"b{n}" for n in range(200)], "b")
    engine.batches.clear()
    engine.go.set()
    assert busy.result(10) and back.result(10)
    rows = [row for batch in engine.batches for row in batch]
    ahead = next(n for n, row in enumerate(rows) if row.startswith("a"))
    assert 48 <= ahead <= 64 + 4  # the credit is sixteen batches of four
    later = rows[ahead : ahead + 40]
    assert 15 <= sum(row.startswith("a") for row in later) <= 25


class Steady(Pace):
    """Batches of a cost of 4, whatever they take."""

    def most(self, first):
        return 4.0


def test_a_short_request_after_a_pause_is_not_batched_with_the_long_work_of_another(engine):
    batcher = Batcher(engine, rows=8, pace=Steady(1.0))
    busy = occupied_by_who_had_much(batcher, engine, 40)
    back = batcher.submit(["b0", "b1"], "b")
    engine.batches.clear()
    engine.go.set()
    assert back.result(10) and busy.result(10)
    assert engine.batches[0] == ["b0", "b1"]
    assert all(len(batch) == 4 for batch in engine.batches[1:-1])
    batcher.stop()


def test_virtual_time_never_goes_back(engine):
    batcher = Batcher(engine, rows=4)
    heavy = batcher.submit([f"a{n}" for n in range(400)], "a")
    assert heavy.result(10)
    level = batcher._now
    for name in "bcdef":
        assert batcher.submit([f"{name}{n}" for n in range(4)], name).result(10)
        assert batcher._now >= level
        assert batcher._had[name] >= level - 16 * 4
    batcher.stop()


def test_callers_who_had_alike_share_their_batches(engine):
    batcher = Batcher(engine, rows=8, pace=Steady(1.0))
    first = occupied(batcher, engine)
    jobs = [batcher.submit([f"{name}{n}" for n in range(8)], name) for name in "ab"]
    engine.batches.clear()
    engine.go.set()
    assert first.result(10) and all(job.result(10) for job in jobs)
    assert {row[0] for row in engine.batches[0]} == {"a", "b"}
    batcher.stop()


@settings(max_examples=tries(100), deadline=None)
@given(
    jobs=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), min_size=1, max_size=20),
    rows=st.integers(1, 8), threads=st.integers(1, 3), bad=st.sets(st.integers(0, 19)), gone=st.sets(st.integers(0, 19)),
)  # fmt: skip
def test_every_job_ends_with_its_own_answers_whatever_fails_or_is_taken_back(jobs, rows, threads, bad, gone):
    def answer(requests):
        if any(number in bad for number, _ in requests):
            raise ValueError
        return [(*request, "!") for request in requests]

    batcher = Batcher(answer, rows, threads=threads)
    futures = [batcher.submit([(number, n) for n in range(size)], who) for number, (who, size) in enumerate(jobs)]
    for number in gone:
        if number < len(futures):
            futures[number].cancel()
    batcher.stop()
    for number, ((_, size), future) in enumerate(zip(jobs, futures, strict=True)):
        assert future.done()
        if future.cancelled():
            assert number in gone
        elif number in bad and size:
            assert isinstance(future.exception(), EngineError)
        else:
            assert future.result() == [(number, n, "!") for n in range(size)]
    assert not batcher._queues and not batcher._running


def test_a_long_job_that_was_taken_back_runs_no_further(batcher, engine):
    engine.go.clear()
    long = batcher.submit(list("abcdefghi"))
    assert engine.begun.wait(10) and long.cancel()
    after = batcher.submit(["after"])
    engine.go.set()
    assert after.result(10) == ["after!"]
    assert engine.batches == [list("abcd"), ["after"]]


def test_stopping_with_patience_leaves_what_does_not_end_in_time(engine):
    batcher = Batcher(engine, rows=1)
    running = occupied(batcher, engine)
    waiting = batcher.submit(["waits"])
    began = time.monotonic()
    batcher.stop(0.2)
    assert time.monotonic() - began < 5
    for job in (running, waiting):
        with pytest.raises(StoppedError):
            job.result(0)
    engine.go.set()
    for thread in batcher._threads:
        thread.join(10)
        assert not thread.is_alive()
    assert engine.batches == [["first"]]


def test_batches_hold_what_the_pace_allows(engine):
    pace = Pace(1.0)
    for cost in (5, 10, 20):
        pace.ran(cost, 0.1 * cost)
    batcher = Batcher(engine, rows=64, pace=pace, cost=lambda request: 0.5)
    first = occupied(batcher, engine)
    job = batcher.submit([str(n) for n in range(45)])
    engine.go.set()
    assert first.result(10) and job.result(10)
    batcher.stop()
    assert 5 <= len(engine.batches[1]) <= 20


SHAPES = [(0.1, 0.04, 12.5), (0.02, 1.0, 0.5), (2.0, 0.01, 200.0)]


@pytest.mark.parametrize(("fixed", "slope", "most"), SHAPES)
def test_the_pace_tells_the_fixed_part_of_a_batch_from_that_of_its_rows(fixed, slope, most):
    pace = Pace(0.5)
    assert pace.most(8.0) == 8.0
    for cost in (1, 4, 16, 2, 8, 30):
        pace.ran(cost, fixed + slope * cost)
    assert pace.most(8.0) == pytest.approx(most, rel=1e-3)
    assert pace.expected(10) == pytest.approx(10 * slope, rel=1e-3)
    assert Pace(0).most(8.0) == float("inf")


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


# A rate for each caller, and a bounded number of requests inside, whatever is cancelled.


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_burst_then_the_rate_for_each_caller_alone():
    clock = Clock()
    limit = RateLimit(60, 2, clock)
    assert [limit.wait_for("a") for _ in range(3)] == [0, 0, pytest.approx(1.0)]
    assert limit.wait_for("b") == 0
    clock.now += 0.5
    assert limit.wait_for("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert limit.wait_for("a") == 0


@given(gaps=st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_never_more_than_the_burst_and_the_rate(gaps):
    clock = Clock()
    limit, taken = RateLimit(60, 5, clock), 0
    for gap in gaps:
        clock.now += gap
        taken += limit.wait_for("a") == 0
        assert taken <= 5 + clock.now + 1e-6


def test_who_waited_as_told_gets_in():
    clock = Clock()
    limit = RateLimit(7, 1, clock)
    assert limit.wait_for("a") == 0
    for _ in range(20):
        clock.now += limit.wait_for("a") + 1e-6
        assert limit.wait_for("a") == 0


def test_idle_callers_are_forgotten():
    clock = Clock()
    limit = RateLimit(60, 5, clock)
    for number in range(5000):
        clock.now += 10
        limit.wait_for(str(number))
    assert len(limit._left) <= 1001


def test_whoever_floods_with_new_addresses_is_not_remembered_for_ever():
    clock = Clock()
    limit = RateLimit(1, 1, clock)
    for number in range(20_000):
        clock.now += 0.001
        limit.wait_for(str(number))
    assert len(limit._left) <= 1001


def test_each_caller_has_places_of_its_own_and_all_have_no_more_than_there_are():
    async def go():
        admission = Admission(Limits(requests=3, caller_requests=2))
        async with admission.admitted("a"), admission.admitted("a"):
            with pytest.raises(Full) as full:
                async with admission.admitted("a"):
                    pass
            assert full.value.caller
            async with admission.admitted("b"):
                with pytest.raises(Full) as full:
                    async with admission.admitted("c"):
                        pass
                assert not full.value.caller
            async with admission.admitted("c"):
                assert admission.inside == 3
        assert admission.inside == 0

    asyncio.run(go())


def test_rows_of_a_caller_are_bounded_and_given_back():
    async def go():
        admission = Admission(Limits(caller_rows=10))
        async with admission.admitted("a") as first, admission.admitted("a") as second, admission.admitted("b") as other:
            first.take(6)
            with pytest.raises(Full):
                second.take(5)
            second.take(4)
            other.take(10)
        async with admission.admitted("a") as again:
            again.take(10)
        assert not admission._rows and not admission._requests

    asyncio.run(go())


@settings(max_examples=tries(60), deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 3), st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from("acsse"), st.integers(0, 9), st.sampled_from("xyz"), st.integers(0, 8)), max_size=60),
)  # fmt: skip
def test_bounds_hold_and_draining_ends_whatever_is_cancelled_when(requests, caller_requests, caller_rows, actions):
    limits = Limits(requests=requests, caller_requests=caller_requests, caller_rows=caller_rows)

    async def work(admission, gate, caller, rows):
        async with admission.admitted(caller) as place:
            place.take(rows)
            await gate.wait()

    async def go():
        admission, gates, jobs = Admission(limits), [], []
        for action, number, caller, rows in actions:
            if action == "a":
                gates.append(asyncio.Event())
                jobs.append(asyncio.create_task(work(admission, gates[-1], caller, rows)))
            elif action == "c" and jobs:
                jobs[number % len(jobs)].cancel()
            elif action == "e" and jobs:
                gates[number % len(gates)].set()
            elif action == "s":
                await asyncio.sleep(0)
            assert admission.inside <= requests
            assert all(count <= caller_requests for count in admission._requests.values())
            assert all(count <= caller_rows for count in admission._rows.values())
        admission.drain()
        for gate in gates:
            gate.set()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.wait_for(admission.drained(), 5)
        assert all(outcome is None or isinstance(outcome, Full | asyncio.CancelledError) for outcome in outcomes)
        assert admission.inside == 0 and not admission._rows

    asyncio.run(go())
