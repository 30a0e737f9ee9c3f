"""What a long job shows: a progress bar on a terminal, plain lines in a log. Never note text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mpdd.errors import printable

Tick = Callable[[int], object]
FIRST_LINE = 15.0  # seconds after which a log says how far a job is; each later line comes after twice the time


class Reporter:
    """Prints stages and jobs to standard error, so that standard output stays for results."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(printable(text), markup=False, soft_wrap=True)

    def stage(self, text: str) -> None:
        """The title of a stage."""
        style, shown = ("bold", f"\n{text}") if self.console.is_terminal else (None, f"== {text}")
        self.console.print(printable(shown), style=style, markup=False, soft_wrap=True)

    @contextmanager
    def job(self, name: str, total: int) -> Iterator[Tick]:
        """A bar for `total` units on a terminal; elsewhere a line after 15 s, 30 s, 60 s and so on, until the job ends."""
        if not self.console.is_terminal:
            yield _Lines(self.say, name, total)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(name, total=total)
            yield partial(bars.advance, task)


class _Lines:
    """Counts the units of a job, and says in ever rarer lines how many of them are done."""

    def __init__(self, say: Callable[[str], None], name: str, total: int) -> None:
        self._say, self._name, self._total, self._done = say, name, total, 0
        self._began, self._next = time.monotonic(), FIRST_LINE

    def __call__(self, count: int) -> None:
        self._done += count
        seconds = time.monotonic() - self._began
        if seconds >= self._next and self._done < self._total:
            self._next = 2 * seconds
            self._say(f"  {self._name}: {self._done:,} of {self._total:,} after {seconds:.0f} s")


class Silent(Reporter):
    """Says nothing; for tests and for callers who want none."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
