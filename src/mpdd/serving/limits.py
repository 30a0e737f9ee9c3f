"""How much is let in: a rate for each caller, and a bounded number of requests that run or wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_KEPT = 1000  # callers remembered before idle ones are dropped


class RateLimit:
    """A token bucket for each caller: `burst` requests at once, `per_minute` in the long run."""

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = per_minute / 60, float(burst), clock
        self._left: dict[str, tuple[float, float]] = {}  # what was left, and when

    def wait_for(self, caller: str) -> float:
        """Take one request and return 0, or take none and return the seconds until there is one."""
        now = self._clock()
        left, seen = self._left.get(caller, (self._burst, now))
        left = min(self._burst, left + (now - seen) * self._rate)
        if left < 1:
            self._left[caller] = left, now
            return (1 - left) / self._rate
        self._left[caller] = left - 1, now
        if len(self._left) > _KEPT:
            self._left = {name: kept for name, kept in self._left.items() if self._is_short(kept, now)}
        return 0.0

    def _is_short(self, kept: tuple[float, float], now: float) -> bool:
        return kept[0] + (now - kept[1]) * self._rate < self._burst


class Full(Exception):  # noqa: N818  a state of the server rather than an error of it
    """There is no room; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


class Slots:
    """At most `most_running` requests at a time, and `most_waiting` that wait for one of these to end. For one event loop."""

    def __init__(self, most_running: int, most_waiting: int) -> None:
        self._most_running, self._most_waiting = most_running, most_waiting
        self._change = asyncio.Condition()
        self.running = self.waiting = 0
        self.draining = False

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it. Raises `Full` at once where too many wait, or after `drain`."""
        if self.draining or (self.running >= self._most_running and self.waiting >= self._most_waiting):
            raise Full(5.0 if self.draining else 1.0)
        self.waiting += 1
        try:
            async with self._change:
                await self._change.wait_for(lambda: self.running < self._most_running)
                self.running += 1
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self.running -= 1
            await asyncio.shield(self._tell())

    def drain(self) -> None:
        """Admit nobody any more."""
        self.draining = True

    async def drained(self) -> None:
        """Return when none runs or waits."""
        async with self._change:
            await self._change.wait_for(lambda: not self.running and not self.waiting)

    async def _tell(self) -> None:
        async with self._change:
            self._change.notify_all()
