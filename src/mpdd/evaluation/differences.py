"""The paired comparisons of a run (`comparisons.json`), as tables for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpdd.errors import InputError
from mpdd.evaluation.joint import MEAN
from mpdd.evaluation.results import read_json
from mpdd.evaluation.row import after_numbers

_CLEAR = 0.05


@dataclass(frozen=True)
class Gap:
    """One method minus another: points, the ends of the 95 % interval, the p value to go by, and whether it is clear."""

    value: float
    low: float
    high: float
    p: float
    clear: bool

    @property
    def text(self) -> str:
        """The points and their interval, as pages of Markdown write them."""
        return f"{self.value:+.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class DifferenceTable:
    """`method` minus each other method at a number of shots; `lines` have a gap for each target (None: not compared), and
    that of the mean."""

    method: str
    shots: int | str
    targets: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Gap | None, ...], Gap | None], ...]


def difference_tables(path: Path) -> list[DifferenceTable]:
    """A table for each number of shots, the most first; none where the run has no such record.

    Raise `InputError` where the file is not what a run writes.
    """
    items = read_json(path) if path.exists() else []
    try:
        shots = sorted({item["shots"] for item in items}, key=after_numbers, reverse=True)
        return [_table([item for item in items if item["shots"] == few]) for few in shots]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path} is not what a run writes", wanted="a list of objects with method, against and target"
        ) from error


def mean_gap(tables: Sequence[DifferenceTable], shots: int | str, method: str, other: str) -> Gap | None:
    """`method` minus `other` on the mean of the targets, at a number of shots; None where the run has no such comparison."""
    lines = [line for table in tables if (table.shots, table.method) == (shots, method) for line in table.lines]
    return next((mean for against, _, mean in lines if against == other), None)


def _table(items: Sequence[Mapping[str, Any]]) -> DifferenceTable:
    targets = tuple(dict.fromkeys(item["target"] for item in items if item["target"] != MEAN))
    lines = []
    for other in dict.fromkeys(item["against"] for item in items):
        gaps = {item["target"]: _gap(item) for item in items if item["against"] == other}
        lines.append((str(other), tuple(gaps.get(target) for target in targets), gaps.get(MEAN)))
    return DifferenceTable(str(items[0]["method"]), items[0]["shots"], targets, tuple(lines))


def _gap(item: Mapping[str, Any]) -> Gap:
    value, low, high, p = (float(item[name]) for name in ("value", "low", "high", "p_holm" if "p_holm" in item else "p"))
    return Gap(value, low, high, p, p < _CLEAR and not low <= 0 <= high)
