"""How published runs were made, in words, from their `provenance.json`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def provenance_of(run: Path) -> dict[str, Any]:
    """What the run in a folder was made from."""
    made: dict[str, Any] = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    return made


def seeds_named(seeds: Sequence[int]) -> str:
    """The seeds: `seed 0`, `seeds 0, 1`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def commits_named(runs: Iterable[dict[str, Any]]) -> str:
    """At which commits the cells of some runs were made, most first; that of the whole where the cells do not say."""
    cells: Counter[str] = Counter()
    for made in runs:
        cells.update(made.get("cells") or {made["commit"]: 0})
    if len(cells) == 1:
        return f"commit `{next(iter(cells))[:10]}`"
    named = (f"`{name[:10]}` ({count} cell{'s' if count != 1 else ''})" for name, count in cells.most_common())
    return f"commits {', '.join(named)}"
