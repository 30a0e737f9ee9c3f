"""The table of results that people read, as plain data: for a terminal as for a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from mpdd.evaluation.row import HEADLINES, METHODS, Row, after_numbers, row_order


@dataclass(frozen=True)
class Cell:
    """A score over `seeds` seeds with its 95 % interval, and the percentage of outputs that could not be read."""

    value: float
    low: float
    high: float
    unparseable: float = 0.0
    seeds: int = 1


@dataclass(frozen=True)
class Column:
    """A target: what is measured on it, on how many test examples, and what no model would reach."""

    target: str
    task_type: str
    metric: str
    n_examples: int
    chance: float


@dataclass(frozen=True)
class Line:
    """A method: a cell for each target (`None`: not run), their mean if it has all, and what it costs.

    Sizes and trials are the largest over the targets, seconds and examples seen the mean over targets and seeds.
    """

    method: str
    cells: tuple[Cell | None, ...]
    mean: Cell | None
    trainable_parameters: int
    trainable_fraction: float
    stored_bytes: int
    train_examples_seen: float
    train_seconds: float
    tuning_trials: int


@dataclass(frozen=True)
class Table:
    """All methods on all targets for one backbone and one number of training examples; `chance` is the mean."""

    backbone: str
    backbone_parameters: int
    shots: int | Literal["all"]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    chance: float


def results_table(rows: Sequence[Row]) -> Table:
    """Return the main table: that with the most training examples, of the first backbone."""
    return results_tables(rows)[0]


def results_tables(rows: Sequence[Row]) -> tuple[Table, ...]:
    """Return a table for each backbone and number of shots, the most shots first.

    Scores without training (shots 0) stand in every table of their backbone, for those methods it does not train.
    """
    ordered = sorted(rows, key=row_order)
    groups = dict.fromkeys((row.backbone, row.shots) for row in ordered)
    trained = {backbone for backbone, shots in groups if shots != 0}
    wanted = [(backbone, shots) for backbone, shots in groups if shots != 0 or backbone not in trained]
    wanted.sort(key=lambda group: (group[0], -after_numbers(group[1])))
    return tuple(_table([row for row in ordered if row.backbone == backbone], shots) for backbone, shots in wanted)


def _table(rows: Sequence[Row], shots: int | Literal["all"]) -> Table:
    methods_at_shots = {row.method for row in rows if row.shots == shots}
    rows = [row for row in rows if row.shots == shots or (row.shots == 0 and row.method not in methods_at_shots)]
    columns = tuple(_column([row for row in rows if row.target == target]) for target in _distinct(rows, "target"))
    headlines = {(column.target, column.metric) for column in columns}
    rows = [row for row in rows if (row.target, row.metric) in headlines]
    methods = [method for method in METHODS if any(row.method == method for row in rows)]
    return Table(
        backbone=rows[0].backbone,
        backbone_parameters=rows[0].backbone_parameters,
        shots=shots,
        columns=columns,
        lines=tuple(_line([row for row in rows if row.method == method], columns) for method in methods),
        chance=fmean(column.chance for column in columns),
    )


def _distinct(rows: Iterable[Row], name: str) -> list[Any]:
    return list(dict.fromkeys(getattr(row, name) for row in rows))


def _column(rows: Sequence[Row]) -> Column:
    """Describe a target by its headline metric, or the first there is."""
    first = rows[0]
    metrics = _distinct(rows, "metric")
    metric = next((name for name in HEADLINES[first.task_type] if name in metrics), min(metrics))
    measured = [row for row in rows if row.metric == metric]
    examples = max(row.n_examples for row in measured)
    return Column(first.target, first.task_type, metric, examples, measured[0].chance)


def _line(rows: Sequence[Row], columns: Sequence[Column]) -> Line:
    cells = tuple(_cell([row for row in rows if row.target == column.target]) for column in columns)
    single = [row for row in rows if row.seed != "all"] or rows
    return Line(
        method=rows[0].method,
        cells=cells,
        mean=_mean(cells),
        trainable_parameters=max(row.trainable_parameters for row in rows),
        trainable_fraction=max(row.trainable_fraction for row in rows),
        stored_bytes=max(row.stored_bytes for row in rows),
        train_examples_seen=fmean(row.train_examples_seen for row in single),
        train_seconds=fmean(row.train_seconds for row in single),
        tuning_trials=max(row.tuning_trials for row in rows),
    )


def _cell(rows: Sequence[Row]) -> Cell | None:
    """Take the row over all seeds where there is one, else put the seeds together."""
    single = [row for row in rows if row.seed != "all"]
    for row in rows:
        if row.seed == "all":
            return Cell(row.value, row.ci_low, row.ci_high, row.unparseable, max(1, len(single)))
    return _over_seeds(single) if single else None


def _over_seeds(rows: Sequence[Row]) -> Cell:
    """Mean over seeds; the interval adds the spread between seeds to the mean interval over documents.

    The seeds share their documents, so averaging does not narrow that part; both parts are taken as independent.
    """
    value = fmean(row.value for row in rows)
    seeds = 1.96 * stdev(row.value for row in rows) / math.sqrt(len(rows)) if len(rows) > 1 else 0.0
    below, above = (fmean(row.value - row.ci_low for row in rows), fmean(row.ci_high - row.value for row in rows))
    return Cell(
        value=value,
        low=max(0.0, value - math.hypot(below, seeds)),
        high=min(100.0, value + math.hypot(above, seeds)),
        unparseable=fmean(row.unparseable for row in rows),
        seeds=len(rows),
    )


def _mean(cells: Sequence[Cell | None]) -> Cell | None:
    """Mean over targets if all are there, with an interval that takes the targets as independent."""
    present = [cell for cell in cells if cell is not None]
    if len(present) < len(cells):
        return None
    value = fmean(cell.value for cell in present)
    below = math.hypot(*(cell.value - cell.low for cell in present)) / len(present)
    above = math.hypot(*(cell.high - cell.value for cell in present)) / len(present)
    unparseable = fmean(cell.unparseable for cell in present)
    return Cell(value, value - below, value + above, unparseable, min(cell.seeds for cell in present))
