"""A part of a comparison's cells, made by one of several processes that work in one run folder at the same time.

What the cells start from is there before. Nothing is written for the whole comparison: a last run over all cells does that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mpdd.errors import InputError
from mpdd.evaluation.row import Row
from mpdd.experiment.cells import Key, cells_of
from mpdd.experiment.comparison import compare_methods
from mpdd.experiment.config import Experiment
from mpdd.experiment.origins import not_prepared
from mpdd.experiment.setup import Run
from mpdd.experiment.sources import metaprompt_for
from mpdd.files.shard import Shard
from mpdd.progress import Reporter

NAMED = 3  # so many things that are missing are named one by one


def make(experiment: Experiment, path: Path, shard: Shard, reporter: Reporter, *, command: str, preparing: str) -> list[Row]:
    """Make the missing cells of a part, and return the rows of all its cells.

    Raises `InputError`, which names the command `preparing`, where what the cells start from is not there.
    """
    require_prepared(experiment, path, preparing)
    run = Run.open(experiment, path, reporter, command, shard)
    mine = deal(cells_of(experiment, run.targets), shard)
    return compare_methods(run, metaprompt_for(run, [key.method for key in mine]), only=lambda key: key in mine)


def deal(cells: Sequence[Key], shard: Shard) -> Sequence[Key]:
    """The cells of a part: its share of each method's, but for one at most.

    The cells lie method by method, those of a method in the order of digests, so that no part gets one target or seed only.
    """
    methods = list(dict.fromkeys(key.method for key in cells))
    return shard.dealt(sorted(cells, key=lambda key: (methods.index(key.method), _digest(key.name))))


def require_prepared(experiment: Experiment, path: Path, preparing: str) -> None:
    """Raise `InputError` unless the run folder at `path` holds all that the cells start from."""
    missing = not_prepared(experiment, path)
    teachers = [name for name in missing if name.startswith("teacher-")]
    if len(teachers) > NAMED:
        missing = [f"{len(teachers)} teachers", *(name for name in missing if name not in teachers)]
    if missing:
        raise InputError(
            f"The run folder {path} lacks what the cells start from",
            found=f"no {', '.join(missing)}",
            wanted="all of it before the first part",
            next_step=f"`{preparing}` makes it.",
        )


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
