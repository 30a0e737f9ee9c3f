"""Every method and every lever of the method goes through a whole run on a tiny backbone."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tomli_w
import torch
from safetensors.torch import load_file

from mpdd.data import catalogue
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.experiment import config, pipeline
from mpdd.experiment.folder import commit
from mpdd.experiment.setup import Run, data_of, source_data
from mpdd.methods.prompts import same_kind, source_weights
from mpdd.methods.registry import METHODS, UNTRAINED
from mpdd.progress import Silent
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, load_prompt, save_prompt
from tests.conftest import ONE_RATE
from tests.data.cards.conftest import CARDS, lines, record


@pytest.fixture
def made(tiny_folder, tmp_path):
    """An experiment over three own tasks."""
    for name, first in (("one", 0), ("two", 100), ("three", 200)):
        (tmp_path / f"{name}.jsonl").write_text(lines([record("nli", n) for n in range(first, first + 20)]))
        card = {"name": name, "instruction": "Entails?", **CARDS["nli"], "data": {"format": "jsonl", "train": f"{name}.jsonl"}}
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps(card))
    catalogue._load.cache_clear()
    short = {"steps": 1, "every": 1, "batch_size": 2}

    def of(methods, **values):
        least = {
            "name": "own", "backbone": str(tiny_folder), "sources": [str(tmp_path / "one.toml"), str(tmp_path / "two.toml")],
            "targets": [str(tmp_path / "three.toml")], "methods": methods, "prompt": {"length": 6}, "teach": short,
            "distil": short, "adapt": short,
        }  # fmt: skip
        return config.build(least | {name: least.get(name, {}) | given for name, given in values.items()}, "test")

    return of


def test_every_method_gives_a_row_at_equal_tuning(made, tmp_path, tiny):
    rows = {row.method: row for row in pipeline.run(made(list(METHODS)), tmp_path / "run", Silent())}
    assert rows.keys() == METHODS.keys()
    assert {row.tuning_trials for name, row in rows.items() if name not in UNTRAINED} == {3}
    assert {row.train_examples_seen for name, row in rows.items() if name not in UNTRAINED} == {3 * 1 * 2}
    assert rows["full-finetuning"].trainable_parameters == tiny.parameters
    assert (
        0
        < rows["lora-matched"].trainable_parameters
        <= rows["mpdd-full"].trainable_parameters
        < rows["lora"].trainable_parameters
    )
    assert rows["spot"].trainable_parameters == rows["shared-prompt"].trainable_parameters == 6 * tiny.width
    assert rows["ia3-multitask"].trainable_parameters == rows["ia3"].trainable_parameters
    assert {rows[name].train_examples_seen for name in UNTRAINED} == {0}
    again = {row.method: row for row in pipeline.run(made(list(METHODS)), tmp_path / "run", Silent())}
    assert again == rows
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["cells"] == {commit(): len(rows)}


def test_in_a_race_every_method_tries_its_rates_for_a_part_of_the_steps(made, tmp_path):
    halving = {"steps": 2, "every": 1, "halving_steps": 1}
    rows = {row.method: row for row in pipeline.run(made(list(METHODS), adapt=halving), tmp_path / "run", Silent())}
    assert {row.train_examples_seen for name, row in rows.items() if name not in UNTRAINED} == {2 * (2 + 1 + 1)}
    assert {row.tuning_trials for name, row in rows.items() if name not in UNTRAINED} == {3}
    assert not [path for path in (tmp_path / "run" / "checkpoints").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "values",
    [  # of each run one lever of every section
        {"prompt": {"depth": "all"}, "adapt": {"prompt_tuning_length": 9}, "distil": {"held_out_share": 0.5}},
        {
            "prompt": {"rank": 2},
            "adapt": {"factor_start": "weighted"},
            "distil": {"direction": "reverse", "layers": "last", "proportion": 0.5},
        },
        {"adapt": {"factor_start": "nearest"}, "distil": {"direction": "reverse", "top_k": 0, "proportion": 1.0}},
        {"adapt": {"factor_start": "kind"}, "distil": {"start": "fresh", "kl": 0.0, "hidden": 0.0}},
        {"distil": {"start": "fresh", "kl": 0.0, "hidden": 0.0, "examples": 2}},
    ],
    ids=str,
)
def test_every_lever_goes_through_a_run(made, tmp_path, tiny, values):
    methods = ["mpdd", "mpdd-full", "mpdd-zero-shot", "prompt-tuning", "deep-prompt-tuning", "spot", "shared-prompt"]
    methods += ["mpdd-examples", "mpdd-context"]
    experiment = made(methods, **values | {"adapt": ONE_RATE | values.get("adapt", {})})
    rows = {row.method: row for row in pipeline.run(experiment, tmp_path / "run", Silent())}
    deep = tiny.depth if values.get("prompt", {}).get("depth") == "all" else 1
    rank = values.get("prompt", {}).get("rank", 1)
    width = deep * tiny.width
    factors = rank * (6 + width)
    assert rows["mpdd"].trainable_parameters == factors
    assert rows["mpdd-full"].trainable_parameters == factors + 6 * width
    assert rows["spot"].trainable_parameters == rows["shared-prompt"].trainable_parameters == 6 * width
    short = values.get("adapt", {}).get("prompt_tuning_length", 6)
    assert rows["prompt-tuning"].trainable_parameters == short * tiny.width
    assert rows["deep-prompt-tuning"].trainable_parameters == 6 * tiny.depth * tiny.width
    kept = load_prompt(tmp_path / "run" / "prompts" / "three-mpdd-all-s0.safetensors", tiny)
    assert kept.rows().shape == (6, width)
    examples = load_prompt(tmp_path / "run" / "prompts" / "three-mpdd-examples-all-s0.safetensors", tiny)
    assert examples.header.depth == "all" and examples.header.derived_from_examples == 8
    assert examples.rows().shape == (6 + 64, tiny.depth * tiny.width)
    made_of_rows = rank * (6 + tiny.depth * tiny.width) + 64 + tiny.depth * tiny.width
    assert rows["mpdd-context"].trainable_parameters == made_of_rows


def test_stage_two_goes_on_from_a_metaprompt(made, tmp_path, tiny):
    def losses(run):
        lines_of = (run / "metrics.jsonl").read_text().splitlines()
        return {row["step"]: row["dev_loss"] for row in map(json.loads, lines_of) if row["stage"] == "distil"}

    pipeline.run(made(["mpdd"]), tmp_path / "first", Silent())
    start = tmp_path / "first" / "prompts" / "metaprompt.safetensors"
    on = {"start": str(start), "kl": 0.0, "hidden": 0.0}
    pipeline.run(made(["mpdd"], distil=on), tmp_path / "second", Silent())
    assert losses(tmp_path / "second")[0] == pytest.approx(min(losses(tmp_path / "first").values()), abs=1e-5)
    kept = load_prompt(tmp_path / "second" / "prompts" / "metaprompt.safetensors", tiny).header
    assert kept.provenance["start"] == load_prompt(start, tiny).header.digest and kept.provenance["teachers"] == {}
    assert kept.provenance["options"]["start"] == "metaprompt.safetensors" and str(tmp_path) not in str(kept.provenance)
    assert not list((tmp_path / "second" / "prompts").glob("teacher-*"))
    with pytest.raises(InputError, match="another shape than the experiment; found length 6, rank 1"):
        pipeline.run(made(["mpdd"], distil=on, prompt={"rank": 2}), tmp_path / "third", Silent())
    alone = made(["mpdd"], distil=on)
    with pytest.raises(InputError, match="is of other sources than the experiment"):
        pipeline.run(alone.model_copy(update={"sources": alone.sources[:1]}), tmp_path / "fourth", Silent())
    with pytest.raises(InputError, match="start is a metaprompt, and mpdd-no-teachers must start from nothing of the kind"):
        made(["mpdd", "mpdd-no-teachers"], distil=on)


def test_sources_are_asked_otherwise_and_their_dev_rows_and_targets_are_not(made, tmp_path):
    plain = Run.open(made(["mpdd"]), tmp_path / "run", Silent(), "")
    varied = replace(plain, experiment=plain.experiment.model_copy(update={"rephrase_share": 1.0}))
    first, other = (source_data(run, run.tasks["one"]) for run in (plain, varied))
    assert first.dev == other.dev and len(first.train) == len(other.train)
    assert all(a.input_ids != b.input_ids and a.answer_ids == b.answer_ids for a, b in zip(first.train, other.train, strict=True))
    target = varied.tasks["three"]
    assert data_of(varied, target, "all", 0) == data_of(plain, target, "all", 0)


def test_factors_of_the_same_kind_are_those_of_sources_with_such_answers(tiny, tmp_path):
    meta = MetaPrompt(torch.ones(3, tiny.width), ("a", "b", "c", "d"))
    kinds = ("ner", "qa choice", "ner", "qa extractive")
    header = Header("meta", tiny.name, tiny.fingerprint, 3, tiny.width, 1, meta.tasks, kinds=kinds)
    file = save_prompt(tmp_path / "m.safetensors", {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)
    for task_type, wanted in {"ner": [0.5, 0, 0.5, 0], "qa": [0, 1, 0, 0], "re": None}.items():
        task = SimpleNamespace(card=TaskCard("x", task_type, "Do it."))
        weights = same_kind(SimpleNamespace(meta=load_prompt(file.path), task=task), meta)
        assert (None if weights is None else weights.tolist()) == wanted


@pytest.mark.parametrize("start", ["mean", "kind", "nearest"])
def test_a_source_that_is_adapted_further_starts_from_its_own_factors(tiny, start):
    meta = MetaPrompt(torch.ones(3, tiny.width), ("a", "b", "c"))
    task = SimpleNamespace(card=TaskCard("b", "ner", "Do it."), name="b")
    assert source_weights(SimpleNamespace(task=task, adapt=SimpleNamespace(factor_start=start)), meta).tolist() == [0, 1, 0]


def test_one_source_is_enough(made, tmp_path):
    experiment = made(["mpdd-zero-shot", "mpdd", "mpdd-no-teachers", "shared-prompt"], adapt={"factor_start": "kind"})
    alone = experiment.model_copy(update={"sources": experiment.sources[:1]})
    assert config.build(alone.model_dump(mode="json"), "test") == alone
    assert len(pipeline.run(alone, tmp_path / "run", Silent())) == 4
    assert load_prompt(tmp_path / "run" / "prompts" / "metaprompt.safetensors").header.tasks == ("one",)


def test_nothing_is_taught_for_methods_that_have_nothing_from_sources(made, tmp_path):
    pipeline.run(made(["zero-shot", "prompt-tuning"]), tmp_path / "run", Silent())
    assert [path.name for path in (tmp_path / "run" / "prompts").iterdir()] == ["three-prompt-tuning-all-s0.safetensors"]


def test_adapters_of_the_sources_need_no_metaprompt_and_start_from_what_was_trained(made, tmp_path):
    """With a rate that changes nothing the target is answered with the adapter of the sources."""
    experiment = made(["lora-multitask", "ia3-multitask"], adapt=ONE_RATE)
    pipeline.run(experiment, tmp_path / "run", Silent())
    folder = tmp_path / "run" / "prompts"
    names = {path.relative_to(folder).parts[0] for path in folder.iterdir()}
    assert names == {"lora-of-sources", "ia3-of-sources", "three-lora-multitask-all-s0", "three-ia3-multitask-all-s0"}
    still = made(["ia3-multitask"], adapt=ONE_RATE | {"ia3": (1e-12,)})
    pipeline.run(still, tmp_path / "still", Silent())
    of_sources, kept = (
        load_file(tmp_path / "still" / "prompts" / name / "adapter_model.safetensors")
        for name in ("ia3-of-sources", "three-ia3-multitask-all-s0")
    )
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, of_sources[name])


@pytest.mark.parametrize("method", ["shared-prompt", "spot", "lora-multitask", "ia3-multitask", "mpdd-no-teachers"])
def test_methods_that_learn_from_sources_need_them(made, method):
    with pytest.raises(InputError, match="sources: "):
        config.build({"name": "x", "targets": ["rqe"], "methods": [method]}, "test")
    with pytest.raises(InputError, match=f"sources: missing, and {method} learns from sources"):
        config.build({"name": "x", "targets": ["rqe"], "methods": [method], "metaprompt": "m.safetensors"}, "test")


def test_an_ensemble_of_sources_needs_a_metaprompt():
    with pytest.raises(InputError, match="sources: missing"):
        config.build({"name": "x", "targets": ["rqe"], "methods": ["sesom"]}, "test")
