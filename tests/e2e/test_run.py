"""A whole run on real data as a user starts it: what it leaves behind, what that is good for, and that it is kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from html.parser import HTMLParser
from itertools import zip_longest

import pytest

from mpdd import __version__
from mpdd.backbone import model as backbones
from mpdd.data import catalogue
from mpdd.evaluation.results import read_results
from mpdd.prompts.store import load_prompt
from tests.e2e.conftest import EXPERIMENT, MIRROR, contents

pytestmark = pytest.mark.e2e

LENGTH, RANK, WIDTH = 4, 2, 32
FACTORS = RANK * (LENGTH + WIDTH)
# q, k, v, o, gate, up, down of the tiny Llama as (in, out): LoRA of rank 8 on each of them, in two layers
LORA = 2 * sum(8 * (a + b) for a, b in [(32, 32), (32, 16), (32, 16), (32, 32), (32, 48), (32, 48), (48, 32)])
TRAINED = {
    "zero-shot": 0,
    "mpdd-zero-shot": 0,
    "prompt-tuning": LENGTH * WIDTH,
    "mpdd": FACTORS,
    "mpdd-full": LENGTH * WIDTH + FACTORS,
    "mpdd-no-teachers": FACTORS,
    "lora": LORA,
}


@pytest.fixture(scope="module")
def rows(finished):
    return read_results(finished.folder / "results.json")


@pytest.fixture(scope="module")
def backbone(world):
    return backbones.load(str(world.backbone))


def test_every_method_has_a_row_for_every_target(rows):
    assert sorted((r.method, r.target) for r in rows) == sorted(
        (method, target) for method in EXPERIMENT["methods"] for target in EXPERIMENT["targets"]
    )


def test_rows_say_what_was_run(rows, world):
    for row in rows:
        task = catalogue.get(row.target)
        assert (row.task_type, row.metric, row.n_examples) == (task.card.type, task.headline, 4)
        assert (row.shots, row.seed) == (8 if TRAINED[row.method] else 0, 0)
        assert row.backbone == world.backbone.name
        assert row.ci_low <= row.value <= row.ci_high


def test_costs_are_those_of_arithmetic(rows, backbone, finished):
    assert backbone.parameters == sum(p.numel() for p in backbone.model.parameters())
    for row in rows:
        trained = TRAINED[row.method]
        assert row.trainable_parameters == trained
        assert row.backbone_parameters == backbone.parameters
        assert row.trainable_fraction == pytest.approx(trained / backbone.parameters, rel=1e-12)
        assert row.tuning_trials == (1 if trained else 0)
        assert row.train_examples_seen == (4 * 2 if trained else 0)
        name = f"{row.target}-{row.method}-8-s0"
        path = finished.folder / "prompts" / (f"{name}/adapter_model" if row.method == "lora" else name)
        assert row.stored_bytes == (path.with_name(f"{path.name}.safetensors").stat().st_size if trained else 0)
        assert row.stored_bytes >= 4 * trained


def test_cells_keep_every_metric_and_those_of_n2c2_for_entities(finished):
    for path in finished.folder.glob("cells/*.json"):
        cell = json.loads(path.read_text(encoding="utf-8"))
        assert cell["metrics"][cell["row"]["metric"]] == pytest.approx(cell["row"]["value"])
        beside = {name for name in cell["metrics"] if name.startswith("n2c2_")}
        assert len(beside) == (4 if cell["row"]["task_type"] in ("ner", "re") else 0)


class Page(HTMLParser):
    """Collects what a browser would fetch or execute."""

    def __init__(self):
        super().__init__()
        self.tags, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "a":
            self.fetched += [value for key, value in attrs if key in ("src", "href", "xlink:href", "data", "srcset")]


def test_the_report_is_one_self_contained_page_about_every_target_and_method(finished):
    text = (finished.folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert {"html", "table", "svg"} <= set(page.tags)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert all(address.startswith(("#", "data:")) for address in page.fetched)
    assert not re.search(r"@import|url\((?!#|['\"]?data:)", text)
    assert all(name in text for name in (*EXPERIMENT["methods"], *EXPERIMENT["targets"]))


def test_provenance_names_code_data_and_backbone(finished, backbone, world):
    made = json.loads((finished.folder / "provenance.json").read_text(encoding="utf-8"))
    files = {f for name in (*EXPERIMENT["sources"], *EXPERIMENT["targets"]) for f in catalogue.get(name).files}
    assert made["data_sha256"] == {f: hashlib.sha256((MIRROR / f).read_bytes()).hexdigest() for f in files}
    assert (made["backbone"]["name"], made["backbone"]["fingerprint"]) == (world.backbone.name, backbone.fingerprint)
    assert made["backbone"]["parameters"] == backbone.parameters
    assert (made["mpdd_version"], made["seeds"], made["data"]) == (__version__, [0], "public")
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", made["commit"])
    assert made["command"] == f"mpdd run {world.experiment} --out unbroken"


def test_the_folder_holds_what_the_contract_says_and_no_checkpoint(finished):
    found = set(contents(finished.folder))
    assert {"config.toml", "results.json", "report.html", "metrics.jsonl", "provenance.json", "examples.json"} <= found
    assert {"metrics.json", "comparisons.json", "failures.json", "reliability.json", "transfer.json"} <= found
    assert not [name for name in found if name.startswith("checkpoints/") or "/." in name or name.startswith(".")]
    assert {f"prompts/teacher-{name}.safetensors" for name in EXPERIMENT["sources"]} <= found
    assert {"prompts/metaprompt.safetensors", "prompts/metaprompt-no-teachers.safetensors"} <= found


def test_metrics_have_every_step_of_every_unit(finished):
    lines = (finished.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = {}
    for row in map(json.loads, lines):
        steps.setdefault((row["stage"], row["run"]), []).append(row["step"])
    wanted = {"teach": [0, 1, 2, 3, 4], "distil": [0, 1, 2, 3, 4, 5, 6], "adapt": [0, 2, 4]}
    assert all(found == wanted[stage] for (stage, _), found in steps.items())
    trained = [method for method, count in TRAINED.items() if count]
    assert len(steps) == 3 * 2 + 2 + 3 * len(trained)


def test_only_our_own_lines_are_printed(finished):
    """Stages and results of units, nothing from a library: neither bars nor warnings."""
    lines = [line for line in finished.err.splitlines() if line.strip()]
    assert all(re.match(r"== (Loading|Stage [123]:)|  (Rows of a batch are packed: )?[a-z]", line) for line in lines)
    assert "\r" not in finished.err
    assert "Report: unbroken/report.html" in finished.out
    assert all(method in finished.out for method in EXPERIMENT["methods"])


def test_every_prompt_file_loads_and_answers_a_note(finished, world, backbone):
    files = [load_prompt(path, backbone) for path in sorted((finished.folder / "prompts").glob("*.safetensors"))]
    assert len(files) == 3 + 2 + 3 * 4
    asked = [file for file in files if file.header.kind != "meta"]
    note = {
        "id": "n1",
        "text": "Aspirin was given for fever.\r\nHereditary ataxia 💊 was found.",
        "Question 2": "What is fever?",
        "Hypothesis": "Aspirin helps.",
        "Question": "Which drug?",
        "choices": ["aspirin", "warfarin"],
    }
    (world.folder / "notes.jsonl").write_text(json.dumps(note) + "\n", encoding="utf-8")
    of_task = defaultdict(list)
    for file in asked:
        of_task[file.header.card.name].append(file)
    results = []
    for group in zip_longest(*of_task.values()):  # no two prompts of a command are for one task
        files = [file for file in group if file is not None]
        out, err = world.run("predict", *(file.path for file in files), "notes.jsonl", "--json")
        answers = json.loads(out)
        assert err == ""
        assert [result["task"] for result in answers] == [file.header.card.name for file in files]
        results += answers
    assert len(results) == len(asked)
    for result in results:
        assert ("entities" in result) + ("answer" in result) + ("summary" in result) == 1
        for entity in result.get("entities", []):
            assert entity["text"] == note["text"][entity["start"] : entity["end"]]


def test_running_again_trains_nothing_and_changes_nothing(finished, world):
    before = contents(finished.folder)
    written = {name: (finished.folder / name).stat().st_mtime_ns for name in before if name.startswith(("prompts/", "cells/"))}
    out, err = world.run("run", world.experiment, "--out", "unbroken")
    assert contents(finished.folder) == before
    assert {name: (finished.folder / name).stat().st_mtime_ns for name in written} == written
    assert "dev loss" not in err
    (path,) = (line for line in err.splitlines() if line.strip() and not line.startswith("== "))
    assert path.startswith("  Rows of a batch are packed: ")
    assert out == finished.out


def test_the_backbone_is_as_it_was(finished, world):
    assert contents(world.backbone) == finished.backbone_before
