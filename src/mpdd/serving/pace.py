"""How much work goes into a batch: measured, so that a batch takes about as long on any machine."""

from __future__ import annotations

import threading

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
