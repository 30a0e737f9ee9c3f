"""How published runs were made, in words."""

from __future__ import annotations

from mpdd.evaluation.conditions import commits_named, objective_note, of_former_objective, seeds_named


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
