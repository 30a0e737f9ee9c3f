"""Writes what is in `results` into README.md (Open-31 on a real backbone) and docs/results.md (all of Open-31, the demo):
`python -m scripts.update_readme`; `--check` only compares.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from mpdd.backbone.checkpoints.registry import EMBEDDED
from mpdd.evaluation import published
from mpdd.evaluation.differences import difference_tables, mean_gap
from mpdd.evaluation.published import objective_note, provenance_of, seeds_named
from mpdd.evaluation.records import is_run, raw_files, run_files
from mpdd.evaluation.results import read_results, results_tables
from mpdd.evaluation.table import Cell, Table
from mpdd.experiment import config
from scripts.generated_pages import put

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
TRAINED = ("prompt-tuning", "ia3", "lora")  # beside mpdd, where they were run
DIFFERENCES = (*TRAINED, "in-context", "zero-shot")  # that mpdd is held against


def main() -> int:
    """Update or check the pages; exit code 1 when a check finds a difference."""
    sections = {
        ROOT / "README.md": {
            "open31-smollm2-table": open31(RESULTS / "open31-smollm2"),
            "fewshot-smollm2": few_examples(RESULTS / "fewshot-smollm2"),
        },
        ROOT / "docs" / "results.md": {
            "open31-smollm2-table": open31(RESULTS / "open31-smollm2", with_intervals=True),
            "fewshot-smollm2-table": open31(RESULTS / "fewshot-smollm2", with_intervals=True),
            "open31-table": open31(RESULTS / "open31"),
            "examples-table": by_examples(),
            "demo-table": demo(RESULTS / "demo"),
        },
    }
    differ = False
    for path, tables in sections.items():
        old = new = path.read_text(encoding="utf-8")
        for name, lines in tables.items():
            new = put(new, name, lines)
        differ |= old != new
        if "--check" not in sys.argv:
            path.write_text(new, encoding="utf-8")
    return int(differ and "--check" in sys.argv)


def demo(run: Path) -> list[str]:
    """The table in Markdown, with the conditions under which it was made."""
    table = results_tables(read_results(run_files(run) / "results.json"))[0]
    return [*_conditions(table), "", *_older([run]), *_grid(table)]


def open31(run: Path, *, with_intervals: bool = False) -> list[str]:
    """Targets down, methods across; below, how far mpdd is from others on the mean of all targets."""
    table, seeds = results_tables(read_results(run_files(run) / "results.json"))[0], provenance_of(run)["seeds"]
    counts = {column.n_examples for column in table.columns}
    examples = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(counts.pop())
    halving = config.read_written(raw_files(run) / "config.toml").adapt.halving_steps
    told = (
        f"The {_size(table)} backbone, a metaprompt from 21 sources, {table.shots} training and {examples} test examples a "
        f"target, {seeds_named(seeds)}; three learning rates tried for every method, of which the best on the same dev "
        f"examples went on after {halving} steps. Commands, commits and data hashes: `results/{run.name}`."
    )
    return [*_wrapped(told), "", *_older([run]), *_turned(table, with_intervals), "", *_against(run, table.shots, len(seeds))]


def few_examples(run: Path) -> list[str]:
    """The means of all targets with fewer examples, in a sentence."""
    table = results_tables(read_results(run_files(run) / "results.json"))[0]
    means = ", ".join(f"{line.method} {line.mean.value:.1f}" for line in table.lines if line.mean)
    told = _gaps(run, table.shots, TRAINED)
    return _wrapped(
        f"With {table.shots} training examples a target, on the mean of {len(table.columns)} targets: {means}. MPDD is {told}, "
        f"in points ([results](docs/results.md), `results/{run.name}`)."
    )


def by_examples() -> list[str]:
    """The mean of all targets by the number of training examples, and how mpdd stands."""
    few, most = RESULTS / "fewshot", RESULTS / "alldata"
    runs = [run for run in (few, RESULTS / "fewshot-one-draw", most) if is_run(run)]
    options = config.read_written(raw_files(most) / "config.toml")
    named = {"all": f"all, up to {options.limits.train:,} ({options.adapt.steps} steps of {options.adapt.batch_size})"}
    others = [name for name in TRAINED if name in config.read_written(raw_files(few) / "config.toml").methods]
    heads = ["examples a target", *published.shot_heads(others)[1:], "run"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 2) + "---|"]
    made = {run: provenance_of(run) for run in runs}
    for row in published.shot_rows(runs, others):
        where = f"`results/{row.run.name}`, {seeds_named(made[row.run]['seeds'])}"
        examples, *cells = row.cells
        lines.append("| " + " | ".join([named.get(examples, examples), *cells, where]) + " |")
    table = results_tables(read_results(run_files(few) / "results.json"))[0]
    (bare,) = (line.mean for line in table.lines if line.method == "zero-shot")
    assert bare is not None
    told = (
        f"The mean of the ten targets on the same {_size(table)} backbone (zero-shot {bare.value:.1f}); differences with 95 % "
        f"intervals (bootstrap over documents, and seeds where there are several)."
    )
    return [*_wrapped(told), "", *_older(runs), *lines]


def _older(runs: Iterable[Path]) -> list[str]:
    """A paragraph that marks runs of the former objective, where there are any."""
    note = objective_note(runs)
    return [*_wrapped(note), ""] if note else []


def _turned(table: Table, with_intervals: bool) -> list[str]:
    lines = [
        "| target | " + " | ".join(line.method for line in table.lines) + " | *trivial* |",
        "|---|" + "---:|" * (len(table.lines) + 1),
    ]
    for k, column in enumerate(table.columns):
        scores = [_score(line.cells[k], with_intervals) for line in table.lines]
        lines.append(f"| {column.target} ({column.metric}) | {' | '.join(scores)} | {column.chance:.1f} |")
    means = [f"**{line.mean.value:.1f}**" if line.mean else "" for line in table.lines]
    trained = [f"{100 * line.trainable_fraction:.4f} %" for line in table.lines]
    stored = [f"{line.stored_bytes / 1024:.0f} KB" for line in table.lines]
    lines.append(f"| **mean** | {' | '.join(means)} | {table.chance:.1f} |")
    return [*lines, f"| *trained* | {' | '.join(trained)} | |", f"| *stored a task* | {' | '.join(stored)} | |"]


def _against(run: Path, shots: int | str, seeds: int) -> list[str]:
    over = "documents and seeds" if seeds > 1 else "documents, one seed"
    told = f"{_gaps(run, shots, DIFFERENCES)}{_without_examples(run)}"
    return _wrapped(f"MPDD on the mean, in points: {told}; 95 % intervals (bootstrap over {over}).")


def _gaps(run: Path, shots: int | str, others: Iterable[str]) -> str:
    """How far mpdd is from those of the `others` that were run, on the mean."""
    differences = difference_tables(run_files(run) / "comparisons.json")
    gaps = {name: mean_gap(differences, shots, "mpdd", name) for name in others}
    return ", ".join(f"{gap.text} against {name}" for name, gap in gaps.items() if gap)


def _without_examples(run: Path) -> str:
    """How the metaprompt without any training example stands against what trains nothing either, where all were run."""
    variants = {name: (run.name, name) for name in ("mpdd-zero-shot", "in-context", "zero-shot")}
    rows = published.variant_rows(RESULTS, variants)[1:]
    told = ", ".join(f"{difference} {interval} against {name}" for name, _mean, difference, interval, *_rest in rows)
    return f". The metaprompt without any example: {told}" if len(rows) == len(variants) - 1 else ""


def _conditions(table: Table) -> list[str]:
    tests = ", ".join(f"{column.target} {column.n_examples}" for column in table.columns)
    return _wrapped(
        f"Scores of `make demo` with 95 % intervals (bootstrap over documents, one seed): the {_size(table)} backbone, "
        f"{table.shots} training examples a target, three learning rates tried for every method on the same dev examples. "
        f"Test examples: {tests}. How it was made is in the report, `mpdd report results/demo`."
    )


def _size(table: Table) -> str:
    parameters = f"{table.backbone_parameters / 1e6:.1f} M"
    return f"embedded {parameters}" if table.backbone == EMBEDDED else f"{table.backbone} ({parameters})"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


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


def _score(cell: Cell | None, with_interval: bool = True) -> str:
    interval = f" [{cell.low:.1f}, {cell.high:.1f}]" if cell and with_interval else ""
    return f"{cell.value:.1f}{interval}" if cell else ""


if __name__ == "__main__":
    sys.exit(main())
