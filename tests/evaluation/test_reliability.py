"""Reliability: by hand, exact where confidence is honest, and how the report words it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpdd.errors import InputError
from mpdd.evaluation.reliability import reliability, reliability_of, reliability_tables
from mpdd.inference.confidence import fit

UNITS = [(0.9, True), (0.9, False), (0.1, False), (0.3, True)]


def test_bins_and_error_by_hand():
    found = reliability(UNITS, {})
    assert [(one["from"], one["count"], one["right"]) for one in found["bins"]] == [(0.0, 1, 0.0), (0.2, 1, 1.0), (0.8, 2, 0.5)]
    assert (found["error"], found["error_raw"]) == pytest.approx((100 * (0.1 + 0.7 + 0.8) / 4,) * 2)
    assert (found["units"], found["dev_units"]) == (4, 0)


def test_honest_confidence_has_no_error_and_a_fitted_scale_makes_it_so():
    honest = [(0.75, n % 4 != 0) for n in range(400)]
    assert reliability(honest, {})["error"] == pytest.approx(0)
    boastful = [(0.99, right) for _, right in honest]
    scale = fit([p for p, _ in boastful], [right for _, right in boastful])
    found = reliability(boastful, {"slope": scale.slope, "shift": scale.shift, "units": 400})
    assert found["error_raw"] == pytest.approx(24) and found["error"] < 2


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_every_unit_is_in_one_bin(known):
    found = reliability(known, {"slope": 0.5, "shift": 0.1, "units": 3})
    assert sum(one["count"] for one in found["bins"]) == len(known)
    assert 0 <= found["error"] <= 100
    assert all(one["from"] <= one["mean"] + 1e-9 for one in found["bins"])


def test_nothing_to_say_without_units():
    row = {"target": "t", "method": "mpdd", "shots": 4, "seed": 0, "value": 1.0}
    assert reliability([], {}) == {}
    assert reliability_of([{"row": row}, {"row": row, "reliability": {}}]) == []
    (found,) = reliability_of([{"row": row, "reliability": {"units": 1}}])
    assert found == {"target": "t", "method": "mpdd", "shots": 4, "seed": 0, "units": 1}


def test_the_best_method_at_its_most_shots_speaks_for_a_target(tmp_path):
    path = tmp_path / "reliability.json"
    assert reliability_tables(path, ["mpdd"]) == []
    record = reliability(UNITS, {"slope": 1.0, "shift": 0.0, "units": 7})
    names = [("lora", "all", 0), ("mpdd", 32, 0), ("mpdd", "all", 1), ("mpdd", "all", 0)]
    path.write_text(json.dumps([{"target": "t", "method": m, "shots": k, "seed": s, **record} for m, k, s in names]))
    (table,) = reliability_tables(path, ["mpdd", "lora"])
    assert table.run.startswith("mpdd, ") and table.run.endswith("seed 0") and "32" not in table.run
    assert table.lines[-1] == ("90\u00a0%", "2", "50\u00a0%")
    assert table.summary == "Confidence is off by 40.0 points on average; before it was scaled on 7 of dev, by 40.0."
    assert reliability_tables(path, ["ia3"]) == []
    path.write_text('[{"target": "t"}]')
    with pytest.raises(InputError, match="not what a run writes"):
        reliability_tables(path, ["mpdd"])
