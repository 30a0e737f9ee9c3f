"""Whether confidences are worth what they say: binned against how often they are right, before and after scaling on dev."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpdd.errors import InputError
from mpdd.evaluation.report import wording
from mpdd.evaluation.results import read_json
from mpdd.inference.confidence import Scale

BINS = 5


def reliability(units: Sequence[tuple[float, bool]], calibration: Mapping[str, float]) -> dict[str, Any]:
    """Bins of equal width of the scaled probability: how many units, their mean, and the share that is right; and the expected
    calibration error (Naeini et al. 2015) of raw and scaled probabilities, in points of 100. Empty without units."""
    if not units:
        return {}
    scale = Scale(calibration["slope"], calibration["shift"]) if calibration.get("units") else Scale()
    scaled = [(scale(p), right) for p, right in units]
    return {
        "units": len(units),
        "dev_units": int(calibration.get("units", 0)),
        "error_raw": _error(units),
        "error": _error(scaled),
        "bins": [
            {
                "from": number / BINS,
                "count": len(bin_units),
                "mean": sum(p for p, _ in bin_units) / len(bin_units),
                "right": sum(right for _, right in bin_units) / len(bin_units),
            }
            for number, bin_units in _binned(scaled).items()
        ],
    }


def _binned(units: Sequence[tuple[float, bool]]) -> dict[int, list[tuple[float, bool]]]:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for p, right in units:
        bins.setdefault(min(BINS - 1, int(p * BINS)), []).append((p, right))
    return dict(sorted(bins.items()))


def _error(units: Sequence[tuple[float, bool]]) -> float:
    off = sum(abs(sum(p for p, _ in bin_units) - sum(right for _, right in bin_units)) for bin_units in _binned(units).values())
    return 100 * off / len(units)


def reliability_of(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The reliability of finished cells, each beside what names it; those without any are left out."""
    names = ("target", "method", "shots", "seed")
    return [{**{name: c["row"][name] for name in names}, **c["reliability"]} for c in cells if c.get("reliability")]


@dataclass(frozen=True)
class ReliabilityTable:
    """One target's bins as people read them: (confidence, how many, right), and the errors."""

    target: str
    run: str
    lines: tuple[tuple[str, str, str], ...]
    summary: str


def reliability_tables(path: Path, methods: Sequence[str]) -> list[ReliabilityTable]:
    """One table a target, of the first of `methods` that has one, at its most shots and first seed; none without a record."""
    items = read_json(path) if path.exists() else []
    try:
        by_target: dict[str, list[Any]] = {}
        for item in sorted(items, key=lambda item: (-_number(item["shots"]), item["seed"])):
            by_target.setdefault(item["target"], []).append(item)
        return [
            _table(of_target, methods) for of_target in by_target.values() if any(item["method"] in methods for item in of_target)
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is not what a run writes", wanted="a list of objects with target, method and bins") from error


def _number(shots: Any) -> float:
    return float("inf") if shots == "all" else float(shots)


def _table(items: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> ReliabilityTable:
    chosen = next(item for method in methods for item in items if item["method"] == method)
    lines = tuple(
        (
            f"{round(100 * bar['mean'])}{wording.SPACE}%",
            wording.whole(bar["count"]),
            f"{round(100 * bar['right'])}{wording.SPACE}%",
        )
        for bar in chosen["bins"]
    )
    summary = (
        f"Confidence is off by {chosen['error']:.1f} points on average; before it was scaled on {chosen['dev_units']} of dev, "
        f"by {chosen['error_raw']:.1f}."
        if chosen["dev_units"]
        else f"Confidence is off by {chosen['error']:.1f} points on average; it was not scaled."
    )
    run = f"{chosen['method']}, {wording.shots_name(chosen['shots'])}, seed {chosen['seed']}"
    return ReliabilityTable(chosen["target"], run, lines, summary)
