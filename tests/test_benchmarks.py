"""The script for a GPU runs at tiny shapes on a CPU, with its peers and its arithmetic; the page's rows say what holds."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import gpu, prediction, profiles
from mpdd.experiment import check, config
from mpdd.experiment.shape import Shape
from scripts import update_performance

PARTS = ("prompt_tuning_step", "peer_step", "distillation_step", "mixed_prediction", "peer_prediction")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What the script writes for both shapes, made tiny."""
    out = tmp_path_factory.mktemp("gpu") / "gpu.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gpu", "--small", "--out", str(out), "--parts", *PARTS])
        gpu.main()
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.e2e
@pytest.mark.parametrize("name", gpu.NAMES)
def test_every_part_is_measured_with_its_peers(measured, name):
    parts = measured["shapes"][name]
    assert not {part: found["failed"] for part, found in parts.items() if "failed" in found}
    assert all(parts[part]["seconds"]["median"] > 0 for part in PARTS)
    assert parts["peer_prediction"]["tokens_written"] == parts["mixed_prediction"]["tokens_written"]


def test_a_night_follows_from_the_speeds_measured():
    experiment = config.read(gpu.EXPERIMENTS / "llama-3.1-8b.toml")
    shape = Shape.of_config(gpu.EXPERIMENTS / "shapes" / "llama-3.1-8b.json")
    slow = {"rows": 8, "seconds": {"median": 2.0}, "utilisation": 0.1}
    fast = {"rows": 16, "seconds": {"median": 1.0}, "utilisation": 0.4}
    answered = {"requests": 36, "seconds": {"median": 1.0}}
    parts = {"prompt_tuning_step": slow, "step_of_a_full_pass": fast, "mixed_prediction": answered}
    found = gpu.night(experiment, shape, parts)
    rows = check.facts(experiment, shape)["examples_trained_on"]
    assert found["training_hours"] == pytest.approx(rows / 16 / 3600)
    assert found["answering_hours"] == pytest.approx(found["answers"] / 36 / 3600)
    assert found["share_of_product_then"] == pytest.approx(0.4 * found["times_as_fast_for_a_night"])


def test_without_vllm_a_sentence_says_so(monkeypatch, capsys):
    monkeypatch.delenv("MPDD_VLLM_PYTHON", raising=False)
    monkeypatch.setattr(sys, "argv", ["prediction"])
    monkeypatch.setattr(prediction, "measure", lambda *_, **__: {})
    prediction.main()
    assert json.loads(capsys.readouterr().out) == {"beside_vllm": {"left_out": prediction.NO_VLLM}}


def test_a_cell_of_fewer_steps_stands_for_a_whole_one():
    taken = {"steps": 20.0, "validation": 4.0, "answering test examples": 7.0, "all": 31.0}
    assert profiles.scaled(taken, 20) == {"steps": 100.0, "validation": 12.0, "answering test examples": 7.0, "all": 119.0}
    assert profiles.scaled(taken, profiles.STEPS) == taken


def bar(suite, what):
    (row,) = [line for line in update_performance.bars(suite, {}) if line.startswith(f"| {what}")]
    return row.split("|")[-3].strip(), row.split("|")[-2].strip()


def test_rows_of_the_page_say_what_holds_and_what_was_not_measured():
    def ratio(median):
        return {"median": median, "low": median, "high": median, "rounds": 1}

    machine = {"cores": 2, "processor": "x", "gpu": None, "torch": torch.__version__}
    about = {"machine": machine, "date": "2026-01-01", "commit": "0" * 40}
    suite = {"prediction_embedded": {**about, "speed_ratio": {"peft_in_batches": ratio(2.9), "peft_one_by_one": ratio(5.1)}}}
    assert bar(suite, "embedded: ten tasks mixed, PEFT in padded batches") == ("2.90", "**no**")
    assert bar(suite, "embedded: ten tasks mixed, PEFT one by one") == ("5.10", "yes")
    assert bar(suite, "embedded: ten tasks mixed, vLLM") == ("not measured", "")
    failed = {"prediction_embedded": {**about, "failed": "OSError: x"}}
    assert bar(failed, "embedded: ten tasks mixed, PEFT one by one") == ("not measured", "")
