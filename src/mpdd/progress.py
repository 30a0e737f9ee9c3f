"""What a long job shows: a progress bar on a terminal, plain lines in a log. Never note text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mpdd.errors import printable

Tick = Callable[[int], object]


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
        """A bar for `total` units on a terminal; elsewhere one line at the end, from the caller."""
        if not self.console.is_terminal:
            yield _ignore
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


def _ignore(_: int) -> None:
    pass


class Silent(Reporter):
    """Says nothing; for tests and for callers who want none."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
