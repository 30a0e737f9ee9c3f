"""Dynamic batching with fair turns: requests that wait go into the engine's next batch together, and where several callers
wait, each gets its share of every batch, however long the requests of the others are."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from mpdd.errors import MpddError
from mpdd.inference.engines import EngineDownError
from mpdd.inference.predict import Prediction, Request

Answer = Callable[[Sequence[Request]], Sequence[Prediction]]
_CREDIT = 16.0  # batches that a caller who was idle may be ahead of the others: a whole long note with many tasks
_FIRST = 8.0  # cost of the first batch, when nothing was measured yet


class StoppedError(Exception):
    """The batcher takes no more work."""


class EngineError(Exception):
    """The engine failed on a job. What it said is dropped, as it may hold text."""


@dataclass(eq=False)
class _Job:
    """What was submitted at once. `taken` of its requests are in a batch or done, `left` have no answer yet."""

    caller: str
    requests: Sequence[Request]
    costs: Sequence[float]
    done: Future[list[Prediction]] = field(default_factory=Future)
    answers: dict[int, Prediction] = field(default_factory=dict)
    taken: int = 0

    def finish(self, first: int, answers: Sequence[Prediction]) -> None:
        """Take in the answers of the requests from `first` on; the last ones end the job."""
        self.answers.update(enumerate(answers, start=first))
        if len(self.answers) == len(self.requests):
            with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
                self.done.set_result([self.answers[n] for n in range(len(self.requests))])

    def fail(self, error: Exception) -> None:
        """End the job with an error."""
        with contextlib.suppress(InvalidStateError):
            self.done.set_exception(error)


@dataclass
class _Part:
    """The requests of a job, from `first` to before `last`, that are in one batch."""

    job: _Job
    first: int
    last: int

    @property
    def requests(self) -> Sequence[Request]:
        return self.job.requests[self.first : self.last]


class Batcher:
    """Runs `engine` in threads of its own on what was submitted, at most `rows` requests at a time, and no more than `pace`
    allows; long jobs take several batches.

    Batches are shared out by virtual time: the next request is that of the caller who has had the least work done, first
    come, first served among the requests of one caller. A caller that comes back after a pause may be ahead by some
    batches, no more; while it is, its batches are not filled up with requests of those who had more, as a batch takes as
    long as its longest answer. A failure of the engine reaches the jobs of that batch only: each is tried once more by itself, so
    that one bad job does not fail its neighbours; not so where the engine is down. `observe(n)` is told each batch's size.
    """

    def __init__(
        self, engine: Answer, rows: int = 64, observe: Callable[[int], object] = lambda _: None, threads: int = 1, *,
        pace: Pace | None = None, cost: Callable[[Request], float] = lambda _: 1.0,
    ) -> None:  # fmt: skip
        self._engine, self._rows, self._observe, self._cost = engine, rows, observe, cost
        self._pace = pace or Pace(0)
        self._queues: dict[str, deque[_Job]] = {}
        self._had: dict[str, float] = {}  # virtual time: the cost of what each caller has had
        self._now = 0.0  # the latest virtual time of a request that was taken
        self._running: set[_Job] = set()
        self._change = threading.Condition()
        self._stopped = False
        self._threads = [threading.Thread(target=self._run, name=f"batcher-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Requests that no batch has yet."""
        with self._change:
            return sum(len(job.requests) - job.taken for queue in self._queues.values() for job in queue)

    @property
    def seconds(self) -> float:
        """About how long what waits will take."""
        with self._change:
            costs = [sum(job.costs[job.taken :]) for queue in self._queues.values() for job in queue]
        return self._pace.expected(sum(costs))

    @property
    def is_busy(self) -> bool:
        """Whether a thread has not ended, after `stop`: the engine is still at work."""
        return any(thread.is_alive() for thread in self._threads)

    def submit(self, requests: Sequence[Request], caller: str = "") -> Future[list[Prediction]]:
        """Queue a caller's requests; the future gives their predictions in order. Cancelling it takes back what no batch has.

        Raises `StoppedError` after `stop`.
        """
        job = _Job(caller, requests, [self._cost(request) for request in requests])
        if not requests:
            job.done.set_result([])
            return job.done
        with self._change:
            if self._stopped:
                raise StoppedError
            if caller not in self._queues:
                self._queues[caller] = deque()
                credit = _CREDIT * min(self._pace.most(_FIRST), float(self._rows))
                self._had[caller] = max(self._had.get(caller, 0.0), self._now - credit)
            self._queues[caller].append(job)
            self._change.notify()
        return job.done

    def stop(self, patience: float | None = None) -> None:
        """Finish what was submitted, within `patience` seconds if given, and end the threads; the rest gets `StoppedError`.

        A batch that runs on is left behind (the threads do not keep the process alive).
        """
        until = None if patience is None else time.monotonic() + patience
        with self._change:
            self._stopped = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
        with self._change:
            left = {job for queue in self._queues.values() for job in queue} | self._running
            self._queues.clear()
            self._change.notify_all()
        for job in left:
            job.fail(StoppedError())

    def _run(self) -> None:
        while parts := self._next():
            requests = sum(part.last - part.first for part in parts)
            self._observe(requests)
            began = time.perf_counter()
            if down := self._failure(parts):
                for part in parts:
                    if failure := down if isinstance(down, EngineDownError) else self._failure([part]):
                        part.job.fail(failure)
            else:
                cost = sum(sum(part.job.costs[part.first : part.last]) for part in parts)
                self._pace.ran(cost, time.perf_counter() - began)
            with self._change:
                self._running -= {part.job for part in parts if part.job.done.done()}

    def _next(self) -> list[_Part]:
        """The next batch; nothing at the end."""
        with self._change:
            while True:
                self._change.wait_for(lambda: self._queues or self._stopped)
                parts: dict[_Job, _Part] = {}
                most, rows, cost, first = self._pace.most(_FIRST), 0, 0.0, 0.0
                while (job := self._job()) and rows < self._rows:
                    row_cost = job.costs[job.taken]
                    first = first if parts else self._had[job.caller]
                    if parts and (cost + row_cost > most or self._had[job.caller] > first + most):
                        break
                    part = parts.setdefault(job, _Part(job, job.taken, job.taken))
                    part.last = job.taken = job.taken + 1
                    self._now = max(self._now, self._had[job.caller])  # never back, or newcomers would get ahead of others
                    self._had[job.caller] += row_cost
                    rows, cost = rows + 1, cost + row_cost
                    self._drop_taken(job)
                if parts or self._stopped:
                    self._running |= parts.keys()
                    return list(parts.values())

    def _job(self) -> _Job | None:
        """The first job of the caller who has had the least; jobs that ended otherwise are dropped."""
        while self._queues:
            caller = min(self._queues, key=lambda name: self._had[name])
            job = self._queues[caller][0]
            if not job.done.done():
                return job
            job.taken = len(job.requests)
            self._running.discard(job)
            self._drop_taken(job)
        return None

    def _drop_taken(self, job: _Job) -> None:
        """Take a job whose requests are all in batches out of its queue."""
        if job.taken == len(job.requests):
            queue = self._queues[job.caller]
            queue.popleft()
            if not queue:
                del self._queues[job.caller]

    def _failure(self, parts: Sequence[_Part]) -> MpddError | EngineError | None:
        """Answer the parts in one batch; where that fails, say how, and answer none."""
        try:
            predictions = iter(self._engine([request for part in parts for request in part.requests]))
            answers = [[next(predictions) for _ in part.requests] for part in parts]
        except MpddError as error:  # says nothing of the text
            return error
        except Exception:
            return EngineError()
        for part, answer in zip(parts, answers, strict=True):
            part.job.finish(part.first, answer)
        return None


_KEPT = 0.98  # of what was learnt earlier, with each batch
_SPREAD = 0.05  # of the mean cost: batches more alike than this tell nothing about the time of a row


class Pace:
    """Fits `seconds = fixed + slope * cost` to the batches that were run, recent ones counting more.

    A batch may be as large as its varying part takes `seconds` (or the fixed part, where that is longer: on a machine
    that takes as long for one row as for many, small batches would only waste time). `seconds` of 0: no limit.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._lock = seconds, threading.Lock()
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def ran(self, cost: float, seconds: float) -> None:
        """Take a batch into account."""
        with self._lock:
            sums = (self._n, self._x, self._y, self._xx, self._xy)
            new = (1.0, cost, seconds, cost * cost, cost * seconds)
            self._n, self._x, self._y, self._xx, self._xy = (_KEPT * a + b for a, b in zip(sums, new, strict=True))

    def fit(self) -> tuple[float, float]:
        """The fixed seconds of a batch and the seconds for a cost of 1; zeros before the first batch."""
        with self._lock:
            if not self._n:
                return 0.0, 0.0
            cost, seconds = self._x / self._n, self._y / self._n
            variance = self._xx / self._n - cost * cost
            if variance <= (_SPREAD * cost) ** 2:
                return 0.0, seconds / cost  # cannot be told apart: all of it is taken for varying
            slope = max(0.0, (self._xy / self._n - cost * seconds) / variance)
            return max(0.0, seconds - slope * cost), slope

    def most(self, first: float) -> float:
        """The cost of the next batch; `first` until something was measured."""
        fixed, slope = self.fit()
        if not self._seconds:
            return float("inf")
        if not self._n:
            return first
        return max(self._seconds, fixed) / slope if slope else float("inf")

    def expected(self, cost: float) -> float:
        """Seconds that work of this cost takes, without the fixed part."""
        return self.fit()[1] * cost
