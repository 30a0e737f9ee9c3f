"""What pages say of published runs: how they were made, what each part of the method is worth, and scores by examples."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.evaluation.compare import Pair, mean_difference
from mpdd.evaluation.differences import difference_tables, mean_gap
from mpdd.evaluation.joint import counts_of
from mpdd.evaluation.metrics import metrics_for
from mpdd.evaluation.records import name_of, raw_files, run_files
from mpdd.evaluation.results import read_results, results_tables
from mpdd.evaluation.row import after_numbers
from mpdd.evaluation.table import Table


def provenance_of(run: Path) -> dict[str, Any]:
    """What a run, or published results, were made from."""
    provenance: dict[str, Any] = json.loads((raw_files(run) / "provenance.json").read_text(encoding="utf-8"))
    return provenance


def seeds_named(seeds: Sequence[int]) -> str:
    """The seeds: `seed 0`, `seeds 0, 1`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def commits_named(runs: Iterable[dict[str, Any]]) -> str:
    """At which commits the cells of some runs were made, most first; that of the whole where the cells do not say."""
    cells: Counter[str] = Counter()
    for provenance in runs:
        cells.update(provenance.get("cells") or {provenance["commit"]: 0})
    if len(cells) == 1:
        return f"commit `{next(iter(cells))[:10]}`"
    named = (f"`{name[:10]}` ({count} cell{'s' if count != 1 else ''})" for name, count in cells.most_common())
    return f"commits {', '.join(named)}"


FORMER_OBJECTIVE = (
    "made with the former objective, which divided the loss of each answer by its own length and favours short answers "
    "(docs/method.md); not yet made anew"
)


def of_former_objective(run: Path) -> bool:
    """Whether a published run is from before `loss_per` was in its configuration, or asked for the former objective."""
    values = tomllib.loads((raw_files(run) / "config.toml").read_text(encoding="utf-8"))
    return bool(values.get("loss_per", "example") == "example")


def objective_note(runs: Iterable[Path]) -> str:
    """A sentence that marks figures of the former objective; empty where there are none."""
    former = [_place(run) for run in runs if of_former_objective(run)]
    return f"**Older figures**: {', '.join(former)} {'were' if len(former) > 1 else 'was'} {FORMER_OBJECTIVE}." if former else ""


def _place(run: Path) -> str:
    """Where published results stand in the repository."""
    parts = run.with_name(name_of(run)).parts
    return "/".join(parts[parts.index("results") :]) if "results" in parts else run.name


VARIANT_HEADS = ("variant", "mean of targets", "base minus variant", "95 % interval", "p", "trainable")
Place = tuple[str, str]  # the name of a variant's run, and the method in it
Cells = Mapping[str, list[dict[str, Any]]]  # by target, in the order of seeds


def variant_rows(folder: Path, variants: Mapping[str, Place]) -> list[tuple[str, ...]]:
    """A row under `VARIANT_HEADS` for each variant, by name, that has every target of the base, which is the first of them.

    Differences are of the mean over targets, paired on the same documents.
    """
    table_rows: list[tuple[str, ...]] = []
    base = variant_cells(folder, *next(iter(variants.values())))
    for name, place in variants.items():
        other = variant_cells(folder, *place)
        if base and other.keys() == base.keys():
            share = f"{100 * max(cell['row']['trainable_fraction'] for some in other.values() for cell in some):.4f} %"
            table_rows.append((name, f"{_mean(other):.1f}", *(_against(base, other) if table_rows else ("", "", "")), share))
    return table_rows


def variant_cells(folder: Path, variant: str, method: str) -> Cells:
    """The finished cells of a method in a variant's run, in its order of targets; empty where it was not run."""
    by_target: dict[str, list[dict[str, Any]]] = {}
    files = run_files(folder / variant)
    for path in sorted((files / "cells").glob(f"*--{method}--*.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        by_target.setdefault(cell["row"]["target"], []).append(cell)
    targets = tomllib.loads((files / "config.toml").read_text(encoding="utf-8"))["targets"] if by_target else []
    return {
        target: sorted(by_target[target], key=lambda cell: int(cell["row"]["seed"])) for target in targets if target in by_target
    }


def _mean(by_target: Cells) -> float:
    return fmean(fmean(cell["row"]["value"] for cell in some) for some in by_target.values())


def _against(base: Cells, other: Cells) -> tuple[str, str, str]:
    for target in base:
        if other[target][0]["documents"] != base[target][0]["documents"]:
            raise InputError(f"Two runs have other test documents of {target}", wanted="the same draw of the same data")
    pairs = [
        Pair(counts_of(base[target]), counts_of(other[target]), base[target][0]["documents"], _value(target)) for target in base
    ]
    difference = mean_difference(pairs)
    return f"{difference.value:+.1f}", f"[{difference.low:.1f}, {difference.high:.1f}]", f"{difference.p:.3f}"


def _value(target: str) -> Any:
    return metrics_for(catalogue.get(target).card)[0].value


@dataclass(frozen=True)
class ShotsRow:
    """A run at one number of training examples, in words: as many `cells` as there are `shot_heads`."""

    run: Path
    cells: tuple[str, ...]


def shot_heads(others: Sequence[str]) -> tuple[str, ...]:
    """The heads of the cells of `shot_rows`."""
    return ("examples", "mpdd", *others, *(f"mpdd minus {name}" for name in others))


def shot_rows(runs: Sequence[Path], others: Sequence[str]) -> list[ShotsRow]:
    """A row for each number of examples of each run, the fewest first: the means of mpdd and others, how far mpdd is from each.

    Cells of what was not run are empty.
    """
    tables = [(run, table) for run in runs for table in results_tables(read_results(run_files(run) / "results.json"))]
    return [_shot_row(run, table, others) for run, table in sorted(tables, key=lambda pair: after_numbers(pair[1].shots))]


def _shot_row(run: Path, table: Table, others: Sequence[str]) -> ShotsRow:
    differences = difference_tables(run_files(run) / "comparisons.json")
    means = {line.method: f"{line.mean.value:.1f}" for line in table.lines if line.mean}
    gaps = [mean_gap(differences, table.shots, "mpdd", name) for name in others]
    scores = [means.get(name, "") for name in ("mpdd", *others)]
    return ShotsRow(run, (str(table.shots), *scores, *(gap.text if gap else "" for gap in gaps)))
