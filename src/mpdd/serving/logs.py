"""What the server writes to its log: one line an event, without text from requests, and never more than a few a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TextIO

from mpdd.serving.guard import where

_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "mpdd.serving")
_A_MINUTE = 60  # lines
_LONGEST = 300  # characters of a line


class OneLine(logging.Formatter):
    """One line for a record: of an exception its type and place, of a message of several lines the first."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        message = (record.getMessage().strip() or "?").splitlines()[0][:_LONGEST]
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            message += f" ({type(error).__name__} at {where(error)})"
        values = {**record.__dict__, "msg": message, "args": None, "exc_info": None, "exc_text": None, "stack_info": None}
        return super().format(logging.makeLogRecord(values))


class Sparing(logging.StreamHandler[TextIO]):
    """Writes at most `lines` lines a minute; the first line after that says how many were left out."""

    def __init__(self, stream: TextIO | None = None, lines: int = _A_MINUTE, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self.setFormatter(OneLine())
        self._lines, self._clock = lines, clock
        self._began, self._written, self._left_out = float("-inf"), 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or leave it out."""
        now = self._clock()
        if now - self._began >= 60:
            self._began, self._written = now, 0
            if self._left_out:
                text = f"{self._left_out:,} lines were left out before this one"
                super().emit(logging.makeLogRecord({"name": "mpdd.serving", "levelname": "WARNING", "msg": text}))
            self._left_out = 0
        if self._written >= self._lines:
            self._left_out += 1
            return
        self._written += 1
        super().emit(record)


def set_up() -> None:
    """Send the logs of the server to standard error, sparingly."""
    handler = Sparing()
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
