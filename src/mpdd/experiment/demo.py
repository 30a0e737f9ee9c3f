"""Runs the demo experiment on real data, or on synthetic notes with a banner where none can be reached."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

from mpdd.data import catalogue, store, synthetic
from mpdd.errors import MpddError
from mpdd.evaluation.row import Row
from mpdd.experiment import config, pipeline
from mpdd.experiment import processes as side_by_side
from mpdd.experiment.config import Experiment
from mpdd.experiment.folder import alone_in
from mpdd.progress import Reporter

BANNER = (
    "SYNTHETIC NOTES: every score below is on notes that mpdd made up, not on a public dataset. "
    "They show that the method runs, not how well it works."
)


def run_demo(out: Path, *, synthetic: bool, quick: bool, command: str, processes: int | None = None) -> list[Row]:
    """Run the whole method small; `quick` takes a fraction of the steps and examples. Resumable like any run.

    It is made by so many `processes`; if None, by as many as suit the machine.
    """
    reporter, count = Reporter(), processes or side_by_side.suitable()
    experiment = read_demo(quick)
    invented = synthetic or not _reachable(experiment, reporter)
    if invented:
        reporter.say(BANNER)
        experiment = on_synthetic_notes(experiment)
    if count > 1:
        side_by_side.make(experiment, out, [str(out / "config.toml"), "--out", str(out)], count, reporter)
    with alone_in(out):
        return pipeline.run(experiment, out, reporter, command)


def read_demo(quick: bool) -> Experiment:
    """The packaged experiment, or its quick version."""
    values = tomllib.loads((files("mpdd.experiment") / "demo.toml").read_text(encoding="utf-8"))
    if quick:
        values["limits"] = {"train": 60, "dev": 4, "test": 8}
        for part in ("teach", "distil", "adapt"):
            values[part] |= {"steps": 4, "every": 2, "batch_size": 2}
        values["adapt"]["halving_steps"] = 2
    return config.build(values, "demo.toml")


def on_synthetic_notes(experiment: Experiment) -> Experiment:
    """The same experiment over the synthetic tasks."""
    return experiment.model_copy(update={"name": "demo-synthetic", "sources": synthetic.SOURCES, "targets": synthetic.TARGETS})


def _reachable(experiment: Experiment, reporter: Reporter) -> bool:
    reporter.stage("Fetching the public datasets of the demo (verified by sha256)")
    try:
        for name in (*experiment.sources, *experiment.targets):
            store.fetch(catalogue.get(name).files)
    except MpddError as error:
        if error.exit_code != 1:  # damaged or misplaced files are for the user to see
            raise
        reporter.say(str(error))
        return False
    return True
