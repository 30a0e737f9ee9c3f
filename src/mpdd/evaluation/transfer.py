"""What transfers to what: how close an adapted target's factors are to each source's, beside what the target gained.

All factors start at identity, so every W = sum_r u_r v_r^T is close to ones; compared is how each departs from the mean of
the sources' W. The shared prompt, which adaptation moves too, is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mpdd.errors import InputError
from mpdd.evaluation.report import wording
from mpdd.evaluation.results import read_json
from mpdd.evaluation.row import after_numbers, ours

Numbers = NDArray[np.float64]
Factors = tuple[Any, Any]  # u [rank, length] and v [rank, width] of one task, as arrays
Shots = int | Literal["all"]
AGAINST = "prompt-tuning"
_FEWEST = 3  # targets that a correlation takes
_TELLING = 5  # targets; with fewer, no order of ranks is as rare as 5 %
_EXACT = 7  # targets up to which every permutation is counted
_DRAWS = 9999  # permutations beyond
_NOTHING = 1e-12  # a squared length, as a share of all, that is rounding
_DARKEST = 40  # per cent of the tint of the largest similarity


def transfer(
    sources: Mapping[str, Factors],
    adapted: Mapping[tuple[Shots, str], Sequence[Factors]],
    compared: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return, for each number of shots, the most first, every target's gain and its similarity to each source.

    `adapted` has the factors of each (shots, target), one pair for each seed, and an entry for each that was run; `compared` are
    the paired comparisons of the run (see `joint.comparisons`), from which the gain of mpdd over prompt tuning is taken.
    Similarities are means over the seeds. Where `before`, what an earlier call returned for the same sources, knows more seeds
    of a target than there are factors of, as in a run that goes on from published results, its similarities stand.
    """
    method = compared[0]["method"] if compared else ours(())
    gains = {(c["shots"], c["target"]): c for c in compared if (c["method"], c["against"]) == (method, AGAINST)}
    alike = {(item["shots"], t["target"]): t for item in before if item["sources"] == list(sources) for t in item["targets"]}
    by_shots: dict[Shots, list[dict[str, Any]]] = {}
    for (shots, name), seeds in adapted.items():
        earlier, gain = alike.get((shots, name)), gains.get((shots, name))
        gain_values = {part: gain[part] for part in ("value", "low", "high")} if gain else None
        if earlier and earlier["seeds"] > len(seeds):
            by_shots.setdefault(shots, []).append({**earlier, "gain": gain_values})
        elif seeds:
            by_shots.setdefault(shots, []).append(_target(name, seeds, sources, gain_values))
    return [
        {
            "shots": shots, "method": method, "against": AGAINST, "sources": list(sources), "targets": targets,
            "correlation": _of_nearest(targets),
        }
        for shots, targets in sorted(by_shots.items(), key=lambda item: after_numbers(item[0]), reverse=True)
    ]  # fmt: skip


def _target(
    name: str, seeds: Sequence[Factors], sources: Mapping[str, Factors], gain: Mapping[str, Any] | None
) -> dict[str, Any]:
    each = [similarities(factors, list(sources.values())) for factors in seeds]
    means = {source: _mean(values) for source, values in zip(sources, zip(*each, strict=True), strict=True)}
    measured = {source: value for source, value in means.items() if value is not None}
    return {
        "target": name,
        "seeds": len(seeds),
        "gain": gain,
        "nearest": max(measured, key=measured.__getitem__) if measured else None,
        "similarity": means,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return round(fmean(measured), 4) if len(measured) == len(values) else None


def similarities(target: Factors, sources: Sequence[Factors]) -> list[float | None]:
    """Return, for each source, the cosine of the target's W and the source's, both less the mean of the sources' W.

    W is [length, width] but is never built. None where one of the two is that mean, as with a single source.
    """
    products = _products([target, *sources])
    centre = np.eye(len(products))
    centre[:, 1:] -= 1 / len(sources)
    centred = centre @ products @ centre.T
    squares = np.diag(centred).tolist()
    least = _NOTHING * max(np.diag(products).tolist())
    return [
        float(np.clip(product / (squares[0] * square) ** 0.5, -1, 1)) if min(squares[0], square) > least else None
        for product, square in zip(centred[0, 1:].tolist(), squares[1:], strict=True)
    ]


def _products(tasks: Sequence[Factors]) -> Numbers:
    """The inner products [tasks, tasks] of all W less the matrix of ones, which is u_1 v_1^T - 1 1^T in the first pair.

    That is (u_1 - 1) v_1^T + 1 (v_1 - 1)^T, so the ones leave before anything is rounded.
    """
    u, v = (np.stack([np.asarray(task[side], dtype=np.float64) for task in tasks]) for side in (0, 1))
    u = np.concatenate([u[:, :1] - 1, np.ones_like(u[:, :1]), u[:, 1:]], axis=1)
    v = np.concatenate([v[:, :1], v[:, :1] - 1, v[:, 1:]], axis=1)
    products: Numbers = (np.tensordot(u, u, axes=(2, 2)) * np.tensordot(v, v, axes=(2, 2))).sum(axis=(1, 3))
    return products


def _of_nearest(targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The correlation, over the targets that have both, of the similarity to the nearest source with the gain."""
    both = [t for t in targets if t["gain"] and t["nearest"]]
    return spearman([t["similarity"][t["nearest"]] for t in both], [t["gain"]["value"] for t in both])


def spearman(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Return Spearman's rank correlation, its two-sided p value by permutation, and how many pairs it is over.

    Value and p are None for fewer than three pairs and where one side is always the same.
    """
    count = len(first)
    if count < _FEWEST or min(len(set(first)), len(set(second))) < 2:
        return {"value": None, "p": None, "targets": count}
    x, y = _standard(_ranks(first)), _standard(_ranks(second))
    value = float(x @ y)
    others = y[_orders(count)] @ x
    rare = np.sum(np.abs(others) >= abs(value) - 1e-9)
    p = rare / len(others) if count <= _EXACT else (rare + 1) / (len(others) + 1)
    return {"value": round(value, 4), "p": round(float(p), 4), "targets": count}


def _ranks(values: Sequence[float]) -> Numbers:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    ranks: Numbers = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _standard(values: Numbers) -> Numbers:
    """With mean 0 and length 1."""
    centred = values - values.mean()
    standard: Numbers = centred / np.linalg.norm(centred)
    return standard


def _orders(count: int) -> NDArray[np.int64]:
    """Every order of so many items, or for many items random ones [orders, count]."""
    if count <= _EXACT:
        return np.array(list(permutations(range(count))), dtype=np.int64)
    return np.random.default_rng(0).permuted(np.tile(np.arange(count, dtype=np.int64), (_DRAWS, 1)), axis=1)


# For the report


@dataclass(frozen=True)
class Gain:
    """Points by which a target is better, and the ends of the 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Similarity:
    """A cosine as people read it, the per cent of its tint, whether it is below 0, and whether it is the line's highest."""

    text: str
    tint: int
    below: bool
    nearest: bool


@dataclass(frozen=True)
class TransferTable:
    """Targets by sources at a number of shots; `lines` have the target, its gain (None: not compared) and a similarity for
    each source (None: not known), and `sentence` says what the two have to do with each other."""

    method: str
    against: str
    shots: Shots
    sources: tuple[str, ...]
    lines: tuple[tuple[str, Gain | None, tuple[Similarity | None, ...]], ...]
    sentence: str


def transfer_tables(path: Path) -> list[TransferTable]:
    """A table for each number of shots, the most first; none where the run has no such record.

    Raise `InputError` where the file is not what a run writes.
    """
    items = read_json(path) if path.exists() else []
    try:
        return [_table(item) for item in items]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path} is not what a run writes", wanted="a list of objects with shots, sources and targets"
        ) from error


def _table(item: Mapping[str, Any]) -> TransferTable:
    sources = tuple(str(source) for source in item["sources"])
    sizes = [abs(float(c)) for target in item["targets"] for c in target["similarity"].values() if c is not None]
    lines = tuple(
        (str(target["target"]), _gain(target["gain"]), _cells(target, sources, max(sizes, default=0)))
        for target in item["targets"]
    )
    return TransferTable(str(item["method"]), str(item["against"]), item["shots"], sources, lines, sentence(item["correlation"]))


def _gain(values: Mapping[str, Any] | None) -> Gain | None:
    return Gain(*(float(values[part]) for part in ("value", "low", "high"))) if values else None


def _cells(target: Mapping[str, Any], sources: Sequence[str], largest: float) -> tuple[Similarity | None, ...]:
    cosines = (target["similarity"].get(source) for source in sources)
    return tuple(
        None if cosine is None else _similarity(float(cosine), largest, source == target["nearest"])
        for source, cosine in zip(sources, cosines, strict=True)
    )


def _similarity(cosine: float, largest: float, nearest: bool) -> Similarity:
    return Similarity(_signed(cosine), round(_DARKEST * abs(cosine) / largest) if largest else 0, cosine < 0, nearest)


def _signed(value: float) -> str:
    """A cosine or a correlation with its sign, to a hundredth."""
    rounded = round(value, 2)
    sign = "\u2212" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.2f}"


def sentence(correlation: Mapping[str, Any]) -> str:
    """Say whether similarity to the nearest source foretells the gain, as far as so many targets can tell."""
    count, value, p = int(correlation["targets"]), correlation["value"], correlation["p"]
    if value is None:
        few = f"{count if count else 'no'} target{'' if count == 1 else 's'} with both"
        return f"Whether similarity foretells the gain cannot be said: there {'is' if count == 1 else 'are'} {few}" + (
            f", and it takes {_FEWEST}." if count < _FEWEST else ", but one of the two is always the same."
        )
    return (
        f"Over {count} targets the similarity to the nearest source and the gain have a rank correlation (Spearman) of "
        f"{_signed(float(value))} (p {wording.p_value(float(p))}, by permutation): {_verdict(float(value), float(p), count)}."
    )


def _verdict(value: float, p: float, count: int) -> str:
    if p < 0.05:
        return "on these targets, the more similar the nearest source, the " + (
            "larger the gain" if value > 0 else "smaller the gain"
        )
    few = f", and fewer than {_TELLING} could not show it" if count < _TELLING else ""
    return f"these targets do not show that similarity foretells the gain{few}"
