"""The rows by the number of examples say what the rows of the run's results say."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from mpdd.evaluation import by_shots
from mpdd.evaluation.records import raw_files

RESULTS = Path(__file__).parents[2] / "results"


def mean(run, method, shots):
    found = json.loads((raw_files(RESULTS / run) / "results.json").read_text("utf-8"))
    rows = [
        row for row in (found["rows"] if isinstance(found, dict) else found) if (row["method"], row["shots"]) == (method, shots)
    ]
    whole = [row for row in rows if row["seed"] == "all"] or rows
    return f"{fmean(row['value'] for row in whole):.1f}"


def test_the_means_are_those_of_the_results():
    others, few, most = ("prompt-tuning", "lora"), RESULTS / "fewshot", RESULTS / "alldata"
    found = by_shots.rows([most, few], others)
    assert [(row.run, row.cells[0]) for row in found] == [(few, "4"), (few, "32"), (most, "all")]
    for row in found:
        shots = row.cells[0] if row.run == most else int(row.cells[0])
        assert row.cells[1:4] == tuple(mean(row.run.name, method, shots) for method in ("mpdd", *others))
        assert len(row.cells) == len(by_shots.heads(others)) and all("[" in cell for cell in row.cells[4:])


def test_what_was_not_run_is_empty():
    (row,) = by_shots.rows([RESULTS / "alldata"], ("ia3",))
    assert row.cells[2:] == ("", "")
