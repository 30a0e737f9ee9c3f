"""Writes the result table of `results/demo` into README.md: `python scripts/update_readme.py`; `--check` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mpdd.evaluation.results import read_results, results_tables
from mpdd.evaluation.table import Cell, Table

ROOT = Path(__file__).parent.parent
RUN = ROOT / "results" / "demo"
BEGIN, END = "<!-- demo-table -->", "<!-- /demo-table -->"


def main() -> int:
    """Update or check the README; exit code 1 when a check finds a difference."""
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    before, _, rest = old.partition(BEGIN)
    new = f"{before}{BEGIN}\n{section()}\n{END}{rest.partition(END)[2]}"
    if "--check" in sys.argv:
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


def section() -> str:
    """The table in Markdown, with the conditions under which it was made."""
    table = results_tables(read_results(RUN / "results.json"))[0]
    made = json.loads((RUN / "provenance.json").read_text(encoding="utf-8"))
    return "\n".join([_conditions(table, made), "", *_grid(table)])


def _conditions(table: Table, made: dict[str, Any]) -> str:
    tests = ", ".join(f"{column.target} {column.n_examples}" for column in table.columns)
    return (
        f"**A real result** (`{made['command']}`, commit `{str(made['commit'])[:10]}`, seed {made['seeds'][0]}, "
        f"[results/demo](results/demo)): the embedded {table.backbone_parameters / 1e6:.1f} M backbone, {table.shots} training "
        f"examples a target, targets held out from the sources, three learning rates tried for every method on the same dev "
        f"examples. Score with 95 % interval (bootstrap over documents, one seed); test examples: {tests}."
    )


def _grid(table: Table) -> list[str]:
    heads = ["method", *(f"{c.target} ({c.metric})" for c in table.columns), "mean", "trainable", "stored"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for line in table.lines:
        cells = [_score(cell) for cell in line.cells]
        mean = f"{line.mean.value:.1f}" if line.mean else ""
        cost = [f"{100 * line.trainable_fraction:.4f} %", f"{line.stored_bytes / 1024:.1f} KB"]
        lines.append("| " + " | ".join([line.method, *cells, mean, *cost]) + " |")
    chance = [f"{column.chance:.1f}" for column in table.columns]
    return [*lines, "| " + " | ".join(["*trivial answer*", *chance, f"{table.chance:.1f}", "", ""]) + " |"]


def _score(cell: Cell | None) -> str:
    return "" if cell is None else f"{cell.value:.1f} [{cell.low:.1f}, {cell.high:.1f}]"


if __name__ == "__main__":
    sys.exit(main())
