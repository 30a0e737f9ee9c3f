"""Adapting to examples in memory and scoring on them: the same as through files, and nothing of them is left behind."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mpdd
from mpdd.api.examples import as_files
from mpdd.data.cards.labelled import read_labelled
from tests.api.conftest import NER, TRIAGE

WORD = "ZZPATIENTNAMEZZ"
EXAMPLES = [
    {"id": str(n), "text": f"{WORD} {n}: {'chest pain' if n % 2 else 'a refill'}.", "answer": TRIAGE.labels[1 - n % 2]}
    for n in range(24)
]
QUICK = {"steps": 2, "shots": 4, "quiet": True}


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def adapted(shelf, tiny_folder, temporary):
    """Adapt to the examples in some form."""

    def adapted(task, *arguments, **options):
        return mpdd.adapt(task, *arguments, metaprompt=shelf / "meta.safetensors", backbone=str(tiny_folder), **QUICK, **options)

    return adapted


def test_examples_in_memory_are_as_good_as_a_card(adapted, tmp_path, temporary, backbone):
    made = adapted(TRIAGE, EXAMPLES, out=tmp_path / "run")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES))
    (tmp_path / "urgency.toml").write_text(
        'name = "urgency"\ntype = "classification"\ninstruction = "How urgent is it?"\nlabels = ["urgent", "routine"]\n'
        '[data]\ntrain = "t.jsonl"\n'
    )
    other = adapted(tmp_path / "urgency.toml")
    assert torch.equal(made.prompt.rows(), other.prompt.rows())
    assert (made.score.value, made.score.n_examples) == (other.score.value, other.score.n_examples)
    assert made.folder == tmp_path / "run" and (made.folder / "report.html").is_file() and other.folder is None
    assert not list(temporary.iterdir())
    assert not any(WORD.encode() in path.read_bytes() for path in made.folder.rglob("*") if path.is_file())
    (note,) = mpdd.Annotator(other.prompt, backbone).annotate(["Chest pain."])  # its run folder is gone
    assert note["urgency"].answer in TRIAGE.labels


def test_a_stopped_run_on_examples_in_memory_goes_on(adapted, tmp_path):
    first = adapted(TRIAGE, EXAMPLES, out=tmp_path / "run")
    again = adapted(TRIAGE, EXAMPLES, out=tmp_path / "run")
    assert first.rows == again.rows
    with pytest.raises(mpdd.InputError, match="holds a run with another configuration"):
        adapted(TRIAGE, EXAMPLES[1:], out=tmp_path / "run")


def test_a_frame_and_a_dataset_are_the_same_examples(temporary):
    pandas = pytest.importorskip("pandas")
    with as_files({"a": EXAMPLES, "b": pandas.DataFrame(EXAMPLES), "c": (example for example in EXAMPLES)}) as paths:
        read = [read_labelled(TRIAGE, [path])[0] for path in paths.values()]
    assert [[(e.text, e.gold) for e in examples] for examples in read] == [[(e.text, e.gold) for e in read[0]]] * 3


def test_a_dataset_keeps_the_names_of_its_classes(temporary):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["routine", "urgent"])})
    rows = {"text": ["a", "b", "c"], "label": [1, 0, 1]}
    with as_files({"a": datasets.Dataset.from_dict(rows, features=features)}) as paths:
        examples, _ = read_labelled(TRIAGE, [paths["a"]])
    assert [TRIAGE.labels[example.gold.choice] for example in examples] == ["urgent", "routine", "urgent"]


def test_examples_lie_where_no_other_user_reads_them(temporary):
    with as_files({"a": EXAMPLES}) as paths:
        folder = paths["a"].parent
        assert folder.stat().st_mode & 0o777 == 0o700
    folder.mkdir(mode=0o755)
    with pytest.raises(mpdd.InputError, match="is not private"), as_files({"a": EXAMPLES}):
        pass
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "Examples cannot be read; found int; wanted a path, a list of dicts"),
        ([{"text": "x"}, WORD], "Example 2 cannot be read; found str"),
        ([{"text": WORD, "answer": object()}], "Example 1 cannot be read; found values that JSON cannot hold"),
        ({"text": WORD}, "Examples cannot be read; found dict"),
        ([], "t.jsonl|empty|no usable record"),
    ],
)
def test_examples_that_cannot_be_read_are_refused_without_their_text(adapted, given, message, temporary):
    with pytest.raises(mpdd.InputError, match=message) as refused:
        adapted(TRIAGE, given)
    assert WORD not in str(refused.value)
    assert not list(temporary.iterdir())


def test_a_card_names_its_own_data(adapted, tmp_path):
    with pytest.raises(mpdd.InputError, match="A card names its own data"):
        adapted(tmp_path / "own.toml", EXAMPLES)
    with pytest.raises(mpdd.InputError, match="no examples to train on"):
        adapted(TRIAGE)


def test_without_steps_the_prompt_and_its_score_are_those_of_the_examples(shelf, tiny_folder, temporary):
    made = mpdd.adapt(
        TRIAGE, EXAMPLES, metaprompt=shelf / "meta.safetensors", backbone=str(tiny_folder), steps=0, shots=4, quiet=True
    )
    assert made.prompt.header.derived_from_examples == 4
    assert made.score.method == "mpdd-examples" and made.score in made.rows


def test_the_score_is_that_of_the_prompt_whatever_it_is_compared_with(adapted):
    made = adapted(TRIAGE, EXAMPLES, methods=["prompt-tuning"])
    assert {row.method for row in made.rows} >= {"mpdd", "prompt-tuning"}
    assert made.score.method == "mpdd"


# Scores


def test_gold_answers_score_100_and_errors_are_named_without_text(shelf, backbone, monkeypatch):
    (prompt,) = mpdd.load_prompts(shelf / "drugs.safetensors")
    rows = [
        {"id": "a", "text": "Takes aspirin.", "entities": [[6, 13, "Drug"]]},
        {"id": "b", "text": "No drugs.", "entities": []},
        {"id": "c", "text": f"{WORD} takes ibuprofen.", "entities": [[22, 31, "Drug"]]},
    ]
    answers = {"Takes aspirin.": "Drug: aspirin", "No drugs.": "none", rows[2]["text"]: f"Drug: {WORD}"}
    monkeypatch.setattr(type(backbone), "predict", answering(answers))
    found = mpdd.evaluate(prompt, rows, backbone)
    assert (found.examples, found.documents) == (3, 3)
    assert found.headline.value == found.metrics["strict_f1"].value == 50.0
    assert found.headline.low <= 50 <= found.headline.high
    drug = found.labels["Drug"]
    assert (drug.gold, drug.predicted, drug.precision.value, drug.recall.value) == (2, 2, 50.0, 50.0)
    assert [(error["error"], error["label"], error["start"], error["end"]) for error in found.errors] == [
        ("missed", "Drug", 22, 31),
        ("spurious", "Drug", 0, 15),
    ]
    assert WORD not in json.dumps(found.to_dict())
    shown = mpdd.evaluate(prompt, rows, backbone, show_text=True)
    assert [error["text"] for error in shown.errors] == ["ibuprofen", WORD]
    perfect = {**answers, rows[2]["text"]: "Drug: ibuprofen"}
    monkeypatch.setattr(type(backbone), "predict", answering(perfect))
    best = mpdd.evaluate(prompt, rows, backbone)
    assert {name: m.value for name, m in best.metrics.items()} == dict.fromkeys(best.metrics, 100.0)
    assert not best.errors


def test_scores_of_choices_by_label(shelf, backbone):
    (prompt,) = mpdd.load_prompts(shelf / "urgency.safetensors")
    found = mpdd.evaluate(prompt, EXAMPLES, backbone)
    assert sum(label.gold for label in found.labels.values()) == found.examples == 24
    right = 24 - len(found.errors)
    assert found.metrics["accuracy"].value == pytest.approx(100 * right / 24)
    mean = sum(label.f1.value for label in found.labels.values()) / 2
    assert found.headline.value == pytest.approx(mean)
    assert all({"gold", "predicted"} <= set(error) for error in found.errors)


@pytest.mark.parametrize("favoured", [0, 1])
def test_priors_in_a_prompt_file_count_in_scores_as_they_do_in_answers(shelf, backbone, favoured):
    """A class that the priors make certain is the answer to every example, in `evaluate` as in `annotate`."""
    (prompt,) = mpdd.load_prompts(shelf / "urgency.safetensors")
    priors = {"none": 0.0, "stop": 0.0, "classes": [100.0 * (n == favoured) for n in range(2)], "examples": 4}
    sure = replace(prompt, header=replace(prompt.header, priors=priors))
    found = mpdd.evaluate(sure, EXAMPLES, backbone)
    assert found.labels[TRIAGE.labels[favoured]].predicted == 24
    notes = mpdd.Annotator(sure, backbone).annotate(EXAMPLES[:3])
    assert {note["urgency"].answer for note in notes} == {TRIAGE.labels[favoured]}


def answering(outputs):
    """A backbone's `predict` that writes these outputs."""
    from mpdd.data.types import parse
    from mpdd.inference.predict import Prediction

    def predict(self, requests, *, tick=lambda _: None):
        texts = [outputs[request.example.text] for request in requests]
        return [Prediction(text, parse(r.card, r.example, text), 0) for r, text in zip(requests, texts, strict=True)]

    return predict


def test_an_experiment_runs_from_its_file(tmp_path):
    path = Path(tmp_path) / "e.toml"
    path.write_text('name = "x"\nsources = ["bc5cdr_ner"]\ntargets = ["no_such_task"]\n')
    with pytest.raises(mpdd.InputError, match="no_such_task"):
        mpdd.run_experiment(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert NER.labels == ("Drug",)
