"""What a run scores by the number of training examples: the mean of its targets, as rows for pages of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpdd.evaluation.differences import difference_tables, mean_gap
from mpdd.evaluation.results import read_results, results_tables


def heads(others: Sequence[str]) -> tuple[str, ...]:
    """The heads of `rows`."""
    return ("examples", "mpdd", *others, *(f"mpdd minus {name}" for name in others))


def rows(run: Path, others: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each number of examples, the fewest first: the means of mpdd and others, and how far mpdd is from each.

    Cells of what was not run are empty.
    """
    differences = difference_tables(run / "comparisons.json")
    found: list[tuple[str, ...]] = []
    for table in reversed(results_tables(read_results(run / "results.json"))):
        means = {line.method: f"{line.mean.value:.1f}" for line in table.lines if line.mean}
        gaps = [mean_gap(differences, table.shots, "mpdd", name) for name in others]
        scores = [means.get(name, "") for name in ("mpdd", *others)]
        found.append((str(table.shots), *scores, *(gap.text if gap else "" for gap in gaps)))
    return found
