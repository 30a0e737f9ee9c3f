"""The method on one page: data, teachers, metaprompt, adaptation to held-out targets, comparison.

Every stage is resumable: what a run folder holds already is not made again.
"""

from __future__ import annotations

from pathlib import Path

from mpdd.evaluation.report.page import write_report
from mpdd.evaluation.row import Row
from mpdd.experiment.comparison import compare_methods
from mpdd.experiment.config import Experiment
from mpdd.experiment.setup import Run
from mpdd.experiment.sources import metaprompt_for
from mpdd.progress import Reporter


def run(experiment: Experiment, path: Path, reporter: Reporter, command: str = "") -> list[Row]:
    """The whole method; returns the rows of `results.json` and leaves a report beside them."""
    opened = Run.open(experiment, path, reporter, command)
    rows = compare_methods(opened, metaprompt_for(opened, experiment.methods))
    write_report(path)
    return rows
