"""The server's log: one line an event, without text from requests, and not more than a few a minute."""

import io
import logging
import sys

import pytest

from mpdd.serving import logs
from mpdd.serving.logs import Sparing


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def written():
    return io.StringIO()


def log_to(handler):
    logger = logging.getLogger("test of sparing logs")
    logger.handlers, logger.propagate = [handler], False
    return logger


def test_lines_are_bounded_and_the_next_one_says_how_many_were_left_out(written):
    clock = Clock()
    logger = log_to(Sparing(written, lines=5, clock=clock))
    for number in range(100_000):
        logger.warning("event %d", number)
    clock.now = 61
    logger.warning("after")
    lines = written.getvalue().splitlines()
    assert len(lines) == 7
    assert "event 4" in lines[4] and "99,995 lines were left out" in lines[5] and "after" in lines[6]


def test_an_exception_is_one_line_without_what_it_says(written):
    logger = log_to(Sparing(written))
    try:
        raise ValueError("Mrs Quimby has fever")
    except ValueError:
        logger.exception("Exception in callback\nTraceback of Quimby")
    (line,) = written.getvalue().splitlines()
    assert "Exception in callback (ValueError at test_logs.py:" in line and "Quimby" not in line


def test_lines_are_short(written):
    log_to(Sparing(written)).warning("x" * 100_000)
    assert len(written.getvalue()) < 500


def test_the_server_and_the_event_loop_log_through_it(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    saved = {name: (logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in logs._LOGGERS}
    try:
        logs.set_up()
        for name in ("uvicorn.error", "asyncio", "mpdd.serving"):
            logging.getLogger(name).warning("hello from %s", name)
            logging.getLogger(name).info("not this")
    finally:
        for name, (handlers, propagate) in saved.items():
            logging.getLogger(name).handlers, logging.getLogger(name).propagate = handlers, propagate
    assert [line.rpartition(" ")[2] for line in stream.getvalue().splitlines()] == ["uvicorn.error", "asyncio", "mpdd.serving"]
