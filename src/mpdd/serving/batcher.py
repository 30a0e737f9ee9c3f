"""Dynamic batching: while the engine works on a batch, requests gather; those that wait go into its next one together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from mpdd.engines import EngineDownError
from mpdd.errors import MpddError
from mpdd.predict import Prediction, Request

Answer = Callable[[Sequence[Request]], Sequence[Prediction]]


class StoppedError(Exception):
    """The batcher takes no more work."""


class EngineError(Exception):
    """The engine failed on a job. What it said is dropped, as it may hold text."""


@dataclass(frozen=True)
class _Job:
    requests: Sequence[Request]
    done: Future[list[Prediction]]


class Batcher:
    """Runs `engine` in threads of its own on what was submitted, at most `rows` requests at a time unless one job has more.

    A failure of the engine reaches the jobs of that batch only: each is tried once more by itself, so that one bad job does
    not fail its neighbours; not so where the engine is down. `observe(n)` is told the size of each batch.
    """

    def __init__(
        self, engine: Answer, rows: int = 64, observe: Callable[[int], object] = lambda _: None, threads: int = 1
    ) -> None:
        self._engine, self._rows, self._observe = engine, rows, observe
        self._waiting: deque[_Job] = deque()
        self._change = threading.Condition()
        self._stopped = False
        self._threads = [threading.Thread(target=self._run, name=f"batcher-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Requests that no batch has yet."""
        with self._change:
            return sum(len(job.requests) for job in self._waiting)

    def submit(self, requests: Sequence[Request]) -> Future[list[Prediction]]:
        """Queue requests; the future gives their predictions in order. Cancelling it before its batch starts takes them back.

        Raises `StoppedError` after `stop`.
        """
        job = _Job(requests, Future())
        with self._change:
            if self._stopped:
                raise StoppedError
            self._waiting.append(job)
            self._change.notify()
        return job.done

    def stop(self) -> None:
        """Finish what was submitted, then end the threads."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while jobs := self._next():
            self._observe(sum(len(job.requests) for job in jobs))
            if down := self._failure(jobs):
                for job in jobs:
                    if failure := down if isinstance(down, EngineDownError) else self._failure([job]):
                        job.done.set_exception(failure)

    def _next(self) -> list[_Job]:
        """The jobs of the next batch; none at the end."""
        with self._change:
            while True:
                self._change.wait_for(lambda: self._waiting or self._stopped)
                jobs: list[_Job] = []
                rows = 0
                while self._waiting and (not jobs or rows + len(self._waiting[0].requests) <= self._rows):
                    job = self._waiting.popleft()
                    if job.done.set_running_or_notify_cancel():
                        jobs.append(job)
                        rows += len(job.requests)
                if jobs or self._stopped:
                    return jobs

    def _failure(self, jobs: Sequence[_Job]) -> MpddError | EngineError | None:
        """Answer the jobs in one batch; where that fails, say how, and answer none."""
        try:
            found = iter(self._engine([request for job in jobs for request in job.requests]))
            answers = [[next(found) for _ in job.requests] for job in jobs]
        except MpddError as error:  # says nothing of the text
            return error
        except Exception:
            return EngineError()
        for job, answer in zip(jobs, answers, strict=True):
            job.done.set_result(answer)
        return None
