"""What lies under results/: each report is what its numbers give, byte for byte, and cells hold no text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mpdd.evaluation.report import write_report
from mpdd.evaluation.results import read_results

RESULTS = Path(__file__).parents[2] / "results"
REPORTS = sorted(path.parent for path in RESULTS.rglob("report.html"))
CELLS = sorted(RESULTS.rglob("cells/*.json"))


@pytest.mark.parametrize("folder", REPORTS, ids=lambda path: str(path.relative_to(RESULTS)))
def test_a_published_report_is_made_of_the_published_numbers(folder, tmp_path):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("report.html", "cells", "prompts"))
    write_report(copy)
    assert (copy / "report.html").read_bytes() == (folder / "report.html").read_bytes()


def test_published_cells_have_no_text_and_are_those_of_the_results():
    known = {
        folder: {(r.target, r.method, r.shots, r.seed): r for r in read_results(folder / "results.json")} for folder in REPORTS
    }
    for path in CELLS:
        cell = json.loads(path.read_text(encoding="utf-8"))
        assert cell["outputs"] == {}
        row = cell["row"]
        listed = known.get(path.parents[1], {}).get((row["target"], row["method"], row["shots"], row["seed"]))
        assert listed is None or listed.value == row["value"]  # None: the run goes on
