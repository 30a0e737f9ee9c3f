"""The rows by the number of examples say what the rows of the run's results say."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from mpdd.evaluation import by_shots

RESULTS = Path(__file__).parents[2] / "results"


def mean(run, method, shots):
    found = json.loads((RESULTS / run / "results.json").read_text("utf-8"))
    rows = [
        row for row in (found["rows"] if isinstance(found, dict) else found) if (row["method"], row["shots"]) == (method, shots)
    ]
    whole = [row for row in rows if row["seed"] == "all"] or rows
    return f"{fmean(row['value'] for row in whole):.1f}"


def test_the_means_are_those_of_the_results():
    others = ("prompt-tuning", "lora")
    few = by_shots.rows(RESULTS / "fewshot", others)
    assert [row[0] for row in few] == ["4", "32"]
    for row in few:
        assert row[1:4] == tuple(mean("fewshot", method, int(row[0])) for method in ("mpdd", *others))
        assert len(row) == len(by_shots.heads(others)) and all("[" in cell for cell in row[4:])
    (whole,) = by_shots.rows(RESULTS / "alldata", others)
    assert whole[:2] == ("all", mean("alldata", "mpdd", "all"))


def test_what_was_not_run_is_empty():
    (row,) = by_shots.rows(RESULTS / "alldata", ("ia3",))
    assert row[2:] == ("", "")
