"""The method on one page: data, teachers, metaprompt, adaptation to held-out targets, comparison.

Every stage is resumable: what a run folder holds already is not made again.
"""

from __future__ import annotations

from pathlib import Path

from mpdd.config import Experiment
from mpdd.evaluation.report import write_report
from mpdd.evaluation.row import Row
from mpdd.pipeline.cells import Key, cells_of, said
from mpdd.pipeline.comparison import compare_methods, part, remake
from mpdd.pipeline.opened import Run, data_of, draw, kinds_of, source_data
from mpdd.pipeline.origins import not_prepared, prepare
from mpdd.pipeline.sources import (
    distil_sources,
    fresh_metaprompt,
    metaprompt_for,
    metaprompt_of,
    save_metaprompt,
    teach_sources,
    weights_of,
)
from mpdd.progress import Reporter

__all__ = [
    "Key",
    "Run",
    "cells_of",
    "compare_methods",
    "data_of",
    "distil_sources",
    "draw",
    "fresh_metaprompt",
    "kinds_of",
    "metaprompt_for",
    "metaprompt_of",
    "not_prepared",
    "part",
    "prepare",
    "remake",
    "run",
    "said",
    "save_metaprompt",
    "source_data",
    "teach_sources",
    "weights_of",
]


def run(experiment: Experiment, path: Path, reporter: Reporter, command: str = "") -> list[Row]:
    """The whole method; returns the rows of `results.json` and leaves a report beside them."""
    opened = Run.open(experiment, path, reporter, command)
    rows = compare_methods(opened, metaprompt_for(opened, experiment.methods))
    write_report(path)
    return rows
