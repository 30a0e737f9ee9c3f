"""What each task of the catalogue holds: the table that comes with the package, and how it is counted."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from mpdd.data.task import SPLITS, Example, Splits

TABLE = "counts.toml"


@cache
def table() -> Mapping[str, Mapping[str, Any]]:
    """Return the figures of each task by its name, as `counts.toml` explains them; no data is needed."""
    return tomllib.loads((files("mpdd.data") / TABLE).read_text(encoding="utf-8"))


def measure(splits: Splits) -> dict[str, Any]:
    """Return a task's row of the table, but for its `source`."""
    parts = [splits[split] for split in SPLITS]
    ids = "".join(f"{split}\t{example.id}\n" for split in SPLITS for example in splits[split])
    return {
        "documents": [len({example.document for example in part}) for part in parts],
        "examples": [len(part) for part in parts],
        "gold": [sum(map(_gold, part)) for part in parts],
        "ids": hashlib.sha256(ids.encode()).hexdigest()[:16],
        "notes": dict(splits.notes),
    }


def _gold(example: Example) -> int:
    """The number of gold items of an example: entities, relations and labels, or one for another kind of answer."""
    gold = example.gold
    items = len(gold.entities) + len(gold.relations) + len(gold.labels) + example.lost
    return items + (gold.choice is not None) + bool(gold.text)
