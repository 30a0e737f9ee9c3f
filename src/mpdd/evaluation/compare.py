"""How sure a score is and whether two systems differ: bootstrap intervals, paired tests, Holm's correction.

Everything works on a metric's counts, one row for each example, and resamples whole documents: the examples of one
document are not independent. Several seeds of one system are several count matrices over the same documents.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpdd.errors import InputError

Counts = NDArray[np.float64]
Value = Callable[[Counts], float]
_CELLS = 2**22  # weights held at once: 32 MiB


@dataclass(frozen=True)
class Interval:
    """A statistic with the ends of its confidence interval, in the statistic's own units."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A minus B with its confidence interval, and the two-sided p value of no difference."""

    value: float
    low: float
    high: float
    p: float


def bootstrap_interval(
    counts: Counts | Sequence[Counts],
    documents: Sequence[Hashable],
    value: Value,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of `value` of the summed counts (Efron and Tibshirani 1993, chapter 13).

    `counts` is one matrix [examples, width], or one for each seed; `documents` names the document of each row. With
    several seeds the statistic is the mean over them of each one's value, and every resample draws both documents
    and seeds. A resample of few seeds sees too little of the spread between them: with three seeds, two thirds of
    its variance. Raise `InputError` where the shapes do not fit.
    """
    totals = _document_totals(counts, documents)
    documents_rng, seeds_rng = np.random.default_rng(seed).spawn(2)
    values = _resampled_values(totals, value, _resamples(resamples), documents_rng)
    low, high = _percentiles(_over_seeds(values, seeds_rng), level)
    return Interval(_mean_value(totals, value), low, high)


def paired_difference(
    counts_a: Counts | Sequence[Counts],
    counts_b: Counts | Sequence[Counts],
    documents: Sequence[Hashable],
    value: Value,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compare two systems on the same documents; see `bootstrap_interval` for the arguments.

    The interval resamples the same documents, and the same seeds, for both. Seeds are paired by position; a system
    without seeds (one matrix) is compared with every seed of the other. The p value is that of approximate
    randomisation (Noreen 1989): both systems' outputs are swapped for random documents, in all seeds at once. So it
    speaks of these trained prompts on other documents; only the interval speaks of other seeds, too.
    """
    observed, gaps, swapped = _draws_of_difference(counts_a, counts_b, documents, value, resamples, seed)
    return _difference(observed, gaps, swapped, level)


@dataclass(frozen=True)
class Pair:
    """Two systems on the documents of one target: what `paired_difference` takes."""

    a: Counts | Sequence[Counts]
    b: Counts | Sequence[Counts]
    documents: Sequence[Hashable]
    value: Value


def mean_difference(pairs: Sequence[Pair], *, resamples: int = 2000, level: float = 0.95, seed: int = 0) -> Difference:
    """Compare two systems by their mean over targets, whose documents and seeds are resampled independently.

    The targets themselves are taken as they are: the interval says nothing about other targets.
    """
    if not pairs:
        raise InputError("No target to compare on", wanted="one or more")
    drawn = [_draws_of_difference(p.a, p.b, p.documents, p.value, resamples, seed + i) for i, p in enumerate(pairs)]
    observed, gaps, swapped = (sum(parts) / len(pairs) for parts in zip(*drawn, strict=True))
    return _difference(float(observed), np.asarray(gaps), np.asarray(swapped), level)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p values adjusted for their number, in the given order (Holm 1979)."""
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("A p value is out of range", found=list(p_values), wanted="numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(p), 0, -1)))
    return tuple(adjusted.tolist())


def _document_totals(counts: Counts | Sequence[Counts], documents: Sequence[Hashable]) -> Counts:
    """Sum the rows of each document; return [seeds, documents, width]."""
    matrices = [np.asarray(matrix, dtype=np.float64) for matrix in _as_seeds(counts)]
    shapes = sorted({matrix.shape for matrix in matrices})
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != len(documents) or not len(documents):
        raise InputError(
            "The counts cannot be resampled",
            found=f"matrices of the shapes {shapes} for {len(documents)} rows of documents",
            wanted="one or more matrices of one shape, with a row for each of one or more documents",
        )
    index: dict[Hashable, int] = {}
    rows = [index.setdefault(document, len(index)) for document in documents]
    totals = np.zeros((len(matrices), len(index), shapes[0][1]))
    for total, matrix in zip(totals, matrices, strict=True):
        np.add.at(total, rows, matrix)
    return totals


def _as_seeds(counts: Counts | Sequence[Counts]) -> Sequence[Counts]:
    return [counts] if isinstance(counts, np.ndarray) and counts.ndim == 2 else list(counts)


def _paired(a: Counts, b: Counts) -> tuple[Counts, Counts]:
    seeds = max(len(a), len(b))
    if {len(a), len(b)} - {1, seeds} or a.shape[2] != b.shape[2]:
        raise InputError(
            "The two systems cannot be paired",
            found=f"{len(a)} and {len(b)} seeds, counts {a.shape[2]} and {b.shape[2]} wide",
            wanted="the same seeds in the same order (or one seed on a side) and the same metric",
        )
    return tuple(np.broadcast_to(side, (seeds, *side.shape[1:])) for side in (a, b))  # type: ignore[return-value]


def _resamples(resamples: int) -> int:
    if resamples < 1:
        raise InputError("Nothing to resample", found=f"resamples = {resamples}", wanted="1 or more")
    return resamples


def _chunks(resamples: int, documents: int) -> Iterator[int]:
    size = max(1, _CELLS // documents)
    yield from (min(size, resamples - start) for start in range(0, resamples, size))


def _resampled_values(totals: Counts, value: Value, resamples: int, rng: np.random.Generator) -> Counts:
    """Draw as many documents as there are, with replacement; return the values [resamples, seeds]."""
    documents = totals.shape[1]
    sums = [_weighted(_draws(chunk, documents, rng), totals) for chunk in _chunks(resamples, documents)]
    return _values(np.concatenate(sums), value)


def _values(sums: Counts, value: Value) -> Counts:
    """The value of each vector of `sums` [..., width]; resamples of few documents often come to the same one."""
    flat = np.ascontiguousarray(sums.reshape(-1, sums.shape[-1]))
    as_bytes = flat.view(np.dtype((np.void, flat.strides[0])))[:, 0].tolist()  # np.unique sorts rows, which takes longer
    index: dict[bytes, int] = {}
    places = np.array([index.setdefault(vector, len(index)) for vector in as_bytes])
    distinct = np.frombuffer(b"".join(index), dtype=flat.dtype).reshape(-1, sums.shape[-1])
    values: Counts = np.array([value(vector) for vector in distinct])[places.reshape(sums.shape[:-1])]
    return values


def _draws(resamples: int, items: int, rng: np.random.Generator) -> Counts:
    """How often each item is drawn when `items` are drawn with replacement: [resamples, items]."""
    drawn = rng.integers(items, size=(resamples, items)) + items * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * items).reshape(resamples, items).astype(np.float64)


def _weighted(weights: Counts, totals: Counts) -> Counts:
    """[resamples, documents] x [seeds, documents, width] -> [resamples, seeds, width]."""
    return np.tensordot(weights, totals, axes=(1, 1))


def _over_seeds(values: Counts, rng: np.random.Generator) -> Counts:
    """Mean of each resample's values [resamples, seeds] over seeds drawn with replacement."""
    weighted: Counts = values * _draws(len(values), values.shape[1], rng)
    means: Counts = weighted.sum(axis=1) / values.shape[1]
    return means


def _mean_value(totals: Counts, value: Value) -> float:
    return float(np.mean([value(matrix) for matrix in totals.sum(axis=1)]))


def _percentiles(statistics: Counts, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise InputError("The confidence level is out of range", found=level, wanted="a number between 0 and 1")
    low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws_of_difference(
    counts_a: Counts | Sequence[Counts], counts_b: Counts | Sequence[Counts], documents: Sequence[Hashable], value: Value,
    resamples: int, seed: int,
) -> tuple[float, Counts, Counts]:  # fmt: skip
    """A minus B as observed, of each resample, and of each random swap."""
    a, b = _paired(_document_totals(counts_a, documents), _document_totals(counts_b, documents))
    documents_rng, seeds_rng, swaps_rng = np.random.default_rng(seed).spawn(3)
    both = np.concatenate([a, b])
    values = _resampled_values(both, value, _resamples(resamples), documents_rng)
    gaps = _over_seeds(values[:, : len(a)] - values[:, len(a) :], seeds_rng)
    return _mean_value(a, value) - _mean_value(b, value), gaps, _swapped(a, b, value, resamples, swaps_rng)


def _difference(observed: float, gaps: Counts, swapped: Counts, level: float) -> Difference:
    """The p value is the share of random swaps that differ at least as much, the observed one counted in."""
    low, high = _percentiles(gaps, level)
    as_large = np.abs(swapped) >= abs(observed) - 1e-9
    return Difference(observed, low, high, float((1 + as_large.sum()) / (1 + len(swapped))))


def _swapped(a: Counts, b: Counts, value: Value, resamples: int, rng: np.random.Generator) -> Counts:
    """A minus B after swapping their outputs for random documents: [resamples]."""
    documents = a.shape[1]
    moved = [
        _weighted(rng.integers(2, size=(chunk, documents)).astype(np.float64), b - a) for chunk in _chunks(resamples, documents)
    ]
    moves = np.concatenate(moved)
    gaps = _values(a.sum(axis=1) + moves, value) - _values(b.sum(axis=1) - moves, value)
    means: Counts = gaps.mean(axis=1)
    return means
