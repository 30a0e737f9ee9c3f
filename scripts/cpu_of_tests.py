"""A plugin of pytest that says where the time of the tests goes: `pytest -p scripts.cpu_of_tests -m "not e2e"`.

It counts CPU seconds, those of processes that tests start included, so that the figures hold on a machine which
others use too. Without `-n`: a worker's figures stay in the worker.
"""

from __future__ import annotations

import os
import resource
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

SHOWN = 40  # lines of each table
_files: dict[str, float] = defaultdict(float)
_tests: dict[str, float] = defaultdict(float)
_fixtures: dict[str, float] = defaultdict(float)
_before_tests = 0.0


def used() -> float:
    """CPU seconds of this process, of its children that have ended, and, where /proc says so, of those that go on (a server, or
    the process from which the end-to-end tests fork) with their own children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    running = children.read_text().split() if children.is_file() else []
    return sum(part.ru_utime + part.ru_stime for part in parts) + sum(map(_of_running, running))


def _of_running(process: str) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # utime, stime, cutime, cstime


def pytest_collection_finish() -> None:
    """Note what imports and collection took."""
    global _before_tests
    _before_tests = used()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count a test with its fixtures; the first that asks for a shared fixture pays for it."""
    begun = used()
    found = yield
    seconds = used() - begun
    _tests[item.nodeid] += seconds
    _files[item.nodeid.split("::")[0]] += seconds
    return found


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Count a fixture, those that it asks for included."""
    begun = used()
    try:
        return (yield)
    finally:
        _fixtures[f"{fixturedef.baseid}::{fixturedef.argname}"] += used() - begun


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the tables: imports and collection, files, fixtures, tests."""
    write = terminalreporter.write_line
    write(f"CPU seconds: {_before_tests:.1f} to import and collect, {sum(_tests.values()):.1f} in {len(_tests)} tests")
    for title, table in (("files", _files), ("fixtures", _fixtures), ("tests", _tests)):
        write(f"-- {title}")
        for name, seconds in sorted(table.items(), key=lambda row: -row[1])[:SHOWN]:
            write(f"{seconds:8.2f}  {name}")
