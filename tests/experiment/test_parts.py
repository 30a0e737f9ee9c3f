"""A comparison made in parts: together they are the whole, and what they start from must be there before."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.evaluation.results import read_results
from mpdd.experiment import config, parts, pipeline
from mpdd.experiment.cells import Key
from mpdd.experiment.origins import prepare
from mpdd.experiment.setup import Run
from mpdd.files.shard import Shard
from mpdd.methods.registry import METHODS
from mpdd.progress import Silent
from tests.conftest import ONE_RATE
from tests.data.cards.conftest import CARDS, lines, record

ALL = (
    "zero-shot", "prompt-tuning", "lora", "full-finetuning", "mpdd-zero-shot", "mpdd", "mpdd-no-teachers", "shared-prompt",
    "spot", "lora-multitask", "ia3-multitask", "in-context", "mpdd-examples", "mpdd-context", "sesom",
)  # fmt: skip
RUN = tuple(name for name in ALL if name not in ("lora", "ia3-multitask", "mpdd-context"))  # of each kind of start and file
PARTS = 3


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory):
    """An experiment over four own tasks."""
    folder = tmp_path_factory.mktemp("tasks")
    for number, name in enumerate(("one", "two", "three", "four")):
        records = [record("nli", n) for n in range(100 * number, 100 * number + 20)]
        (folder / f"{name}.jsonl").write_text(lines(records), encoding="utf-8")
        card = {"name": name, "instruction": "Entails?", **CARDS["nli"], "data": {"format": "jsonl", "train": f"{name}.jsonl"}}
        (folder / f"{name}.toml").write_text(tomli_w.dumps(card), encoding="utf-8")
    catalogue._load.cache_clear()
    short = {"steps": 1, "every": 1, "batch_size": 2}
    least = {
        "name": "own", "backbone": str(tiny_folder), "shots": [4], "limits": {"dev": 2, "test": 2}, "prompt": {"length": 4},
        "sources": [str(folder / "one.toml"), str(folder / "two.toml")],
        "targets": [str(folder / "three.toml"), str(folder / "four.toml")], "teach": short, "distil": short,
        "adapt": short | ONE_RATE,
    }  # fmt: skip

    def of(methods=ALL, **values):
        return config.build(least | {"methods": methods} | values, "test")

    return of


def prepared(experiment, path):
    prepare(Run.open(experiment, path, Silent(), ""))


def make(experiment, path, part):
    return parts.make(
        experiment, path, Shard.read(part, "cells"), Silent(), command="mpdd run x.toml", preparing="mpdd distil x.toml"
    )


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """The run folder of one process."""
    path = tmp_path_factory.mktemp("whole") / "run"
    pipeline.run(made(RUN), path, Silent(), "mpdd run x.toml")
    return path


@pytest.fixture(scope="module")
def shared(made, tmp_path_factory):
    """The run folder of several parts, the last of them first, and what lay in it before the last run over all."""
    path = tmp_path_factory.mktemp("shared") / "run"
    prepared(made(RUN), path)
    rows = [row for number in range(PARTS, 0, -1) for row in make(made(RUN), path, f"{number}/{PARTS}")]
    assert len(rows) == len(RUN) * 2
    before = {str(file.relative_to(path)): file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    pipeline.run(made(RUN), path, Silent(), "mpdd run x.toml")
    return path, before


def without_seconds(cell):
    return {**cell, "row": {**cell["row"], "train_seconds": 0}}


def logged(path):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = {(row["run"], row["step"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_parts_together_give_what_one_process_gives(whole, shared):
    path, _ = shared
    ours, theirs = (read_results(folder / "results.json") for folder in (path, whole))
    assert [replace(row, train_seconds=0) for row in ours] == [replace(row, train_seconds=0) for row in theirs]
    cells = sorted(file.name for file in (whole / "cells").iterdir())
    assert cells == sorted(file.name for file in (path / "cells").iterdir())
    for name in cells:
        ours, theirs = (json.loads((folder / "cells" / name).read_text()) for folder in (path, whole))
        assert without_seconds(ours) == without_seconds(theirs)
    for file in (whole / "prompts").rglob("*.safetensors"):
        ours, theirs = load_file(path / file.relative_to(whole)), load_file(file)
        assert {name: t.tolist() for name, t in ours.items()} == {name: t.tolist() for name, t in theirs.items()}
    assert logged(path / "metrics.jsonl") == logged(whole / "metrics.jsonl")
    for name in ("config.toml", "comparisons.json", "examples.json", "metrics.json"):
        assert (path / name).read_bytes() == (whole / name).read_bytes()
    assert (path / "report.html").is_file()


def test_the_last_run_trains_nothing_and_leaves_no_files_of_parts(shared):
    path, before = shared
    kept = [name for name in before if name.startswith(("prompts/", "cells/"))]
    assert len(kept) > len(RUN) * 2
    assert {name: (path / name).stat().st_mtime_ns for name in kept} == {name: before[name] for name in kept}
    assert {name for name in before if "-of-" in name and "/" not in name} == {
        f"{name}-{number}-of-{PARTS}.{ending}"
        for number in range(1, PARTS + 1)
        for name, ending in (("metrics", "jsonl"), ("provenance", "json"))
    }
    assert not list(path.glob("*-of-[0-9]*"))
    assert "results.json" not in before


def test_provenance_says_what_made_the_parts_and_goes_on_saying_it(made, shared):
    path, _ = shared
    said = json.loads((path / "provenance.json").read_text())
    assert [one["parts"] for one in said["parts"]] == [["1/3", "2/3", "3/3"]]
    assert said["parts"][0]["machine"] == said["machine"]
    pipeline.run(made(RUN), path, Silent(), "mpdd run x.toml")
    assert json.loads((path / "provenance.json").read_text()) == said


def test_a_part_whose_cells_are_there_makes_nothing_more(made, shared):
    path, _ = shared
    times = [file.stat().st_mtime_ns for file in sorted((path / "cells").iterdir())]
    assert {row.method for row in make(made(RUN), path, "1/2")} <= set(RUN)
    assert [file.stat().st_mtime_ns for file in sorted((path / "cells").iterdir())] == times


def test_parts_wait_for_all_that_they_start_from(made, tmp_path):
    path = tmp_path / "run"
    wanted = (
        r"lacks what the cells start from; found no {}; wanted all of it before the first part\. `mpdd distil x.toml` makes it\."
    )
    everything = "teacher-one, teacher-two, metaprompt, metaprompt-no-teachers, metaprompt-shared, lora-of-sources/adapter_model"
    everything += ", ia3-of-sources/adapter_model"
    with pytest.raises(InputError, match=wanted.format(everything)):
        make(made(), path, "1/2")
    assert not path.exists()
    prepared(made(("mpdd",)), path)
    with pytest.raises(InputError, match=wanted.format("metaprompt-shared, lora-of-sources/adapter_model")):
        make(made(("mpdd", "shared-prompt", "lora-multitask")), path, "1/2")
    make(made(("mpdd", "spot")), path, "1/2")
    (path / "prompts" / "teacher-two.safetensors").unlink()
    with pytest.raises(InputError, match=wanted.format("teacher-two")):
        make(made(("mpdd", "spot")), path, "2/2")
    make(made(("mpdd",)), path, "2/2")  # its metaprompt is there


def test_many_teachers_are_counted(made, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "NAMED", 1)
    with pytest.raises(InputError, match="found no 2 teachers, metaprompt; wanted"):
        make(made(("mpdd",)), tmp_path / "run", "1/2")


def test_without_teachers_in_the_recipe_none_are_wanted(made, tmp_path):
    bare = {"steps": 1, "every": 1, "batch_size": 2, "start": "fresh", "kl": 0.0, "hidden": 0.0}
    with pytest.raises(InputError, match="found no metaprompt; wanted"):
        make(made(("mpdd",), distil=bare), tmp_path / "run", "1/2")
    with pytest.raises(InputError, match="found no teacher-one, teacher-two, metaprompt; wanted"):
        make(made(("spot",), distil=bare), tmp_path / "run", "1/2")


def test_what_another_run_was_prepared_with_is_taken_over(made, tmp_path):
    prepared(made(("mpdd",)), tmp_path / "first")
    (tmp_path / "second").mkdir()
    (tmp_path / "first" / "prompts").rename(tmp_path / "second" / "prompts")
    (row,) = make(made(("mpdd",), name="second"), tmp_path / "second", "1/2")
    assert row.method == "mpdd"


def test_what_has_nothing_from_sources_needs_nothing_before(made, tmp_path):
    experiment, path = made(("zero-shot", "prompt-tuning")), tmp_path / "run"
    rows = [row for part in ("1/2", "2/2") for row in make(experiment, path, part)]
    assert sorted((row.target, row.method) for row in rows) == sorted(
        (target, method) for target in ("three", "four") for method in experiment.methods
    )
    assert json.loads((path / "provenance.json").read_text())["command"] == "mpdd run x.toml"


def test_a_half_made_part_is_finished_by_the_run_over_all(made, whole, tmp_path):
    """What it logged stays, and half a line of it does not."""
    experiment, path = made(("prompt-tuning",)), tmp_path / "run"
    make(experiment, path, "1/2")
    log = path / "metrics-1-of-2.jsonl"
    log.write_bytes(log.read_bytes() + b'{"run": "thr')
    pipeline.run(experiment, path, Silent(), "")
    ours = logged(path / "metrics.jsonl")
    assert ours == {key: row for key, row in logged(whole / "metrics.jsonl").items() if row["method"] == "prompt-tuning"}


def test_another_experiment_s_parts_are_refused(made, tmp_path):
    make(made(("prompt-tuning",)), tmp_path / "run", "1/2")
    with pytest.raises(InputError, match="another configuration"):
        make(made(("prompt-tuning",), prompt={"length": 5}), tmp_path / "run", "2/2")


@st.composite
def comparisons(draw):
    names = st.lists(st.sampled_from(sorted(METHODS)), min_size=1, max_size=6, unique=True)
    sizes = {method: draw(st.integers(1, 12)) for method in draw(names)}
    return [
        Key(f"t{number % 4}", method, 8, number // 4) for number in range(12) for method, size in sizes.items() if number < size
    ]


@given(comparisons(), st.integers(1, 14))
def test_every_part_gets_its_share_of_each_method_and_all_are_all(cells, n):
    dealt = [parts.deal(cells, Shard(number, n)) for number in range(1, n + 1)]
    together = [key for part in dealt for key in part]
    assert len(together) == len(cells) and set(together) == set(cells)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for method in {key.method for key in cells}:
        counts = [Counter(key.method for key in part)[method] for part in dealt]
        assert max(counts) - min(counts) <= 1


def test_a_part_does_not_have_one_target_for_all_methods():
    """Where there are as many parts as targets: texts of some are several times as long as those of others."""
    cells = [Key(f"t{number}", method, 32, 0) for number in range(10) for method in ALL[:5]]
    dealt = [parts.deal(cells, Shard(number, 10)) for number in range(1, 11)]
    assert min(len({key.target for key in part}) for part in dealt) > 1
