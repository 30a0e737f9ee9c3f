"""Batches are a function of seed and step; every example of an epoch comes once."""

from __future__ import annotations

from collections import Counter

from mpdd.data.mixture import few_shot, mixed, single


def test_single_goes_through_every_example_once_an_epoch():
    seen = [item for step in range(5) for item in single(range(20), size=4, step=step, seed=0)]
    assert sorted(seen) == list(range(20))
    assert single(range(20), size=4, step=7, seed=0) == single(range(20), size=4, step=7, seed=0)
    assert single(range(20), size=4, step=7, seed=0) != single(range(20), size=4, step=7, seed=1)


def test_single_wraps_when_the_batch_is_larger_than_the_data():
    assert Counter(single("ab", size=6, step=0, seed=0)) == {"a": 3, "b": 3}


def test_mixed_draws_a_random_number_of_tasks_and_is_uniform_over_them():
    pools = {name: [name] for name in "abcd"}
    batches = [mixed(pools, size=64, step=step, seed=0) for step in range(300)]
    assert {len(set(batch)) for batch in batches} == {2, 3, 4}
    counts = Counter(item for batch in batches for item in batch)
    assert all(0.2 < count / (64 * 300) < 0.3 for count in counts.values())
    everyone = [len(set(mixed(pools, size=64, step=step, seed=0, stochastic=False))) for step in range(50)]
    assert set(everyone) == {4}


def test_few_shot_is_nested_over_shots_and_differs_over_seeds():
    items = list(range(100))
    assert set(few_shot(items, 4, 0)) < set(few_shot(items, 16, 0))
    assert few_shot(items, 16, 0) != few_shot(items, 16, 1)
    assert few_shot(items, 1000, 0) == tuple(items)
