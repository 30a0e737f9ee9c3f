"""A rate for each caller, and a bounded number of requests inside, whatever is cancelled."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.serving.limits import Admission, Full, Limits, RateLimit
from tests.conftest import tries


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
