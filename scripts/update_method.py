"""Writes the tables of docs/method.md that compare the two objectives and the ways of decoding; `--check` only compares.

They stand on runs under results/objective (sources that stand in for targets, once with each objective and backbone), and on
benchmarks/results/decode_again.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpdd.evaluation.published import commits_named, provenance_of, seeds_named
from mpdd.evaluation.records import run_files, runs_in
from scripts.generated_pages import grid, put

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "method.md"
RUNS = ROOT / "results" / "objective"
DECODED = ROOT / "benchmarks" / "results" / "decode_again.json"
NONE = ROOT / "benchmarks" / "results" / "decode_none.json"  # cells of ddi, decoded with the prior of "none" alone
BACKBONES = {"embedded": "embedded, 30 M", "smollm2": "SmolLM2-135M-Instruct"}
METHODS = ("prompt-tuning", "lora", "mpdd")
HEADS = (
    "backbone", "task", "method", "F1, per example", "F1, likelihood", "none in gold", "none, per example", "none, likelihood",
)  # fmt: skip


def main() -> int:
    """Update or check the page; exit code 1 when a check finds a difference."""
    old = PAGE.read_text(encoding="utf-8")
    new = put(put(old, "objective", objective_lines()), "decoding", decoding_lines())
    new = put(new, "prior-of-none", none_lines())
    if "--check" in sys.argv:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def objective_lines() -> Iterator[str]:
    """How the runs were made, and a row for each backbone, task and method."""
    rows = [row for name in BACKBONES for row in _rows(name)]
    if not rows:
        yield "Not run yet."
        return
    for run in runs_in(RUNS):
        made = provenance_of(run)
        yield f"- `{made['command']}`, {seeds_named(made['seeds'])}, {commits_named([made])}, {made['backbone']['dtype']}"
    yield ""
    yield from grid(HEADS, rows)


def decoding_lines() -> Iterator[str]:
    """A row for each finished cell that was decoded again, and the mean differences of each way."""
    if not DECODED.is_file():
        yield "Not run yet."
        return
    found = json.loads(DECODED.read_text(encoding="utf-8"))
    ways = list(dict.fromkeys(way for row in found["rows"] for way in row["counts"]))
    rows = [
        (row["backbone"], row["target"], row["method"], *(_decoded(row.get(way)) for way in ways), _shares(row))
        for row in found["rows"]
    ]
    yield from grid(("backbone", "task", "method", *ways, "ungrounded items, in order"), rows)
    yield ""
    for mean in found["means"]:
        before, after = mean["seconds"]
        yield (
            f"- {mean['backbone']}, mean of {mean['cells']} cells: {mean['way']} minus {mean['minus']} {mean['value']:+.1f} "
            f"[{mean['low']:.1f}, {mean['high']:.1f}], {after:.0f} s in place of {before:.0f}."
        )


def none_lines() -> Iterator[str]:
    """A row for each cell that was decoded again with the prior of "none": how often it is said, and the score."""
    if not NONE.is_file():
        yield "Not run yet."
        return
    found = json.loads(NONE.read_text(encoding="utf-8"))
    rows = [
        (
            row["backbone"], row["target"], row["method"], _share(row, "free", "gold"), _share(row, "free", "predicted"),
            _share(row, "none", "predicted"), _decoded(row["free"]), _decoded(row["none"]),
        )
        for row in found["rows"]
    ]  # fmt: skip
    heads = (
        "backbone",
        "task",
        "method",
        "none in gold",
        "none, plain",
        "none, with its prior",
        "F1, plain",
        "F1, with its prior",
    )
    yield from grid(heads, rows)


def _share(row: dict[str, Any], way: str, which: str) -> str:
    return f"{100 * row[way]['none'][which] / row[way]['examples']:.0f} %"


def _decoded(way: dict[str, Any] | None) -> str:
    """The score of a way, beside its change from the first."""
    if way is None:
        return "not run"
    change = next((way[name] for name in way if name.startswith("minus_")), None)
    return f"{way['value']:.1f}" + (f" ({change['value']:+.1f})" if change else "")


def _shares(row: dict[str, Any]) -> str:
    return ", ".join(f"{row[way]['ungrounded']:.0f} %" for way in row["counts"])


def _rows(backbone: str) -> Iterator[tuple[str, ...]]:
    before, now = _cells(RUNS / f"{backbone}-per-example"), _cells(RUNS / f"{backbone}-likelihood")
    for (target, method), cell in sorted(now.items(), key=lambda item: (item[0][0], METHODS.index(item[0][1]))):
        former = before.get((target, method))
        yield (
            BACKBONES[backbone], target, method, _score(former), _score(cell),
            _none(cell, "gold"), _none(former, "predicted"), _none(cell, "predicted"),
        )  # fmt: skip


def _cells(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Cells of trained methods on tasks that may answer none, by target and method."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(run_files(run).glob("cells/*.json"))]
    return {
        (cell["row"]["target"], cell["row"]["method"]): cell
        for cell in cells
        if cell["row"]["method"] in METHODS and "none" in cell["failures"]
    }


def _score(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "not run"
    row = cell["row"]
    return f"{row['value']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def _none(cell: dict[str, Any] | None, which: str) -> str:
    return "" if cell is None else f"{100 * cell['failures']['none'][which] / cell['failures']['examples']:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
