"""What several seeds and methods say together: rows over all seeds, and paired comparisons of one method with the others.

A finished cell of a run has its row, its documents, and its counts, one line for each test example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

import numpy as np

from mpdd.evaluation.compare import Difference, Pair, Value, bootstrap_interval, holm, mean_difference, paired_difference
from mpdd.evaluation.row import METHODS, Row, ours

Finished = Mapping[str, Any]
MEAN = "mean"  # stands for all targets


def rows_over_seeds(cells: Sequence[Finished], values: Mapping[str, Value]) -> list[Row]:
    """A row with seed `all` for each method, target and number of shots that several seeds were run for.

    `values` has each target's headline metric as a function of its summed counts. The interval resamples documents and seeds.
    """
    joint_rows = []
    for some in _grouped(cells).values():
        if len(some) > 1:
            rows = [Row.from_dict(cell["row"]) for cell in some]
            interval = bootstrap_interval(counts_of(some), some[0]["documents"], values[rows[0].target])
            joint_rows.append(
                replace(
                    rows[0],
                    seed="all",
                    value=interval.value,
                    ci_low=interval.low,
                    ci_high=interval.high,
                    unparseable=fmean(row.unparseable for row in rows),
                    stored_bytes=max(row.stored_bytes for row in rows),
                    train_examples_seen=round(fmean(row.train_examples_seen for row in rows)),
                    train_seconds=round(fmean(row.train_seconds for row in rows), 2),
                )
            )
    return joint_rows


def comparisons(cells: Sequence[Finished], values: Mapping[str, Value], method: str = "") -> list[dict[str, Any]]:
    """`method` minus every other method, on each target and on their mean, at each number of shots.

    Each has `value`, `low`, `high` (points of the headline metric) and `p` of no difference; on targets also `p_holm`, adjusted
    for the number of targets. A method without training stands against every number of shots.
    """
    grouped, compared = _grouped(cells), []
    targets = list(dict.fromkeys(cell["row"]["target"] for cell in cells))
    methods = {name for name, _, _ in grouped}
    method = method or ours(methods)
    for shots in dict.fromkeys(shots for name, _, shots in grouped if name == method):
        for other in (name for name in METHODS if name in methods and name != method):
            pairs = {}
            for target in targets:
                of_method, others = grouped.get((method, target, shots)), _of(grouped, other, target, shots)
                if of_method and others and len({len(of_method), len(others)} - {1}) < 2:
                    pairs[target] = Pair(counts_of(of_method), counts_of(others), of_method[0]["documents"], values[target])
            if pairs:
                compared += _compared(method, other, shots, pairs)
    return compared


def _compared(method: str, other: str, shots: int | str, pairs: Mapping[str, Pair]) -> list[dict[str, Any]]:
    named = {"method": method, "against": other, "shots": shots}
    each = {target: paired_difference(p.a, p.b, p.documents, p.value) for target, p in pairs.items()}
    adjusted = holm([difference.p for difference in each.values()])
    lines = [
        {**named, "target": target, **_rounded(difference), "p_holm": round(p, 4)}
        for (target, difference), p in zip(each.items(), adjusted, strict=True)
    ]
    return [*lines, {**named, "target": MEAN, **_rounded(mean_difference(list(pairs.values()))), "targets": len(pairs)}]


def _rounded(difference: Difference) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(difference).items()}


def _grouped(cells: Sequence[Finished]) -> dict[tuple[str, str, int | str], list[Finished]]:
    """Cells by method, target and shots, in the order of their seeds."""
    groups: dict[tuple[str, str, int | str], list[Finished]] = {}
    for cell in sorted(cells, key=lambda cell: int(cell["row"]["seed"])):
        row = cell["row"]
        groups.setdefault((row["method"], row["target"], row["shots"]), []).append(cell)
    return groups


def _of(grouped: Mapping[Any, list[Finished]], method: str, target: str, shots: int | str) -> list[Finished] | None:
    return grouped.get((method, target, shots)) or grouped.get((method, target, 0))


def counts_of(cells: Sequence[Finished]) -> list[Any]:
    """The counts of some cells of one target, seed by seed."""
    return [np.asarray(cell["counts"], dtype=np.float64) for cell in cells]
