"""Makes what a training loop needs next meanwhile: in a thread, or in processes where one core is too slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")
_made_by: Callable[[int], Any]


def ahead(make: Callable[[int], T], steps: Sequence[int], workers: int = 0) -> Iterator[T]:
    """`make(step)` for each of `steps`, in their order; `workers` processes (0: a thread) keep four a process ready.

    The processes are forked at once, so they have what `make` refers to without a copy: call this before a GPU is in use.
    """
    left = iter(steps)
    pool: Executor = ThreadPoolExecutor(1)
    if workers:
        pool = ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=_adopt, initargs=(make,))
    ask = _make if workers else make
    coming: deque[Future[T]] = deque()
    for _, step in zip(range(max(1, 4 * workers)), left, strict=False):
        coming.append(pool.submit(ask, step))

    def results() -> Iterator[T]:
        with pool:
            while coming:
                found = coming.popleft().result()
                for step in left:
                    coming.append(pool.submit(ask, step))
                    break
                yield found

    return results()


def _adopt(make: Callable[[int], Any]) -> None:
    global _made_by  # noqa: PLW0603
    _made_by = make


def _make(step: int) -> Any:
    return _made_by(step)
