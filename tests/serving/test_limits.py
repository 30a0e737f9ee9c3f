"""A rate for each caller, and a bounded number of requests inside, whatever is cancelled."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.serving.limits import Full, RateLimit, Slots


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


def test_as_many_run_and_wait_as_there_is_room_for():
    async def go():
        slots, release = Slots(2, 1), asyncio.Event()

        async def work():
            async with slots.admitted():
                await release.wait()

        tasks = [asyncio.create_task(work()) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert (slots.running, slots.waiting) == (2, 1)
        with pytest.raises(Full) as full:
            await work()
        assert full.value.retry_after > 0
        release.set()
        await asyncio.gather(*tasks)
        assert (slots.running, slots.waiting) == (0, 0)

    asyncio.run(go())


def test_what_is_cancelled_frees_its_place():
    async def go():
        slots, release = Slots(1, 1), asyncio.Event()

        async def work():
            async with slots.admitted():
                await release.wait()

        runs, waits = asyncio.create_task(work()), asyncio.create_task(work())
        await asyncio.sleep(0.01)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        assert (slots.running, slots.waiting) == (1, 0)
        third = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        runs.cancel()
        await asyncio.gather(runs, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert (slots.running, slots.waiting) == (1, 0)
        release.set()
        await third

    asyncio.run(go())


def test_draining_admits_nobody_and_waits_for_the_rest():
    async def go():
        slots, release = Slots(1, 1), asyncio.Event()

        async def work():
            async with slots.admitted():
                await release.wait()

        first, second = asyncio.create_task(work()), asyncio.create_task(work())
        await asyncio.sleep(0.01)
        slots.drain()
        with pytest.raises(Full):
            await work()
        done = asyncio.create_task(slots.drained())
        await asyncio.sleep(0.01)
        assert not done.done()
        release.set()
        await asyncio.wait_for(done, 5)
        await asyncio.gather(first, second)

    asyncio.run(go())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(0, 3), st.lists(st.tuples(st.sampled_from("acsse"), st.integers(0, 9)), max_size=60))
def test_bounds_hold_and_draining_ends_whatever_is_cancelled_when(most_running, most_waiting, actions):
    async def work(slots, gate):
        async with slots.admitted():
            await gate.wait()

    async def go():
        slots, gates, jobs, inside = Slots(most_running, most_waiting), [], [], (0, 0)
        for action, number in actions:
            if action == "a":
                gates.append(asyncio.Event())
                jobs.append(asyncio.create_task(work(slots, gates[-1])))
            elif action == "c" and jobs:
                jobs[number % len(jobs)].cancel()
            elif action == "e" and jobs:
                gates[number % len(gates)].set()
            elif action == "s":
                await asyncio.sleep(0)
            inside = (slots.running, slots.waiting)
            assert 0 <= inside[0] <= most_running and 0 <= inside[1] <= most_waiting
        slots.drain()
        for gate in gates:
            gate.set()
        await asyncio.wait_for(slots.drained(), 5)
        said = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(one is None or isinstance(one, Full | asyncio.CancelledError) for one in said)
        assert (slots.running, slots.waiting) == (0, 0)

    asyncio.run(go())
