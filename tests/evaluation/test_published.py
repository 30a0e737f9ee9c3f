"""What lies under results/: archives that load whole without any text, their reports, and the tables that pages make of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from statistics import fmean

import pytest

from mpdd.errors import InputError
from mpdd.evaluation import published
from mpdd.evaluation.published import commits_named, objective_note, of_former_objective, seeds_named
from mpdd.evaluation.records import SUFFIX, archive_of, name_of, packed, raw_files, run_files, runs_in, unpack
from mpdd.evaluation.report.page import write_report
from mpdd.evaluation.results import read_results
from mpdd.experiment import config
from mpdd.experiment.folder import RunFolder
from scripts.publish_results import publish

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(RESULTS.rglob("*" + SUFFIX))
assert PUBLISHED


def name(run):
    return name_of(run.relative_to(RESULTS))


@pytest.mark.parametrize("run", PUBLISHED, ids=name)
def test_published_results_load(run):
    config.read_written(raw_files(run) / "config.toml")
    assert json.loads((raw_files(run) / "provenance.json").read_text(encoding="utf-8"))["commit"]
    assert (run_files(run) / "metrics.jsonl").is_file()


@pytest.mark.parametrize("run", PUBLISHED, ids=name)
def test_published_cells_have_no_text_and_are_those_of_the_results(run):
    files = run_files(run)
    rows = read_results(files / "results.json") if (files / "results.json").is_file() else ()  # none: the run goes on
    listed = {(r.target, r.method, r.shots, r.seed): r for r in rows if r.seed != "all"}
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in files.glob("cells/*.json")]
    found = {tuple(cell["row"][key] for key in ("target", "method", "shots", "seed")): cell for cell in cells}
    assert found and all(cell["outputs"] == {} for cell in cells)
    assert not listed.keys() - found.keys()
    assert all(row.value == found[key]["row"]["value"] for key, row in listed.items())


@pytest.mark.parametrize("run", PUBLISHED, ids=name)
def test_the_report_of_published_results_is_the_same_each_time(run, tmp_path):
    """In another folder, and named without its suffix, too; of the ablations, which are alike, the page is made once."""
    publish(run, tmp_path / name_of(run))
    assert (tmp_path / run.name).read_bytes() == run.read_bytes()
    if not (raw_files(run) / "results.json").is_file():  # the run goes on
        return
    page = write_report(tmp_path / run.name)
    assert page == tmp_path / f"{name_of(run)}.html"
    first = page.read_bytes()
    assert b"<svg" in first
    if run.parent.name == "ablations" and name_of(run) != "base":
        return
    other = tmp_path / "b"
    other.mkdir()
    shutil.copy(run, other)
    assert write_report(other / name_of(run)).read_bytes() == first


def test_no_report_and_no_single_file_of_a_run_is_committed():
    listed = subprocess.run(["git", "ls-files", "."], cwd=RESULTS, capture_output=True, text=True, check=True).stdout.split()
    others = {"audit.json", "promptability.json", "promptability.md"}
    assert {path for path in listed if not path.endswith(SUFFIX) and not path.startswith("backbone/")} == others


def test_a_run_goes_on_from_published_results(tmp_path):
    run, published = tmp_path / "runs" / "small", tmp_path / "small"
    experiment = config.build({"name": "small", "sources": ["bc5cdr_ner", "scifact"], "targets": ["rqe"]}, "a.toml")
    folder = RunFolder(run, experiment)
    folder.write_json("provenance.json", {"commit": "c"})
    cell = {"row": {"value": 1.0}, "outputs": {"1": "a text"}}
    folder.unit("rqe/mpdd/32/s0", lambda: cell)
    publish(run, published)
    assert runs_in(tmp_path) == [archive_of(published)]
    content = archive_of(published).read_bytes()
    unpack(archive_of(published), published)
    again = RunFolder(published, experiment)
    assert again.finished("rqe/mpdd/32/s0") == {**cell, "outputs": {}}
    publish(published, published)  # what was unpacked is packed as it was
    assert archive_of(published).read_bytes() == content


def test_rows_of_earlier_versions_have_the_present_names_of_methods(tmp_path):
    """Until mpdd-full had a name, mpdd was that where adapt.mode was all."""
    assert "mpdd-full" in {row.method for row in read_results(run_files(RESULTS / "demo") / "results.json")}
    for mode, names in {"all": {"mpdd-full", "mpdd", "lora"}, "factors": {"mpdd", "lora"}}.items():
        folder = tmp_path / mode
        (folder / "cells").mkdir(parents=True)
        (folder / "config.toml").write_text(f'[adapt]\nmode = "{mode}"\n')
        (folder / "metrics.jsonl").write_text('{"run": "rqe/mpdd/4/s0/x", "step": 1}\n')
        methods = ("mpdd", "mpdd-factors", "lora") if mode == "all" else ("mpdd", "lora")
        for method in methods:
            cell = {"row": {"method": method}, "outputs": {"1": "a text about mpdd"}}
            (folder / "cells" / f"rqe--{method}--4--s0.json").write_text(json.dumps(cell))
        read = run_files(folder)
        cells = {path.name: json.loads(path.read_text()) for path in (read / "cells").iterdir()}
        assert {cell["row"]["method"] for cell in cells.values()} == names
        assert cells.keys() == {f"rqe--{name}--4--s0.json" for name in names}
        assert cells["rqe--mpdd--4--s0.json"]["outputs"] == {"1": "a text about mpdd"}
        assert f"rqe/{'mpdd-full' if mode == 'all' else 'mpdd'}/4/s0/x" in (read / "metrics.jsonl").read_text()


def test_the_same_files_give_the_same_archive():
    files = {"cells/b.json": b"2", "cells/a.json": b"1"}
    assert packed(files) == packed(dict(reversed(files.items())))


def test_an_archive_that_cannot_be_read_is_one_sentence(tmp_path):
    whole = packed({"a": bytes(range(256)) * 100})
    for content in (b"", b"nothing", whole[:100], whole[:100] + b"x" * 100 + whole[200:]):
        archive_of(tmp_path / "run").write_bytes(content)
        with pytest.raises(InputError, match="cannot be unpacked"):
            run_files(tmp_path / "run")


# What pages say of published runs: variants against a base, scores by examples, and how runs were made.

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
