"""Makes what a training loop needs next meanwhile: in a thread, or in processes where one core is too slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")
_made_by: Callable[[int], Any]


def ahead(make: Callable[[int], T], steps: Sequence[int], workers: int = 0) -> Iterator[T]:
    """`make(step)` for each of `steps`, in their order; `workers` processes (0: a thread) keep four a process ready.

    The processes are forked at once, so they have what `make` refers to without a copy: call this before a GPU is in use.
    """
    left = iter(steps)
    coming: deque[Future[T]] = deque()
    pool: Executor = _forked(make, workers) if workers else ThreadPoolExecutor(1)
    ask = _make if workers else make

    def send(count: int) -> None:
        coming.extend(pool.submit(ask, step) for step in islice(left, count))

    def results() -> Iterator[T]:
        with pool:
            while coming:
                found = coming.popleft().result()
                send(1)
                yield found

    send(max(1, 4 * workers))
    return results()


def _forked(make: Callable[[int], Any], workers: int) -> Executor:
    return ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=_adopt, initargs=(make,))


def _adopt(make: Callable[[int], Any]) -> None:
    global _made_by  # noqa: PLW0603
    _made_by = make


def _make(step: int) -> Any:
    return _made_by(step)
