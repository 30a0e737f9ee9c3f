"""Writes what is in `results` (demo, open31, the runs by number of examples) into README.md:
`python -m scripts.update_readme`; `--check` only compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpdd.evaluation import by_shots
from mpdd.evaluation.conditions import commits_named, objective_note, provenance_of, seeds_named
from mpdd.evaluation.differences import difference_tables, mean_gap
from mpdd.evaluation.records import run_files
from mpdd.evaluation.results import read_results, results_tables
from mpdd.evaluation.table import Cell, Table
from mpdd.experiment import config

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
TRAINED = ("prompt-tuning", "ia3", "lora")  # beside mpdd, where they were run
DIFFERENCES = (*TRAINED, "zero-shot")  # that mpdd is held against


def main() -> int:
    """Update or check the README; exit code 1 when a check finds a difference."""
    path = ROOT / "README.md"
    old = new = path.read_text(encoding="utf-8")
    sections = {"demo": demo(RESULTS / "demo"), "open31": open31(RESULTS / "open31"), "examples": by_examples()}
    for name, section in sections.items():
        begin, end = f"<!-- {name}-table -->", f"<!-- /{name}-table -->"
        before, _, rest = new.partition(begin)
        new = f"{before}{begin}\n{section}\n{end}{rest.partition(end)[2]}"
    if "--check" in sys.argv:
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


def demo(run: Path) -> str:
    """The table in Markdown, with the conditions under which it was made."""
    table = results_tables(read_results(run / "results.json"))[0]
    return "\n".join([_conditions(table, provenance_of(run)), "", *_older([run]), *_grid(table)])


def open31(run: Path) -> str:
    """Targets down, methods across; below, how far mpdd is from others on the mean of all targets."""
    table, made = results_tables(read_results(run / "results.json"))[0], provenance_of(run)
    seeds = made["seeds"]
    counts = {column.n_examples for column in table.columns}
    examples = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(counts.pop())
    race = config.read(run / "config.toml").adapt.race
    said = (
        f"**All ten targets** (`{made['command']}`, {commits_named([made])}, {seeds_named(seeds)}, "
        f"[results/open31](results/open31)): the embedded {table.backbone_parameters / 1e6:.1f} M backbone, a metaprompt from 21 "
        f"sources, {table.shots} training and {examples} test examples a target, three learning rates tried for every "
        f"method, of which the best on the same dev examples went on after {race} steps."
    )
    return "\n".join([said, "", *_older([run]), *_turned(table), "", *_against(run, table.shots, len(seeds))])


def by_examples() -> str:
    """The mean of all targets by the number of training examples, and how mpdd stands."""
    few, most = RESULTS / "fewshot", RESULTS / "alldata"
    runs = [run for run in (few, RESULTS / "fewshot-one-draw", most) if run.is_dir()]
    options = config.read(most / "config.toml")
    named = {"all": f"all, up to {options.limits.train:,} ({options.adapt.steps} steps of {options.adapt.batch_size})"}
    others = [name for name in TRAINED if name in config.read(few / "config.toml").methods]
    heads = ["examples a target", *by_shots.heads(others)[1:], "run"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 2) + "---|"]
    made = {run: provenance_of(run) for run in runs}
    for row in by_shots.rows(runs, others):
        where = f"[results/{row.run.name}](results/{row.run.name}), {seeds_named(made[row.run]['seeds'])}"
        examples, *cells = row.cells
        lines.append("| " + " | ".join([named.get(examples, examples), *cells, where]) + " |")
    table = results_tables(read_results(few / "results.json"))[0]
    (bare,) = (line.mean for line in table.lines if line.method == "zero-shot")
    assert bare is not None
    said = (
        f"**By the number of training examples**: the mean of the ten targets, the same {table.backbone_parameters / 1e6:.1f} M "
        f"backbone (zero-shot {bare.value:.1f}); differences with 95 % intervals (bootstrap over documents, and seeds where "
        f"there are several). "
        f"`{'`, `'.join(how['command'] for how in made.values())}`; {commits_named(made.values())}."
    )
    return "\n".join([said, "", *_older(runs), *lines])


def _older(runs: Iterable[Path]) -> list[str]:
    """A paragraph that marks runs of the former objective, where there are any."""
    note = objective_note(runs)
    return [note, ""] if note else []


def _turned(table: Table) -> list[str]:
    lines = [
        "| target | " + " | ".join(line.method for line in table.lines) + " | *trivial* |",
        "|---|" + "---:|" * (len(table.lines) + 1),
    ]
    for k, column in enumerate(table.columns):
        scores = ["" if (cell := line.cells[k]) is None else f"{cell.value:.1f}" for line in table.lines]
        lines.append(f"| {column.target} ({column.metric}) | {' | '.join(scores)} | {column.chance:.1f} |")
    means = [f"**{line.mean.value:.1f}**" if line.mean else "" for line in table.lines]
    trained = [f"{100 * line.trainable_fraction:.4f} %" for line in table.lines]
    stored = [f"{line.stored_bytes / 1024:.0f} KB" for line in table.lines]
    lines.append(f"| **mean** | {' | '.join(means)} | {table.chance:.1f} |")
    return [*lines, f"| *trained* | {' | '.join(trained)} | |", f"| *stored a task* | {' | '.join(stored)} | |"]


def _against(run: Path, shots: int | str, seeds: int) -> list[str]:
    differences = difference_tables(run_files(run) / "comparisons.json")
    gaps = {name: mean_gap(differences, shots, "mpdd", name) for name in DIFFERENCES}
    told = [f"{gap.text} against {name}" for name, gap in gaps.items() if gap]
    over = "documents and seeds" if seeds > 1 else "documents, one seed"
    return [f"MPDD on the mean: {', '.join(told)} points, with 95 % intervals (bootstrap over {over})."]


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
