"""Which examples a training step sees: a pure function of (seed, step), so that a resumed run sees the same ones."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

Item = TypeVar("Item")


def single(items: Sequence[Item], *, size: int, step: int, seed: int) -> list[Item]:
    """Batch number `step` of an endless pass over `items`, each epoch in its own random order."""
    batch: list[Item] = []
    for position in range(step * size, (step + 1) * size):
        epoch, index = divmod(position, len(items))
        batch.append(items[_order(len(items), f"{seed}/{epoch}")[index]])
    return batch


def mixed(
    pools: Mapping[str, Sequence[Item]], *, size: int, step: int, seed: int, stochastic: bool = True, proportion: float = 0.0
) -> list[Item]:
    """A mixed-task batch: draw K' ~ U{2..K} tasks, then examples over those tasks (MPT, section 3.2).

    With `stochastic` off every task takes part in every draw. A task is drawn in proportion to its size to the power of
    `proportion`: 0 draws all alike, 1 every example alike.
    """
    rng = random.Random(f"{seed}/{step}")
    names = sorted(pools)
    if stochastic and len(names) > 2:
        names = rng.sample(names, rng.randint(2, len(names)))
    if proportion:
        weights = [len(pools[name]) ** proportion for name in names]
        return [rng.choice(pools[name]) for name in rng.choices(names, weights, k=size)]
    return [rng.choice(pools[rng.choice(names)]) for _ in range(size)]


def few_shot(items: Sequence[Item], shots: int, seed: int) -> tuple[Item, ...]:
    """The `shots` examples that every method sees for this seed (all of them when there are fewer)."""
    return tuple(items[i] for i in sorted(_order(len(items), f"shots/{seed}")[:shots]))


@lru_cache(maxsize=256)
def _order(count: int, key: str) -> tuple[int, ...]:
    order = list(range(count))
    random.Random(key).shuffle(order)
    return tuple(order)
