"""What pages say of published runs: variants against a base, scores by examples, and how runs were made."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from mpdd.errors import InputError
from mpdd.evaluation import published
from mpdd.evaluation.published import commits_named, objective_note, of_former_objective, seeds_named
from mpdd.evaluation.records import raw_files

VARIANTS = {
    "base": ("base", "mpdd"),
    "worse": ("base", "other"),
    "same": ("same", "mpdd"),
    "half": ("half", "mpdd"),
    "none": ("x", "mpdd"),
}


@pytest.fixture
def folder(tmp_path):
    """Twenty questions of each of two targets: the base has 15 right, the worse one 5."""

    def write(variant, target, method, right):
        cells = tmp_path / variant / "cells"
        cells.mkdir(parents=True, exist_ok=True)
        (cells.parent / "config.toml").write_text('targets = ["pubmedqa", "headqa"]')
        row = {"target": target, "method": method, "seed": 0, "value": 5.0 * right, "trainable_fraction": 0.0003}
        counts = [[int(n < right), 1] for n in range(20)]
        cell = {"row": row, "documents": [str(n) for n in range(20)], "counts": counts}
        (cells / f"{target}--{method}--32--s0.json").write_text(json.dumps(cell))

    for target in ("headqa", "pubmedqa"):
        write("base", target, "mpdd", 15)
        write("base", target, "other", 5)
        write("same", target, "mpdd", 15)
    write("half", "headqa", "mpdd", 20)
    return tmp_path


def test_each_variant_with_every_target_stands_against_the_base(folder):
    base, worse, same = published.variant_rows(folder, VARIANTS)
    assert base == ("base", "75.0", "", "", "", "0.0300 %")
    assert worse[:3] == ("worse", "25.0", "+50.0")
    low, high = map(float, worse[3].strip("[]").split(", "))
    assert 0 < low < 50 < high and float(worse[4]) < 0.01
    assert same[:5] == ("same", "75.0", "+0.0", "[0.0, 0.0]", "1.000")
    assert {len(row) for row in (base, worse, same)} == {len(published.VARIANT_HEADS)}


def test_other_documents_cannot_be_compared(folder):
    path = folder / "same" / "cells" / "headqa--mpdd--32--s0.json"
    cell = json.loads(path.read_text())
    path.write_text(json.dumps(cell | {"documents": cell["documents"][::-1]}))
    with pytest.raises(InputError, match="other test documents of headqa"):
        published.variant_rows(folder, VARIANTS)


def test_nothing_was_run(tmp_path):
    assert published.variant_rows(tmp_path, VARIANTS) == []


# The rows by the number of examples say what the rows of the run's results say.

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
    found = published.shot_rows([most, few], others)
    assert [(row.run, row.cells[0]) for row in found] == [(few, "4"), (few, "32"), (most, "all")]
    for row in found:
        shots = row.cells[0] if row.run == most else int(row.cells[0])
        assert row.cells[1:4] == tuple(mean(row.run.name, method, shots) for method in ("mpdd", *others))
        assert len(row.cells) == len(published.shot_heads(others)) and all("[" in cell for cell in row.cells[4:])


def test_what_was_not_run_is_empty():
    (row,) = published.shot_rows([RESULTS / "alldata"], ("ia3",))
    assert row.cells[2:] == ("", "")


# How published runs were made, in words.


def test_seeds_are_named():
    assert (seeds_named([0]), seeds_named([0, 1])) == ("seed 0", "seeds 0, 1")


def test_commits_are_those_of_the_cells_of_all_runs():
    one, other = {"commit": "c" * 40, "cells": {"a" * 40: 2}}, {"commit": "c" * 40, "cells": {"b" * 40: 1, "a" * 40: 3}}
    assert commits_named([one]) == "commit `aaaaaaaaaa`"
    assert commits_named([one, other]) == "commits `aaaaaaaaaa` (5 cells), `bbbbbbbbbb` (1 cell)"
    assert commits_named([{"commit": "c" * 40}]) == "commit `cccccccccc`"


def test_runs_of_the_former_objective_are_marked(tmp_path):
    runs = []
    for name, line in {"old": "", "asked": 'loss_per = "example"', "new": 'loss_per = "task"'}.items():
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "config.toml").write_text(line)
        runs.append(tmp_path / "results" / name)
    assert [of_former_objective(run) for run in runs] == [True, True, False]
    assert objective_note(runs).startswith("**Older figures**: results/old, results/asked were made with the former objective")
    assert objective_note(runs[2:]) == ""
