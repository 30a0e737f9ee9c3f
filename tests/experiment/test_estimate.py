"""A rehearsal runs every stage and leaves nothing behind; steps are selected by answers to dev examples."""

from __future__ import annotations

import json
import resource
from dataclasses import replace

import pytest
import tomli_w
import torch

from mpdd.data import catalogue
from mpdd.data.batch import Encoded, encode
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.experiment import config, pipeline
from mpdd.experiment.estimate import _Cost, _enough, _share, _validations, predicted
from mpdd.methods.options import Adapt, Steps
from mpdd.progress import Silent
from mpdd.training.loop import Dev
from mpdd.training.tune import Data, fits, mean_losses
from tests.data.cards.conftest import CARDS, lines, record


@pytest.fixture
def experiment(tiny_folder, tmp_path):
    """An experiment of three own tasks on the tiny backbone."""
    for name, first in (("one", 0), ("two", 100), ("three", 200)):
        (tmp_path / f"{name}.jsonl").write_text(lines([record("nli", n) for n in range(first, first + 20)]))
        data = {"format": "jsonl", "train": f"{name}.jsonl"}
        card = {"name": name, "instruction": "Entails?", **CARDS["nli"], "data": data}
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps(card))
    catalogue._load.cache_clear()
    short = {"steps": 400, "every": 200, "batch_size": 2}  # seconds are rounded to tenths
    return config.build(
        {
            "name": "own", "backbone": str(tiny_folder), "sources": [str(tmp_path / "one.toml"), str(tmp_path / "two.toml")],
            "targets": [str(tmp_path / "three.toml")], "prompt": {"length": 4}, "teach": short, "distil": short, "adapt": short,
        },
        "test",
    )  # fmt: skip


def test_every_stage_gets_its_time_and_nothing_stays(experiment, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    found = predicted(experiment, Silent())
    seconds = found["seconds"]
    assert list(seconds) == ["open", "teach", "ask_teachers", "distil", "adapt", "predict", "all"]
    assert seconds["all"] == pytest.approx(sum(list(seconds.values())[:-1]), abs=0.5)
    assert seconds["teach"] > 0 and seconds["adapt"] > 0
    most = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 2**20 < found["peak_bytes"] <= 1.05 * most
    assert not list(here.iterdir())


def test_a_stage_validates_before_it_starts_and_at_its_end():
    assert _Cost(step=2.0, validation=3.0).of(Steps(steps=10, every=4)) == 10 * 2.0 + (1 + 3) * 3.0
    assert _Cost(step=2.0, validation=3.0).of(Steps(steps=8, every=4)) == 8 * 2.0 + (1 + 2) * 3.0


def test_some_tasks_stand_for_all_by_their_tokens():
    def data(size):
        row = Encoded("x", tuple(range(size)), (1, 2))
        return Data([row] * 5, [row] * 3)

    whole = {str(size): data(size) for size in (8, 18, 28, 38, 48, 1998)}
    assert _enough(whole, rows=8) == ["1998", "48", "38", "28"]
    assert len(_enough(whole, rows=1)) == 6
    half = {"48": whole["48"], "8": replace(whole["8"], dev=whole["8"].dev[:1])}
    assert _share({"48": whole["48"], "8": whole["8"]}, half, "train") == 1.0
    assert _share({"48": whole["48"], "8": whole["8"]}, half, "dev") == (150 + 30) / (150 + 10)


# Selection by a dev metric: every trained method is judged by its answers to dev examples.

NLI = TaskCard("says", "nli", "Does it say so?", labels=("yes", "no"), fields=("Hypothesis",))
METHODS = ("prompt-tuning", "mpdd", "lora")


@pytest.fixture
def selecting_by_metric(tiny_folder, tmp_path):
    for name, first in (("one", 0), ("two", 100)):
        (tmp_path / f"{name}.jsonl").write_text(lines([record("nli", n) for n in range(first, first + 20)]))
        data = {"format": "jsonl", "train": f"{name}.jsonl"}
        (tmp_path / f"{name}.toml").write_text(
            tomli_w.dumps({"name": name, "instruction": "Entails?", **CARDS["nli"], "data": data})
        )
    catalogue._load.cache_clear()
    adapt = {"steps": 2, "every": 1, "halving_steps": 1, "select_by": "metric", "select_examples": 3}
    return config.build(
        {
            "name": "own", "backbone": str(tiny_folder), "sources": [str(tmp_path / "one.toml")], "methods": list(METHODS),
            "targets": [str(tmp_path / "two.toml")], "prompt": {"length": 4}, "teach": {"steps": 1, "every": 1},
            "distil": {"steps": 1, "every": 1}, "adapt": adapt,
        },
        "test",
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["metric", "accuracy"])
def test_every_trained_method_is_judged_by_its_answers_to_dev_examples(selecting_by_metric, tmp_path, rule):
    selecting_by_metric = selecting_by_metric.model_copy(
        update={"adapt": selecting_by_metric.adapt.model_copy(update={"select_by": rule})}
    )
    pipeline.run(selecting_by_metric, tmp_path / "run", Silent())
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    judged = {line["method"] for line in log if "dev_metric" in line}
    assert judged == set(METHODS)
    assert all(0 <= line["dev_metric"] <= 100 for line in log if line["stage"] == "adapt")


def test_the_time_of_scoring_dev_examples_is_predicted(selecting_by_metric):
    selecting_by_metric = selecting_by_metric.model_copy(update={"methods": ("prompt-tuning",), "sources": ()})
    assert predicted(selecting_by_metric, Silent())["seconds"]["score_dev"] >= 0
    assert _validations(Adapt(steps=10, every=4, halving_steps=4, mpdd=(0.1, 0.2, 0.3))) == (1 + 3) + 2 * (1 + 1)
    by_loss = selecting_by_metric.model_copy(update={"adapt": selecting_by_metric.adapt.model_copy(update={"select_by": "loss"})})
    assert "score_dev" not in predicted(by_loss, Silent())["seconds"]


def test_the_accuracy_of_a_dev_set_counts_the_likeliest_tokens(tiny):
    rows = [encode(tiny.tokenizer, NLI, Example(str(n), str(n), "fever", Answer(choice=n % 2), (("Hypothesis", "ill"),)), 60)
            for n in range(3)]  # fmt: skip
    found = fits(tiny, {"one": rows}, {"one": None})["one"]
    with torch.no_grad():
        right = tokens = 0
        for row in rows:
            fed = torch.tensor([[*row.input_ids, *row.answer_ids[:-1]]])
            likeliest = tiny.model(input_ids=fed).logits[0, len(row.input_ids) - 1 :].argmax(-1)
            right += int((likeliest == torch.tensor(row.answer_ids)).sum())
            tokens += len(row.answer_ids)
    assert found.metric == pytest.approx(100 * right / tokens)
    assert found.loss == pytest.approx(mean_losses(tiny, {"one": rows}, {"one": None})["one"])


def test_the_more_accurate_is_kept_though_its_loss_is_higher():
    assert Dev(0.9, 80.0).rank < Dev(0.5, 70.0).rank < Dev(0.6, 70.0).rank
