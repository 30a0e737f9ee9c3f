"""`decoding.grounded` of an experiment: every method decodes so, dev scores too, and runs and prompt files say it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tomli_w

from mpdd.annotate.ray import Work, _require_same_decoding
from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.experiment import config, own_task, pipeline
from mpdd.experiment.setup import data_of
from mpdd.inference.decoding import steering
from mpdd.inference.decoding.answers import Grammars
from mpdd.inference.engines import open_engine
from mpdd.inference.predict import ask
from mpdd.methods.options import Decoding
from mpdd.progress import Silent
from mpdd.prompts.store import load_prompt
from tests.conftest import ONE_RATE
from tests.data.cards.conftest import CARDS, lines, record

METHODS = ("zero-shot", "prompt-tuning", "lora", "ia3", "full-finetuning")


@pytest.fixture
def experiment(tiny_folder, tmp_path):
    """An experiment of every kind of method on an own task of entities, its decoding as asked."""
    (tmp_path / "one.jsonl").write_text(lines([record("ner", n) for n in range(12)]))
    card = {"name": "one", "instruction": "List.", **CARDS["ner"], "max_answer_tokens": 30}
    (tmp_path / "one.toml").write_text(tomli_w.dumps(card | {"data": {"format": "jsonl", "train": "one.jsonl"}}))
    catalogue._load.cache_clear()
    adapt = {"steps": 1, "every": 1, "batch_size": 2, "select_by": "metric", "select_examples": 2, **ONE_RATE}

    def of(**decoding):
        values = {
            "name": "own", "backbone": str(tiny_folder), "methods": list(METHODS), "targets": [str(tmp_path / "one.toml")],
            "prompt": {"length": 4}, "adapt": adapt, "decoding": decoding, "compute": {"dtype": "fp32"},
        }  # fmt: skip
        return config.build(values, "test")

    return of


def cells_of(run):
    return [json.loads(path.read_text()) for path in sorted((run / "cells").glob("*.json"))]


def test_every_method_is_decoded_as_the_experiment_says(experiment, tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(steering, "LEAST", 0.0)  # an untrained model would say other words
    asked = {True: 0, False: 0}

    def counted(vocabulary, request, *rest):
        asked[request.grounded] += 1
        return ask(vocabulary, request, *rest)

    monkeypatch.setattr("mpdd.inference.predict.ask", counted)
    pipeline.run(experiment(grounded=True), tmp_path / "grounded", Silent())
    assert asked[False] == 0 and asked[True] > 0  # test examples, dev scores and the scale of confidences
    grounded = cells_of(tmp_path / "grounded")
    assert len(grounded) == len(METHODS) and all(cell["ungrounded"] == 0 for cell in grounded)
    pipeline.run(experiment(grounded=False), tmp_path / "free", Silent())
    assert any(cell["ungrounded"] + cell["row"]["unparseable"] > 0 for cell in cells_of(tmp_path / "free"))
    assert "grounded = true" in (tmp_path / "grounded" / "config.toml").read_text()
    kept = load_prompt(tmp_path / "grounded" / "prompts" / "one-prompt-tuning-all-s0.safetensors", tiny).header
    assert kept.provenance["decoding"]["grounded"] is True


def test_a_run_does_not_go_on_with_another_decoding(experiment, tmp_path):
    short = {"methods": ("zero-shot",)}
    pipeline.run(experiment(grounded=True).model_copy(update=short), tmp_path / "run", Silent())
    with pytest.raises(InputError, match="another configuration"):
        pipeline.run(experiment(grounded=False).model_copy(update=short), tmp_path / "run", Silent())


@pytest.mark.parametrize("grounded", [True, False])
def test_adapt_and_engines_take_what_is_asked(grounded, tiny_folder, experiment, tmp_path):
    made = own_task.experiment_for(tmp_path / "one.toml", None, methods=("lora",), backbone=str(tiny_folder), grounded=grounded)
    assert made.decoding.grounded is grounded
    usual = own_task.experiment_for(tmp_path / "one.toml", None, methods=("lora",), backbone=str(tiny_folder))
    assert usual.decoding == Decoding()
    assert open_engine(str(tiny_folder), "", patience=0, grounded=grounded).grounded is grounded
    assert open_engine(str(tiny_folder), "", patience=0).grounded is Decoding().grounded


def test_an_output_folder_of_workers_holds_one_kind_of_answers(tmp_path):
    _require_same_decoding(Work([], tmp_path, "", grounded=True))
    _require_same_decoding(Work([], tmp_path, "", grounded=True))
    with pytest.raises(
        InputError, match="decoded otherwise; found grounded answers; wanted one kind in a folder. Add --grounded"
    ):
        _require_same_decoding(Work([], tmp_path, "", grounded=False))
    with pytest.raises(InputError, match="decoded otherwise"):
        _require_same_decoding(Work([], tmp_path, "", engine="http://127.0.0.1:9"))  # a server writes freely
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "part-a.parquet").touch()  # of a version that wrote freely and did not say so
    with pytest.raises(InputError, match="found free answers.*Add --free"):
        _require_same_decoding(Work([], tmp_path / "old", "", grounded=True))
    _require_same_decoding(Work([], tmp_path / "old", "", grounded=False))


def test_tasks_that_ask_about_one_note_share_what_is_made_of_it(experiment, tmp_path):
    card = catalogue.get(str(tmp_path / "one.toml")).card
    note = catalogue.load(str(tmp_path / "one.toml")).train[0]
    grammars = Grammars()
    first, again = (grammars.of(card, note, True) for _ in range(2))
    assert first is again
    other = grammars.of(replace(card, labels=("Other",)), note, True)
    assert other is not first and len(grammars._notes) == 1


def test_priors_and_losses_of_choices_are_those_of_every_trained_method(tiny_folder, tmp_path, tiny):
    (tmp_path / "says.jsonl").write_text(lines([record("nli", n) for n in range(12)]))
    card = {"name": "says", "instruction": "Entails?", **CARDS["nli"], "data": {"format": "jsonl", "train": "says.jsonl"}}
    (tmp_path / "says.toml").write_text(tomli_w.dumps(card))
    catalogue._load.cache_clear()
    values = {
        "name": "own", "backbone": str(tiny_folder), "methods": ["zero-shot", "in-context", "prompt-tuning", "lora"],
        "targets": [str(tmp_path / "says.toml")], "prompt": {"length": 4}, "compute": {"dtype": "fp32"}, "choice_loss": "t-few",
        "adapt": {"steps": 1, "every": 1, "batch_size": 2, **ONE_RATE}, "decoding": {"priors": True},
    }  # fmt: skip
    experiment = config.build(values, "test")
    pipeline.run(experiment, tmp_path / "run", Silent())
    cells = {cell["row"]["method"]: cell["priors"] for cell in cells_of(tmp_path / "run")}
    assert cells.pop("zero-shot") == {}
    assert all(len(priors["classes"]) == 2 and priors["examples"] > 0 for priors in cells.values())
    assert all(priors["classes"][0] > priors["classes"][1] for priors in cells.values())  # every answer is the first label
    kept = load_prompt(tmp_path / "run" / "prompts" / "says-prompt-tuning-all-s0.safetensors", tiny).header
    assert dict(kept.priors) == cells["prompt-tuning"]
    run = pipeline.Run.open(experiment, tmp_path / "run", Silent(), "")
    data = data_of(run, run.tasks["says"], "all", 0)
    assert all(row.wrong_answers for row in (*data.train, *data.dev))
