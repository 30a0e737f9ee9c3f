"""The table of what each part of the method is worth, from the cells under `results/ablations`. Needs no data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from mpdd.data import catalogue
from mpdd.evaluation.compare import Pair, mean_difference
from mpdd.evaluation.metrics import metrics_for

HEADS = ("variant", "mean of targets", "whole minus variant", "95 % interval", "p", "trainable")
WHOLE = ("whole", "mpdd")
VARIANTS = {  # what stands in the table: the folder under results/ablations, and the method
    "whole: 21 sources, length 64, rank 2, every layer": WHOLE,
    "without distillation": ("whole", "mpdd-no-teachers"),
    "without decomposition, all of the prompt tuned": ("whole", "shared-prompt"),
    "1 source": ("sources-1", "mpdd"),
    "5 sources": ("sources-5", "mpdd"),
    "10 sources": ("sources-10", "mpdd"),
    "rank 1": ("rank-1", "mpdd"),
    "rank 4": ("rank-4", "mpdd"),
    "length 16": ("length-16", "mpdd"),
    "at the input alone": ("depth-input", "mpdd"),
}
Cells = Mapping[str, list[dict[str, Any]]]  # by target, in the order of seeds


def rows(folder: Path) -> list[tuple[str, ...]]:
    """One row for each variant that has every target of the whole method; the whole one's first."""
    found: list[tuple[str, ...]] = []
    whole = cells(folder, *WHOLE)
    for name, place in VARIANTS.items():
        other = cells(folder, *place)
        if whole and other.keys() == whole.keys():
            share = f"{100 * max(cell['row']['trainable_fraction'] for some in other.values() for cell in some):.4f} %"
            found.append((name, f"{_mean(other):.1f}", *_against(whole, other, place), share))
    return found


def cells(folder: Path, variant: str, method: str) -> Cells:
    """The finished cells of a method in a variant's folder; empty where it was not run."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / variant / "cells").glob(f"*--{method}--*.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(cell["row"]["target"], []).append(cell)
    return {target: sorted(some, key=lambda cell: int(cell["row"]["seed"])) for target, some in sorted(found.items())}


def _mean(found: Cells) -> float:
    return fmean(fmean(cell["row"]["value"] for cell in some) for some in found.values())


def _against(whole: Cells, other: Cells, place: tuple[str, str]) -> tuple[str, str, str]:
    """The whole method minus another one on the mean of targets, paired on the same documents; empty against itself."""
    if place == WHOLE:
        return "", "", ""
    pairs = [
        Pair(_counts(whole[target]), _counts(other[target]), whole[target][0]["documents"], _value(target)) for target in whole
    ]
    found = mean_difference(pairs)
    return f"{found.value:+.1f}", f"[{found.low:.1f}, {found.high:.1f}]", f"{found.p:.3f}"


def _counts(some: list[dict[str, Any]]) -> list[Any]:
    return [np.asarray(cell["counts"], dtype=np.float64) for cell in some]


def _value(target: str) -> Any:
    return metrics_for(catalogue.get(target).card)[0].value
