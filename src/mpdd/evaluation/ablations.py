"""What each part of a method is worth: a base held against variants of it that other runs have made.

A variant is a run beside that of the base, and a method in it; cells are read without their data.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.evaluation.compare import Pair, mean_difference
from mpdd.evaluation.joint import counts_of
from mpdd.evaluation.metrics import metrics_for
from mpdd.evaluation.records import run_files

HEADS = ("variant", "mean of targets", "base minus variant", "95 % interval", "p", "trainable")
Place = tuple[str, str]  # the name of a variant's run, and the method in it
Cells = Mapping[str, list[dict[str, Any]]]  # by target, in the order of seeds


def rows(folder: Path, variants: Mapping[str, Place]) -> list[tuple[str, ...]]:
    """A row under `HEADS` for each variant, by name, that has every target of the base, which is the first of them.

    Differences are of the mean over targets, paired on the same documents.
    """
    table_rows: list[tuple[str, ...]] = []
    base = cells(folder, *next(iter(variants.values())))
    for name, place in variants.items():
        other = cells(folder, *place)
        if base and other.keys() == base.keys():
            share = f"{100 * max(cell['row']['trainable_fraction'] for some in other.values() for cell in some):.4f} %"
            table_rows.append((name, f"{_mean(other):.1f}", *(_against(base, other) if table_rows else ("", "", "")), share))
    return table_rows


def cells(folder: Path, variant: str, method: str) -> Cells:
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
