"""The method on one page: data, teachers, metaprompt, adaptation to held-out targets, comparison.

Every stage is resumable: what a run folder holds already is not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mpdd.evaluation.report.page import write_report
from mpdd.evaluation.row import OURS, Row
from mpdd.experiment import config
from mpdd.experiment.check import require_tasks
from mpdd.experiment.comparison import compare_methods
from mpdd.experiment.config import Experiment
from mpdd.experiment.folder import alone_in
from mpdd.experiment.origins import prepare
from mpdd.experiment.setup import Run
from mpdd.experiment.sources import metaprompt_for, metaprompt_of, teach_sources
from mpdd.progress import Reporter, Silent


def run(experiment: Experiment, path: Path, reporter: Reporter, command: str = "") -> list[Row]:
    """The whole method; returns the rows of `results.json` and leaves a report beside them."""
    opened = Run.open(experiment, path, reporter, command)  # the backbone and the data
    metaprompt = metaprompt_for(opened, experiment.methods)  # stages 1 and 2: teachers of the sources, and one metaprompt
    rows = compare_methods(opened, metaprompt)  # stage 3 and its baselines: a cell for each target, method, draw and seed
    write_report(path)
    return rows


def run_until(last: Literal["teach", "distil", "adapt"], opened: Run) -> None:
    """The stages to the `last` one, and no other: teachers; with `distil` all that the cells start from; with `adapt` the cells
    of our own method. Nothing is written for the whole comparison."""
    if last == "teach":
        teach_sources(opened)
    elif last == "distil":
        prepare(opened)
    else:
        compare_methods(opened, metaprompt_of(opened), only=lambda key: key.method in OURS)


def run_experiment(
    experiment: str | Path, out: str | Path | None = None, *, settings: Sequence[str] = (), quiet: bool = False
) -> list[Row]:
    """Run all stages of an experiment file, as `mpdd run` does, and return the rows of its results.

    `settings` stand in place of the file's, for example `["distil.steps=800"]`; `out` is the run folder (`runs/NAME` by
    default), and the same call resumes a run that was stopped. Raise `InputError` for what does not fit, before anything runs.
    """
    read = config.read(Path(experiment), settings)
    require_tasks(read)
    folder = Path(out) if out is not None else Path("runs") / read.name
    with alone_in(folder):
        return run(read, folder, Silent() if quiet else Reporter(), "mpdd.run_experiment")
