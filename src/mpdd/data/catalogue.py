"""The tasks by name: every module of `mpdd.data.tasks` is one; adding a file there is all it takes to add a task."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from pathlib import Path

from mpdd.data import synthetic, tasks
from mpdd.data.cache import cached, keep
from mpdd.data.store import fetch
from mpdd.data.task import Splits, Task
from mpdd.data.tasks import names
from mpdd.errors import InputError

__all__ = ["get", "load", "names"]


def get(name: str) -> Task:
    """Return a task without reading its data; raise `InputError` with near names if there is none of this name.

    The synthetic tasks of the demo are found too, though `names` leaves them out; so is a user's own task by the path
    of its card, which ends in `.toml` (see `cards.card_file`).
    """
    if name.endswith(".toml"):
        return _read_card(Path(name))
    if name in synthetic.TASKS:
        return synthetic.TASKS[name]
    if name not in names():
        near = difflib.get_close_matches(name.lower().replace("-", "_"), names(), n=3, cutoff=0.5)
        raise InputError(
            f"There is no task called {name!r}",
            wanted=f"perhaps {' or '.join(near)}" if near else f"one of {', '.join(names())}",
            next_step="`mpdd tasks` lists them all.",
        )
    task: Task = import_module(f"{tasks.__name__}.{name}").TASK
    return task


def _read_card(path: Path) -> Task:
    from mpdd.data.cards import card_file

    return card_file.read(path)


def load(name: str) -> Splits:
    """Return a task's splits, fetching its files first if need be; read once in a process, and kept for the next one.

    Raise `InputError` for an unknown name or damaged files, `MpddError` if a file can be neither found nor downloaded.
    """
    return _load(str(Path(name).resolve()) if name.endswith(".toml") else name)


@cache
def _load(name: str) -> Splits:
    task = get(name)
    splits = cached(task)
    if splits is None:
        splits = task.load(fetch(task.files))
        keep(task, splits)
    return splits
