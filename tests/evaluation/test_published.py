"""What lies under results/: every experiment is one archive that loads whole, its report can be made, its cells hold no text."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mpdd.errors import InputError
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


@pytest.mark.parametrize("run", [r for r in PUBLISHED if (raw_files(r) / "results.json").is_file()], ids=name)
def test_the_report_of_published_results_is_the_same_each_time(run, tmp_path):
    publish(run, tmp_path / name_of(run))
    assert (tmp_path / run.name).read_bytes() == run.read_bytes()
    page = write_report(tmp_path / run.name)
    assert page == tmp_path / f"{name_of(run)}.html"
    first = page.read_bytes()
    assert b"<svg" in first
    other = tmp_path / "b"
    other.mkdir()
    shutil.copy(run, other)
    assert write_report(other / name_of(run)).read_bytes() == first  # in another folder, and named without its suffix


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
