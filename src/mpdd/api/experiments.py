"""Runs a whole experiment from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpdd.evaluation.row import Row
from mpdd.experiment import config
from mpdd.experiment.check import require_tasks
from mpdd.progress import Reporter, Silent


def run_experiment(
    experiment: str | Path, out: str | Path | None = None, *, settings: Sequence[str] = (), quiet: bool = False
) -> list[Row]:
    """Run all stages of an experiment file, as `mpdd run` does, and return the rows of its results.

    `settings` stand in place of the file's, for example `["distil.steps=800"]`; `out` is the run folder (`runs/NAME` by
    default), and the same call resumes a run that was stopped. Raise `InputError` for what does not fit, before anything runs.
    """
    from mpdd.experiment import pipeline
    from mpdd.experiment.folder import alone_in

    read = config.read(Path(experiment), settings)
    require_tasks(read)
    folder = Path(out) if out is not None else Path("runs") / read.name
    with alone_in(folder):
        return pipeline.run(read, folder, Silent() if quiet else Reporter(), "mpdd.run_experiment")
