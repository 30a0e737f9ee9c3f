"""Rows over seeds and paired comparisons of a run's cells, and how the report shows them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpdd.errors import InputError
from mpdd.evaluation.compare import Pair, bootstrap_interval, holm, mean_difference, paired_difference
from mpdd.evaluation.differences import difference_tables
from mpdd.evaluation.joint import MEAN, comparisons, rows_over_seeds
from mpdd.evaluation.report.page import write_report
from mpdd.evaluation.results import write_results
from mpdd.evaluation.row import Row
from tests.evaluation.test_compare import accuracy_counts, ratio

DOCUMENTS = [f"d{i // 2}" for i in range(80)]
VALUES = {"headqa": ratio, "pubmedqa": ratio}


def cell(method: str, target: str, seed: int = 0, shots: Any = 32, right: float = 0.5) -> dict[str, Any]:
    rng = np.random.default_rng([len(method), len(target), seed])
    counts = accuracy_counts(rng.random(80) < right)
    interval = bootstrap_interval(counts, DOCUMENTS, ratio, resamples=100)
    row = Row(
        method=method, backbone="b", backbone_parameters=1000, target=target, task_type="qa", shots=shots, seed=seed,
        metric="accuracy", value=interval.value, ci_low=interval.low, ci_high=interval.high, n_examples=80, chance=25.0,
        unparseable=float(seed), trainable_parameters=10, trainable_fraction=0.01, stored_bytes=100, train_examples_seen=5,
        train_seconds=1.0, tuning_trials=3,
    )  # fmt: skip
    return {"row": asdict(row), "documents": DOCUMENTS, "counts": counts.tolist()}


def counts(*cells: dict[str, Any]) -> list[Any]:
    return [np.asarray(found["counts"], dtype=np.float64) for found in cells]


def test_several_seeds_give_one_row_with_the_interval_over_both() -> None:
    cells = [cell("mpdd", "headqa", seed) for seed in (2, 0, 1)]
    (row,) = rows_over_seeds([*cells, cell("mpdd", "pubmedqa")], VALUES)
    wanted = bootstrap_interval(counts(cells[1], cells[2], cells[0]), DOCUMENTS, ratio)
    assert (row.seed, row.target, row.unparseable) == ("all", "headqa", 1.0)
    assert (row.value, row.ci_low, row.ci_high) == (wanted.value, wanted.low, wanted.high)
    assert row.value == pytest.approx(np.mean([found["row"]["value"] for found in cells]))


def test_each_comparison_is_the_paired_one_and_holm_counts_the_targets() -> None:
    ours = {target: cell("mpdd", target, right=0.9) for target in VALUES}
    theirs = {target: cell("lora", target) for target in VALUES}
    found = {item["target"]: item for item in comparisons([*ours.values(), *theirs.values()], VALUES)}
    each = [paired_difference(counts(ours[t]), counts(theirs[t]), DOCUMENTS, ratio) for t in VALUES]
    for target, wanted, adjusted in zip(VALUES, each, holm([one.p for one in each]), strict=True):
        item = found[target]
        assert (item["method"], item["against"], item["shots"]) == ("mpdd", "lora", 32)
        assert item["value"] == pytest.approx(wanted.value, abs=1e-4)
        assert (item["p"], item["p_holm"]) == (pytest.approx(wanted.p, abs=1e-4), pytest.approx(adjusted, abs=1e-4))
    assert found[MEAN]["value"] == pytest.approx(np.mean([one.value for one in each]), abs=1e-3)
    assert found[MEAN]["low"] > 0 and found[MEAN]["p"] < 0.01


def test_a_method_without_training_stands_against_every_number_of_shots_and_every_seed() -> None:
    cells = [cell("mpdd", "headqa", seed, shots) for seed in (0, 1) for shots in (4, "all")]
    found = comparisons([*cells, cell("zero-shot", "headqa", 0, 0)], VALUES)
    assert {(item["against"], item["shots"]) for item in found} == {("zero-shot", 4), ("zero-shot", "all")}


def test_the_mean_over_one_target_is_that_target() -> None:
    a, b = counts(cell("mpdd", "headqa")), counts(cell("lora", "headqa"))
    assert mean_difference([Pair(a, b, DOCUMENTS, ratio)]) == paired_difference(a, b, DOCUMENTS, ratio)
    with pytest.raises(InputError, match="No target"):
        mean_difference([])


def test_a_system_does_not_differ_from_itself() -> None:
    same = counts(cell("mpdd", "headqa"))
    found = mean_difference([Pair(same, same, DOCUMENTS, ratio)] * 2)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_the_mean_is_covered_about_95_times_in_100() -> None:
    rng, held = np.random.default_rng(3), 0
    for trial in range(200):
        pairs = [
            Pair(accuracy_counts(rng.random(60) < 0.7), accuracy_counts(rng.random(60) < 0.6), range(60), ratio) for _ in range(3)
        ]
        found = mean_difference(pairs, resamples=300, seed=trial)
        held += found.low <= 10 <= found.high
    assert 0.9 <= held / 200 <= 0.985


def test_the_report_shows_differences_with_their_signs(tmp_path: Path) -> None:
    cells = [cell(method, target, right=right) for method, right in (("mpdd", 0.9), ("lora", 0.5)) for target in VALUES]
    write_results(tmp_path / "results.json", [Row.from_dict(found["row"]) for found in cells])
    (tmp_path / "comparisons.json").write_text(json.dumps(comparisons(cells, VALUES)))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    (table,) = difference_tables(tmp_path / "comparisons.json")
    assert table.lines[0][0] == "lora" and table.targets == tuple(VALUES)
    mean = table.lines[0][2]
    assert mean is not None and mean.clear and f"<strong>+{mean.value:.1f}</strong>" in page
    assert "p &lt; 0.001" in page or "p 0.0" in page


def test_a_damaged_record_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "comparisons.json").write_text('[{"shots": 4}]')
    with pytest.raises(InputError, match="comparisons.json is not what a run writes"):
        difference_tables(tmp_path / "comparisons.json")
    assert difference_tables(tmp_path / "none.json") == []
