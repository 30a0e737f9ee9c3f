"""What runs score by the number of training examples: the mean of their targets, as rows for pages of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpdd.evaluation.differences import difference_tables, mean_gap
from mpdd.evaluation.records import run_files
from mpdd.evaluation.results import read_results, results_tables
from mpdd.evaluation.row import after_numbers
from mpdd.evaluation.table import Table


@dataclass(frozen=True)
class ShotsRow:
    """A run at one number of training examples, in words: as many `cells` as there are `heads`."""

    run: Path
    cells: tuple[str, ...]


def heads(others: Sequence[str]) -> tuple[str, ...]:
    """The heads of the cells of `rows`."""
    return ("examples", "mpdd", *others, *(f"mpdd minus {name}" for name in others))


def rows(runs: Sequence[Path], others: Sequence[str]) -> list[ShotsRow]:
    """A row for each number of examples of each run, the fewest first: the means of mpdd and others, how far mpdd is from each.

    Cells of what was not run are empty.
    """
    tables = [(run, table) for run in runs for table in results_tables(read_results(run_files(run) / "results.json"))]
    return [
        _row(run, table, others) for run, table in sorted(tables, key=lambda run_and_table: after_numbers(run_and_table[1].shots))
    ]


def _row(run: Path, table: Table, others: Sequence[str]) -> ShotsRow:
    differences = difference_tables(run_files(run) / "comparisons.json")
    means = {line.method: f"{line.mean.value:.1f}" for line in table.lines if line.mean}
    gaps = [mean_gap(differences, table.shots, "mpdd", name) for name in others]
    scores = [means.get(name, "") for name in ("mpdd", *others)]
    return ShotsRow(run, (str(table.shots), *scores, *(gap.text if gap else "" for gap in gaps)))
