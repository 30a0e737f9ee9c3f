"""A plugin of pytest that says where the time of the tests goes: `pytest -p scripts.cpu_of_tests -m "not e2e"`.

It counts CPU seconds, those of processes that tests start and wait for included, so that the figures hold on a machine which
others use too. Without `-n`: a worker's figures stay in the worker.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest

SHOWN = 25  # lines of each table
_files: dict[str, float] = defaultdict(float)
_tests: dict[str, float] = defaultdict(float)
_fixtures: dict[str, float] = defaultdict(float)
_before_tests = 0.0


def used() -> float:
    """CPU seconds of this process and of its children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


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
