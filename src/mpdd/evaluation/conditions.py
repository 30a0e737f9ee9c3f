"""How published runs were made, in words, from their `provenance.json`."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mpdd.evaluation.records import name_of, raw_files


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
