"""`mpdd pack` from an experiment to answers, on the embedded backbone; killed on its way, it goes on."""

from __future__ import annotations

import json
import signal
import time

import pytest
import tomli_w

from mpdd.backbone.vocabulary import EMBEDDED_METAPROMPT
from tests.e2e.conftest import World

pytestmark = pytest.mark.e2e
EXPERIMENT = {
    "name": "two",
    "metaprompt": str(EMBEDDED_METAPROMPT),
    "methods": ["mpdd"],
    "targets": ["rqe", "nli4ct", "scifact"],  # the second has no stated licence, the third is a source of the metaprompt
    "limits": {"train": 8, "dev": 2, "test": 2},
    "prompt": {"length": 64, "rank": 2, "depth": "all"},
    "adapt": {"steps": 4, "batch_size": 2, "every": 2, "select_by": "accuracy", "factor_start": "kind", "mpdd": [0.1]},
}


@pytest.fixture(scope="module")
def place(world, tmp_path_factory) -> World:
    made = World(tmp_path_factory.mktemp("pack"))
    made.experiment.write_text(tomli_w.dumps(EXPERIMENT), encoding="utf-8")
    (made.folder / "note.jsonl").write_text(
        json.dumps({"text": "Does aspirin help?", "Question 2": "Does it?", "Hypothesis": "Aspirin helps."}) + "\n"
    )
    return made


def test_a_pack_is_made_by_one_command_that_goes_on(place):
    command = ("pack", place.experiment, "--out", "pack", "--test-examples", "3")
    cells, prompt = place.folder / "runs" / "two" / "cells", place.folder / "pack" / "rqe.safetensors"
    process = place.start_python(*command)
    deadline = time.monotonic() + 600
    while not list(cells.glob("rqe--*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (cell,) = cells.glob("*.json")
    before = cell.stat().st_mtime_ns
    out, _ = place.run(*command)
    assert "Left out: nli4ct (licence: not stated" in out and "2 tasks" in out
    assert cell.stat().st_mtime_ns == before and len(list(cells.iterdir())) == 2  # none for what is left out
    written = prompt.stat().st_mtime_ns
    place.run(*command)
    assert prompt.stat().st_mtime_ns == written


def test_its_headers_say_how_it_was_trained_and_scored_and_it_answers(place):
    header = json.loads(place.run("inspect", "pack/scifact.safetensors", "--json")[0])
    assert header["training"]["examples"] == 8 and header["training"]["method"] == "mpdd"
    assert header["score"]["examples"] == 3 < header["score"]["test_examples"]
    assert 0 <= header["score"]["low"] <= header["score"]["value"] <= header["score"]["high"] <= 100
    assert header["licence"].startswith("CC BY 4.0")
    out, _ = place.run("predict", "pack", "note.jsonl", "--json")
    assert {result["task"] for result in json.loads(out)} == {"rqe", "scifact"}
    assert "| rqe | nli | macro_f1 |" in (place.folder / "pack" / "README.md").read_text(encoding="utf-8")
