"""Similarities of task factors against matrices that are built, rank correlations against scipy, and both in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mpdd.errors import InputError
from mpdd.evaluation.transfer import sentence, similarities, spearman, transfer, transfer_tables


def factors(rng: np.random.Generator, rank: int = 1, far: float = 0.3, length: int = 4, width: int = 6) -> tuple[Any, Any]:
    """Near identity, as the metaprompt's: ones in the first pair, further ones near 0."""
    u, v = np.zeros((rank, length)), np.zeros((rank, width))
    u[0], v[0] = 1, 1
    return tuple((side + far * rng.standard_normal(side.shape)).astype(np.float32) for side in (u, v))


def built(task: tuple[Any, Any]) -> Any:
    u, v = (np.asarray(side, dtype=np.float64) for side in task)
    return u.T @ v


def cosine(a: Any, b: Any) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("far", [1.0, 0.3, 1e-3])
def test_similarities_are_those_of_the_matrices(rank: int, far: float) -> None:
    rng = np.random.default_rng(0)
    target, *sources = (factors(rng, rank, far) for _ in range(6))
    mean = np.mean([built(source) for source in sources], axis=0)
    wanted = [cosine(built(target) - mean, built(source) - mean) for source in sources]
    assert similarities(target, sources) == pytest.approx(wanted, abs=1e-6)


def test_how_u_and_v_share_their_size_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    (u, v), *sources = (factors(rng) for _ in range(4))
    assert similarities((4 * u, v / 4), sources) == pytest.approx(similarities((u, v), sources))


def test_a_target_that_is_a_source_is_wholly_like_it() -> None:
    sources = [factors(np.random.default_rng(seed)) for seed in range(4)]
    found = similarities(sources[2], sources)
    assert found[2] == pytest.approx(1)
    assert all(value is not None and value < 0.99 for i, value in enumerate(found) if i != 2)


def test_two_sources_lie_on_opposite_sides_of_their_mean() -> None:
    target, *sources = (factors(np.random.default_rng(seed)) for seed in range(3))
    first, second = similarities(target, sources)
    assert first is not None and second == pytest.approx(-first)


def test_what_is_the_mean_is_like_nothing() -> None:
    same, other = (factors(np.random.default_rng(seed)) for seed in range(2))
    at_start = (np.ones((1, 4), dtype=np.float32), np.ones((1, 6), dtype=np.float32))
    assert similarities(other, [same]) == [None]
    assert similarities(other, [same, same, same]) == [None] * 3
    assert similarities(at_start, [at_start, at_start]) == [None] * 2
    assert similarities(same, [at_start, same])[1] is not None


# The record


def compared(target: str, value: float, shots: Any = 32, **changed: Any) -> dict[str, Any]:
    named = {"method": "mpdd", "against": "prompt-tuning", "shots": shots, "target": target, **changed}
    return {**named, "value": value, "low": value - 1, "high": value + 1, "p": 0.5}


def test_gains_and_similarities_stand_together() -> None:
    sources = {name: factors(np.random.default_rng(seed)) for seed, name in enumerate(("ddi", "scifact", "hoc"))}
    few = {(32, "rqe"): [sources["ddi"], sources["hoc"]], (32, "new"): [factors(np.random.default_rng(9))]}
    said = [
        compared("rqe", 3.0),
        compared("rqe", 9.0, against="lora"),
        compared("rqe", 8.0, shots="all"),
        compared("rqe", 7.0, method="spot"),
        compared("mean", 6.0),
    ]
    (found,) = transfer(sources, few, said)
    rqe, new = found["targets"]
    assert (found["shots"], found["method"], found["against"]) == (32, "mpdd", "prompt-tuning")
    assert rqe["gain"] == {"value": 3.0, "low": 2.0, "high": 4.0} and new["gain"] is None
    assert (rqe["seeds"], new["seeds"]) == (2, 1)
    each = [similarities(sources[name], list(sources.values())) for name in ("ddi", "hoc")]
    assert list(rqe["similarity"].values()) == pytest.approx(np.mean(np.array(each, dtype=float), axis=0), abs=1e-4)
    assert rqe["similarity"][rqe["nearest"]] == max(rqe["similarity"].values())
    assert found["correlation"] == {"value": None, "p": None, "targets": 1}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_number_of_shots_has_its_own_and_the_most_come_first() -> None:
    sources = {name: factors(np.random.default_rng(seed)) for seed, name in enumerate("abc")}
    names = ("p", "q", "r", "s")
    adapted = {
        (shots, name): [factors(np.random.default_rng([i, j]))]
        for i, shots in enumerate((4, "all", 32))
        for j, name in enumerate(names)
    }
    found = transfer(sources, adapted, [compared(name, float(i)) for i, name in enumerate(names)])
    assert [item["shots"] for item in found] == ["all", 32, 4]
    assert all(target["gain"] is None for item in (found[0], found[2]) for target in item["targets"])
    nearest = [max(target["similarity"].values()) for target in found[1]["targets"]]
    assert found[1]["correlation"]["value"] == pytest.approx(spearmanr(nearest, range(4)).statistic, abs=1e-4)
    assert found[1]["correlation"]["targets"] == 4


def test_what_was_known_before_stands_where_its_prompts_are_gone() -> None:
    sources = {name: factors(np.random.default_rng(seed)) for seed, name in enumerate("abc")}
    whole = {(32, name): [factors(np.random.default_rng([i, j])) for j in range(2)] for i, name in enumerate("pqrs")}
    before = transfer(sources, whole, [compared("p", 1.0), compared("q", 2.0)])
    gone = {**whole, (32, "p"): [], (32, "q"): whole[32, "q"][:1], (32, "new"): []}
    (found,) = transfer(sources, gone, [compared("p", 5.0), compared("q", 2.0)], before)
    (known,) = before
    assert [target["target"] for target in found["targets"]] == list("pqrs")
    assert found["targets"][0] == {**known["targets"][0], "gain": {"value": 5.0, "low": 4.0, "high": 6.0}}
    assert found["targets"][1:] == known["targets"][1:]
    others = dict(zip("xyz", sources.values(), strict=True))
    (other,) = transfer(others, gone, [], before)
    assert [(target["target"], target["seeds"]) for target in other["targets"]] == [("q", 1), ("r", 2), ("s", 2)]


def test_with_one_source_nothing_is_near() -> None:
    ((target,),) = (item["targets"] for item in transfer({"a": factors(np.random.default_rng(0))}, {
        ("all", "p"): [factors(np.random.default_rng(1))]}, []))  # fmt: skip
    assert (target["nearest"], target["similarity"]) == (None, {"a": None})
    assert transfer({}, {}, []) == []


# Correlation

VALUES = st.integers(-3, 3).map(float)


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=3, max_size=9))
def test_the_correlation_is_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    found = spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found == {"value": None, "p": None, "targets": len(pairs)}
    else:
        assert found["value"] == pytest.approx(spearmanr(first, second).statistic, abs=1e-4)
        assert 0 < found["p"] <= 1


def test_p_values_are_shares_of_all_orders() -> None:
    assert spearman(range(4), range(4))["p"] == pytest.approx(2 / 24, abs=1e-4)
    assert spearman(range(6), [-x for x in range(6)])["p"] == pytest.approx(2 / 720, abs=1e-4)
    assert spearman([1, 2, 3], [1, 3, 2])["p"] == 1
    rng = np.random.default_rng(0)
    first = rng.random(40)
    second = first + 1.5 * rng.random(40)
    assert spearman(first, second)["p"] == pytest.approx(spearmanr(first, second).pvalue, abs=0.005)


@pytest.mark.parametrize("few", [[], [1.0], [1.0, 2.0]])
def test_few_targets_have_no_correlation(few: list[float]) -> None:
    assert spearman(few, few) == {"value": None, "p": None, "targets": len(few)}


@pytest.mark.parametrize(
    ("value", "p", "targets", "said"),
    [
        (None, None, 0, "cannot be said: there are no targets with both, and it takes 3."),
        (None, None, 1, "cannot be said: there is 1 target with both, and it takes 3."),
        (None, None, 5, "there are 5 targets with both, but one of the two is always the same."),
        (1.0, 0.0833, 4, "of +1.00 (p 0.083, by permutation): these targets do not show that similarity foretells the gain, and "
         "fewer than 5 could not show it."),
        (-0.1, 0.8, 9, "of \u22120.10 (p 0.80, by permutation): these targets do not show that similarity foretells the gain."),
        (0.9, 0.01, 9, "the more similar the nearest source, the larger the gain."),
        (-0.9, 0.01, 9, "the more similar the nearest source, the smaller the gain."),
    ],
)  # fmt: skip
def test_the_correlation_in_words(value: float | None, p: float | None, targets: int, said: str) -> None:
    assert sentence({"value": value, "p": p, "targets": targets}).endswith(said)


def test_fewer_than_five_targets_could_indeed_not_show_it() -> None:
    assert min(spearman(range(n), range(n))["p"] for n in (3, 4)) >= 0.05 > spearman(range(5), range(5))["p"]


# For the report


def test_the_table_tints_by_the_largest_and_marks_the_nearest(tmp_path: Path) -> None:
    similarity = {"a": -0.4, "b": 0.2, "c": None}
    target = {"target": "rqe", "seeds": 1, "gain": None, "nearest": "b", "similarity": similarity}
    item = {"shots": 32, "method": "mpdd", "against": "prompt-tuning", "sources": ["a", "b", "c"], "targets": [target]}
    (tmp_path / "transfer.json").write_text(json.dumps([{**item, "correlation": {"value": None, "p": None, "targets": 0}}]))
    (table,) = transfer_tables(tmp_path / "transfer.json")
    ((name, gain, (first, second, third)),) = table.lines
    assert (name, gain, third) == ("rqe", None, None)
    assert first is not None and (first.text, first.tint, first.below, first.nearest) == ("\u22120.40", 40, True, False)
    assert second is not None and (second.text, second.tint, second.below, second.nearest) == ("+0.20", 20, False, True)


@pytest.mark.parametrize("content", ['{"shots": 1}', '[{"shots": 4}]', "[3]", '[{"sources": [], "targets": 3}]'])
def test_a_damaged_record_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "transfer.json").write_text(content)
    with pytest.raises(InputError, match="transfer.json is not what a run writes"):
        transfer_tables(tmp_path / "transfer.json")
    assert transfer_tables(tmp_path / "none.json") == []
