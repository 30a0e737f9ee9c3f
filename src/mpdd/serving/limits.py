"""How much is let in: a rate for each caller, and how much a caller may have under way at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_KEPT = 1000  # callers remembered before idle ones are dropped


@dataclass(frozen=True)
class Limits:
    """How much is taken. docs/limits.md lists these with their defaults."""

    characters: int = 200_000  # of a note
    body_bytes: int = 2**22  # of a request
    rows: int = 1024  # a request: windows of its notes times tasks
    items: int = 2_000  # of a request to convert: entities, relations and labels
    caller_rows: int = 4096  # of one token, waiting or being answered
    caller_requests: int = 64  # of one token, being read, waiting or being answered
    requests: int = 512  # of all tokens together
    per_minute: float = 600.0  # requests of a token
    burst: int = 60  # requests of a token at once
    strangers_per_minute: float = 60.0  # requests without a known token from one address
    seconds: float = 120.0  # until an answer
    body_seconds: float = 30.0  # until a whole request was received
    header_seconds: float = 10.0  # until the header of a request was received
    connections: int = 512  # at a time; fewer where the process may not open as many files
    stop_seconds: int = 20  # for what was accepted, when the server is stopped


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
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop those who have their whole burst again; where too many are left, those seen longest ago."""
        short = {name: state for name, state in self._left.items() if self._is_short(state, now)}
        newest = sorted(short.items(), key=lambda item: item[1][1])[-_KEPT // 2 :]
        self._left = short if len(short) <= _KEPT // 2 else dict(newest)

    def _is_short(self, state: tuple[float, float], now: float) -> bool:
        return state[0] + (now - state[1]) * self._rate < self._burst


class Full(Exception):  # noqa: N818  a state of the server rather than an error of it
    """There is no room: for anybody (`caller` false), or for this caller, who has as much under way as it may."""

    def __init__(self, caller: bool) -> None:
        super().__init__()
        self.caller = caller


class Place:
    """A request that was admitted; `take` counts the rows that it comes to."""

    def __init__(self, caller: str, rows: dict[str, int], most: int) -> None:
        self._caller, self._rows, self._most, self._taken = caller, rows, most, 0

    def take(self, rows: int) -> None:
        """Count `rows` more; raises `Full` where the caller would have too many."""
        if self._rows.get(self._caller, 0) + rows > self._most:
            raise Full(caller=True)
        self._rows[self._caller] = self._rows.get(self._caller, 0) + rows
        self._taken += rows

    def leave(self) -> None:
        """Give all rows back."""
        left = self._rows.get(self._caller, 0) - self._taken
        self._taken = 0
        if left:
            self._rows[self._caller] = left
        else:
            self._rows.pop(self._caller, None)


class Admission:
    """At most `requests` at a time, `caller_requests` and `caller_rows` of each caller. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    @property
    def inside(self) -> int:
        """Requests that were admitted and have not left."""
        return sum(self._requests.values())

    @asynccontextmanager
    async def admitted(self, caller: str) -> AsyncIterator[Place]:
        """Hold a place for a request. Raises `Full` at once where there is none, or after `drain`."""
        if self.draining or self.inside >= self._limits.requests:
            raise Full(caller=False)
        if self._requests.get(caller, 0) >= self._limits.caller_requests:
            raise Full(caller=True)
        self._requests[caller] = self._requests.get(caller, 0) + 1
        self._idle.clear()
        place = Place(caller, self._rows, self._limits.caller_rows)
        try:
            yield place
        finally:
            place.leave()
            self._requests[caller] -= 1
            if not self._requests[caller]:
                del self._requests[caller]
            if not self._requests:
                self._idle.set()

    def drain(self) -> None:
        """Admit nobody any more."""
        self.draining = True

    async def drained(self) -> None:
        """Return when nobody is inside."""
        await self._idle.wait()
