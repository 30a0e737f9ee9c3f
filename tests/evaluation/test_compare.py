from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from mpdd.errors import InputError
from mpdd.evaluation import compare
from mpdd.evaluation.compare import bootstrap_interval, holm, paired_difference
from tests.conftest import tries

Array = NDArray[np.float64]


def ratio(counts: Array) -> float:
    return float(100 * counts[0] / counts[1]) if counts[1] else 0.0


def f1(counts: Array) -> float:
    return float(200 * counts[0] / (counts[1] + counts[2])) if counts[1] + counts[2] else 0.0


def accuracy_counts(right: Any) -> Array:
    right = np.asarray(right, dtype=np.float64)
    return np.stack([right, np.ones_like(right)], axis=1)


def ner_counts(rng: np.random.Generator, rows: int) -> Array:
    gold = rng.poisson(3, rows)
    matched = rng.binomial(gold, 0.7)
    return np.stack([matched, matched + rng.poisson(1, rows), gold], axis=1).astype(np.float64)


def test_the_value_is_that_of_the_plain_sum() -> None:
    counts = ner_counts(np.random.default_rng(0), 40)
    interval = bootstrap_interval(counts, range(40), f1, resamples=200)
    assert interval.value == pytest.approx(f1(counts.sum(axis=0)))
    assert interval.low < interval.value < interval.high


def test_a_binomial_accuracy_is_covered_about_95_times_in_100() -> None:
    rng, n, truth = np.random.default_rng(1), 120, 0.7
    intervals = [
        bootstrap_interval(accuracy_counts(rng.random(n) < truth), range(n), ratio, resamples=400, seed=trial)
        for trial in range(300)
    ]
    covered = np.mean([interval.low <= 100 * truth <= interval.high for interval in intervals])
    assert 0.91 <= covered <= 0.98


def test_the_interval_has_the_binomial_width() -> None:
    counts = accuracy_counts(np.arange(400) < 240)
    interval = bootstrap_interval(counts, range(400), ratio, resamples=4000)
    low, high = (stats.binom.ppf(q, 400, 0.6) / 4 for q in (0.025, 0.975))
    assert interval.low == pytest.approx(low, abs=0.5)
    assert interval.high == pytest.approx(high, abs=0.5)


def test_rows_of_one_document_are_resampled_together() -> None:
    right = np.repeat(np.arange(50) % 2, 20)
    clustered = bootstrap_interval(accuracy_counts(right), np.repeat(np.arange(50), 20).tolist(), ratio)
    loose = bootstrap_interval(accuracy_counts(right), range(1000), ratio)
    per_document = bootstrap_interval(accuracy_counts(np.arange(50) % 2), range(50), ratio)
    assert clustered == per_document
    assert clustered.high - clustered.low > 3 * (loose.high - loose.low)


def naive_bootstrap(
    matrices: list[Array], documents: list[str], value: Callable[[Array], float], resamples: int, seed: int
) -> tuple[float, float]:
    """The definition, one resample after the other, with the same random numbers."""
    documents_rng, seeds_rng = np.random.default_rng(seed).spawn(2)
    names = list(dict.fromkeys(documents))
    rows = {name: [i for i, document in enumerate(documents) if document == name] for name in names}
    drawn_documents = documents_rng.integers(len(names), size=(resamples, len(names)))
    drawn_seeds = seeds_rng.integers(len(matrices), size=(resamples, len(matrices)))
    statistics = []
    for some_documents, some_seeds in zip(drawn_documents, drawn_seeds, strict=True):
        chosen = [row for document in some_documents for row in rows[names[document]]]
        statistics.append(np.mean([value(matrices[seed][chosen].sum(axis=0)) for seed in some_seeds]))
    return float(np.quantile(statistics, 0.025)), float(np.quantile(statistics, 0.975))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("cells", [2**22, 40])
def test_equal_to_a_naive_loop(seeds: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "_CELLS", cells)
    rng = np.random.default_rng(2)
    documents = [f"note-{i}" for i in rng.integers(15, size=40)]
    matrices = [ner_counts(rng, 40) for _ in range(seeds)]
    interval = bootstrap_interval(matrices, documents, f1, resamples=100, seed=7)
    assert (interval.low, interval.high) == pytest.approx(naive_bootstrap(matrices, documents, f1, 100, 7))
    assert interval.value == pytest.approx(np.mean([f1(matrix.sum(axis=0)) for matrix in matrices]))


def test_seeds_that_differ_widen_the_interval() -> None:
    base = np.arange(200) < 120
    same = [accuracy_counts(base)] * 3
    spread = [accuracy_counts(np.arange(200) < 120 + shift) for shift in (-30, 0, 30)]
    narrow, wide = (bootstrap_interval(seeds, range(200), ratio) for seeds in (same, spread))
    assert narrow == bootstrap_interval(same[0], range(200), ratio)
    assert wide.value == pytest.approx(narrow.value)
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def test_the_seed_argument_alone_decides() -> None:
    counts = ner_counts(np.random.default_rng(3), 30)
    first, again, other = (bootstrap_interval(counts, range(30), f1, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_higher_level_is_wider() -> None:
    counts = ner_counts(np.random.default_rng(3), 30)
    ninety, most = (bootstrap_interval(counts, range(30), f1, level=level) for level in (0.9, 0.99))
    assert most.low < ninety.low < ninety.high < most.high


@settings(max_examples=tries(30), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_an_interval_stays_on_the_scale(rows: list[tuple[int, bool]]) -> None:
    documents, right = [row[0] for row in rows], [row[1] for row in rows]
    interval = bootstrap_interval(accuracy_counts(right), documents, ratio, resamples=50)
    assert 0 <= interval.low <= interval.high <= 100


def test_a_difference_is_antisymmetric() -> None:
    rng = np.random.default_rng(4)
    a, b = ner_counts(rng, 60), ner_counts(rng, 60)
    forth, back = paired_difference(a, b, range(60), f1), paired_difference(b, a, range(60), f1)
    assert forth.value == pytest.approx(-back.value)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.p == pytest.approx(back.p)


def test_a_system_does_not_differ_from_itself() -> None:
    counts = ner_counts(np.random.default_rng(5), 30)
    assert paired_difference(counts, counts, range(30), f1) == compare.Difference(0, 0, 0, 1)


def test_pairing_finds_a_difference_that_intervals_hide() -> None:
    rng = np.random.default_rng(6)
    worse = rng.random(300) < 0.5
    better = worse.copy()
    better[np.flatnonzero(~worse)[:12]] = True
    a, b = accuracy_counts(better), accuracy_counts(worse)
    difference = paired_difference(a, b, range(300), ratio)
    own = [bootstrap_interval(counts, range(300), ratio) for counts in (a, b)]
    assert own[0].low < own[1].high
    assert difference.value == pytest.approx(4)
    assert difference.low > 0
    assert difference.p < 0.005


def test_the_p_value_is_that_of_all_swaps() -> None:
    """Eight documents on which only A is right, two on which only B is: the exact sign test."""
    a = accuracy_counts([1] * 8 + [0] * 2 + [1] * 5)
    b = accuracy_counts([0] * 8 + [1] * 2 + [1] * 5)
    difference = paired_difference(a, b, range(15), ratio, resamples=20_000)
    assert difference.p == pytest.approx(stats.binomtest(8, 10).pvalue, abs=0.01)


def test_p_is_about_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(8)
    p = []
    for trial in range(200):
        easy = rng.random(80)
        a, b = (accuracy_counts(easy + 0.3 * rng.standard_normal(80) > 0.5) for _ in range(2))
        scores_a, scores_b = (side + np.array([0.01, 0]) * rng.random((80, 1)) for side in (a, b))
        p.append(paired_difference(scores_a, scores_b, range(80), ratio, resamples=199, seed=trial).p)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.1


def test_documents_are_swapped_whole() -> None:
    """Twenty rows that agree within one document are one piece of evidence, not twenty."""
    a, b = accuracy_counts([1] * 20), accuracy_counts([0] * 20)
    assert paired_difference(a, b, ["d"] * 20, ratio).p == 1
    assert paired_difference(a, b, range(20), ratio).p < 0.001


def test_one_run_without_seeds_is_compared_with_every_seed() -> None:
    rng = np.random.default_rng(9)
    seeds, single = [ner_counts(rng, 40) for _ in range(3)], ner_counts(rng, 40)
    assert paired_difference(seeds, single, range(40), f1) == paired_difference(seeds, [single] * 3, range(40), f1)


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04, kept from falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.6, 0.9]) == (1, 1)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1, len(p_values) * min(p_values)))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [q for _, q in pairs] == sorted(adjusted)


@pytest.mark.parametrize(
    ("counts", "documents"),
    [
        (np.ones((3, 2)), ["a", "b"]),
        (np.ones((0, 2)), []),
        ([np.ones((3, 2)), np.ones((2, 2))], ["a", "b", "c"]),
        (np.ones(3), ["a", "b", "c"]),
        ([], []),
    ],
)
def test_shapes_that_do_not_fit(counts: Any, documents: list[str]) -> None:
    with pytest.raises(InputError, match="cannot be resampled; found .* wanted"):
        bootstrap_interval(counts, documents, ratio)


def test_systems_that_cannot_be_paired() -> None:
    two, three = [np.ones((4, 2))] * 2, [np.ones((4, 2))] * 3
    with pytest.raises(InputError, match="2 and 3 seeds"):
        paired_difference(two, three, range(4), ratio)
    with pytest.raises(InputError, match="counts 2 and 3 wide"):
        paired_difference(np.ones((4, 2)), np.ones((4, 3)), range(4), ratio)


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="p value is out of range"):
        holm([0.1, 1.2])
    with pytest.raises(InputError, match="p value is out of range"):
        holm([float("nan")])
    with pytest.raises(InputError, match="resamples = 0"):
        bootstrap_interval(np.ones((2, 2)), range(2), ratio, resamples=0)
    with pytest.raises(InputError, match="confidence level"):
        bootstrap_interval(np.ones((2, 2)), range(2), ratio, level=95)
