"""A user's own task in a run folder: nothing of their notes in it, and no old result for what has changed since."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
import torch

import mpdd
from mpdd.backbone.checkpoints import registry
from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.evaluation.metrics import score
from mpdd.evaluation.results import read_results
from mpdd.experiment import TEST_EXAMPLES, config, own_task, pipeline
from mpdd.experiment.check import require_tasks
from mpdd.experiment.comparison import part, remake
from mpdd.experiment.setup import Run, draw
from mpdd.export import Format, where_it_runs
from mpdd.inference.predict import Request, predict
from mpdd.progress import Reporter, Silent
from mpdd.prompts import ready
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, load_prompt, save_prompt
from tests.data import brat_cases
from tests.data.cards.conftest import CARDS, SECRET, lines, record

PATIENT = "MRN-4711"


def write_card(folder, instruction="Entails?", first=0):
    records = [record("nli", n) | {"patient": f"{PATIENT}-{n}"} for n in range(first, first + 20)]
    (folder / "notes.jsonl").write_text(lines(records))
    data = {"format": "jsonl", "train": "notes.jsonl", "columns": {"document": "patient"}}
    card = {"name": "own", "instruction": instruction, **CARDS["nli"], "data": data}
    (folder / "own.toml").write_text(tomli_w.dumps(card))
    catalogue._load.cache_clear()  # as in a new process


def write_metaprompt(path, tiny, seed=0):
    torch.manual_seed(seed)
    meta = MetaPrompt(torch.randn(4, tiny.width), ["a", "b"])
    header = Header("meta", tiny.name, tiny.fingerprint, 4, tiny.width, rank=1, tasks=meta.tasks)
    save_prompt(path, {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)


@pytest.fixture
def run(tiny, tmp_path):
    """A run of an own task; call it again to resume it."""
    write_card(tmp_path)
    write_metaprompt(tmp_path / "meta.safetensors", tiny)

    def run():
        experiment = own_task.experiment_for(tmp_path / "own.toml", tmp_path / "meta.safetensors", steps=2)
        return pipeline.run(experiment, tmp_path / "run", Silent())

    run()
    return run


def test_a_run_folder_holds_neither_notes_nor_the_ids_of_patients(run, tmp_path):
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"results.json", "examples.json", "report.html", "own--mpdd--all--s0.json"}
    for path in files:
        assert SECRET.encode() not in path.read_bytes() and PATIENT.encode() not in path.read_bytes(), path.name


def test_the_same_run_again_gives_what_is_there(run, tmp_path):
    before = (tmp_path / "run" / "results.json").read_bytes()
    run()
    assert (tmp_path / "run" / "results.json").read_bytes() == before


def test_what_has_changed_since_is_not_answered_with_old_results(run, tmp_path, tiny):
    for changed in ({"instruction": "Does it follow?"}, {"first": 1}):
        write_card(tmp_path, **changed)
        with pytest.raises(InputError, match="holds a run on other data.*changed since: own/own.*--out"):
            run()
    write_card(tmp_path)
    run()
    write_metaprompt(tmp_path / "meta.safetensors", tiny, seed=1)
    with pytest.raises(InputError, match="metaprompt meta.safetensors has changed since this run began"):
        run()


def test_a_task_given_in_two_ways_is_still_the_same_task(tmp_path):
    write_card(tmp_path)
    (tmp_path / "inside").mkdir()
    twice = {"sources": [str(tmp_path / "own.toml"), "scifact"], "targets": [str(tmp_path / "inside" / ".." / "own.toml")]}
    experiment = config.build({"name": "x", **twice}, "here")
    with pytest.raises(InputError, match="same name; found own; wanted each task once, and no target among the sources"):
        require_tasks(experiment)
    with pytest.raises(InputError, match="same name"):
        Run.open(experiment, tmp_path / "run", Silent(), "")
    assert not (tmp_path / "run").exists()


def test_one_cell_can_be_made_anew_and_no_other(run, tmp_path):
    experiment = own_task.experiment_for(tmp_path / "own.toml", tmp_path / "meta.safetensors", steps=2)
    opened = Run.open(experiment, tmp_path / "run", Silent(), "")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "cells").iterdir()}
    before = {row.method: row for row in read_results(tmp_path / "run" / "results.json") if row.shots == "all"}
    row = remake(opened, "own/mpdd/all/s0")
    assert replace(row, train_seconds=0) == replace(before["mpdd"], train_seconds=0)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "cells").iterdir()}
    assert {name for name in times if after[name] != times[name]} == {"own--mpdd--all--s0.json"}
    with pytest.raises(InputError, match=r"The experiment own has no cell own/mpdd/7/s0.*Perhaps own/mpdd/all/s0\."):
        remake(opened, "own/mpdd/7/s0")


def test_parts_of_a_run_come_together_in_the_whole(run, tmp_path):
    experiment = own_task.experiment_for(tmp_path / "own.toml", tmp_path / "meta.safetensors", steps=2)
    rows = {row.method: row for row in pipeline.run(experiment, tmp_path / "run", Silent())}
    parts = Run.open(experiment, tmp_path / "parts", Silent(), "")
    made = [*part(parts, "own/mpdd/*"), *part(parts, "*/0/s0")]
    assert {row.method for row in made} == set(rows)
    assert not (tmp_path / "parts" / "results.json").exists()
    times = [path.stat().st_mtime_ns for path in sorted((tmp_path / "parts" / "cells").iterdir())]
    whole = {row.method: row for row in pipeline.run(experiment, tmp_path / "parts", Silent())}
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "parts" / "cells").iterdir())] == times
    assert {name: row.value for name, row in whole.items()} == {name: row.value for name, row in rows.items()}
    with pytest.raises(InputError, match=r"No cell of the experiment own fits rqe/\*.*Perhaps own/\*"):
        part(parts, "rqe/*")


def test_the_metaprompt_of_the_package_is_found_by_name_and_by_fingerprint(tmp_path, monkeypatch, tiny, tiny_folder):
    shipped = {name: tmp_path / f"{name}.safetensors" for name in ("embedded", "smollm2-135m-instruct")}
    monkeypatch.setattr(ready, "metaprompts", lambda: {name: path for name, path in shipped.items() if path.is_file()})
    card = tmp_path / "own.toml"
    with pytest.raises(InputError, match="no metaprompt to adapt; wanted --from METAPROMPT.*`mpdd demo` makes that one"):
        own_task.shipped_metaprompt(card)
    assert own_task.shipped_metaprompt(card, "smollm2-135m-instruct") is None
    write_metaprompt(shipped["embedded"], replace(tiny, fingerprint="0" * 64))
    assert own_task.shipped_metaprompt(card) == own_task.shipped_metaprompt(card, "embedded") == shipped["embedded"]
    assert own_task.shipped_metaprompt(card, "meta-llama/x") is None
    assert own_task.shipped_metaprompt(card, str(tiny_folder)) is None
    write_metaprompt(shipped["smollm2-135m-instruct"], tiny)  # as if these were SmolLM2's weights
    assert own_task.shipped_metaprompt(card, "smollm2-135m-instruct") == shipped["smollm2-135m-instruct"]
    assert own_task.shipped_metaprompt(card, str(tiny_folder)) == shipped["smollm2-135m-instruct"]


def test_a_file_in_the_folder_of_metaprompts_is_all_that_shipping_one_takes(tmp_path, monkeypatch):
    assert (
        registry.metaprompt_of("smollm2-135m-instruct")
        == Path(mpdd.__file__).parent / "metaprompts/smollm2-135m-instruct/metaprompt.safetensors"
    )
    monkeypatch.setattr(registry, "METAPROMPTS", tmp_path)
    assert "gemma3-270m" not in registry.metaprompts()
    (tmp_path / "gemma3-270m").mkdir()
    (tmp_path / "gemma3-270m" / "metaprompt.safetensors").touch()
    assert registry.metaprompts()["gemma3-270m"] == tmp_path / "gemma3-270m" / "metaprompt.safetensors"


def test_without_a_metaprompt_the_task_is_learnt_by_prompt_tuning(tmp_path, tiny_folder):
    write_card(tmp_path)
    card = tmp_path / "own.toml"
    experiment = own_task.experiment_for(card, None, methods=(*own_task.METHODS, "lora"), steps=2, backbone=str(tiny_folder))
    assert experiment.methods == ("zero-shot", "prompt-tuning", "lora")
    rows = pipeline.run(experiment.model_copy(update={"methods": ("zero-shot", "prompt-tuning")}), tmp_path / "run", Silent())
    assert {row.method for row in rows} == {"zero-shot", "prompt-tuning"}
    with pytest.raises(InputError, match="no metaprompt for the backbone x; found --methods spot, which start from one"):
        own_task.experiment_for(card, None, methods=(*own_task.METHODS, "spot"), backbone="x")


def test_lost_gold_and_offsets_counted_otherwise_are_said_and_kept_for_the_report(tiny, tmp_path, capsys):
    for name, content in brat_cases.crlf().items():
        lost = content.replace(b"\tPulse", b"\tnowhere") if name.endswith(".ann") else content
        (tmp_path / name).write_bytes(lost)
    card = {"name": "own", "instruction": "List.", "type": "ner", "labels": ["Drug", "Problem", "Sign"]}
    (tmp_path / "own.toml").write_text(tomli_w.dumps({**card, "data": {"format": "brat", "train": "."}}))
    write_metaprompt(tmp_path / "meta.safetensors", tiny)
    experiment = own_task.experiment_for(tmp_path / "own.toml", tmp_path / "meta.safetensors", steps=2)
    Run.open(experiment, tmp_path / "run", Reporter(), "")
    said = capsys.readouterr().err
    message = "14 of the 42 entities in the files of own (33 %) are not in its examples: 14 mention that its offsets do not give."
    assert f"  Warning: {message}" in said
    assert "  own: 28 mentions with offsets in characters, without carriage returns" in said
    made = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert made["warnings"]["own"].startswith(message)
    assert made["notes_on_data"]["own"]["skipped: mention that its offsets do not give"] == 14


def test_without_steps_a_prompt_is_made_of_the_metaprompt_and_examples(tiny, tmp_path):
    write_card(tmp_path)
    write_metaprompt(tmp_path / "meta.safetensors", tiny)
    card, metaprompt = tmp_path / "own.toml", tmp_path / "meta.safetensors"
    experiment = own_task.experiment_for(card, metaprompt, shots=3, steps=0)
    rows = {row.method: row for row in pipeline.run(experiment, tmp_path / "run", Silent())}
    assert set(rows) == {"zero-shot", "mpdd-zero-shot", "mpdd-examples"}
    assert rows["mpdd-examples"].shots == 3 and rows["mpdd-examples"].trainable_parameters == 0
    file = load_prompt(tmp_path / "run" / "prompts" / "own-mpdd-examples-3-s0.safetensors", tiny)
    assert file.header.derived_from_examples == 3 and file.header.calibration
    test = draw(experiment, str(card)).test
    cell = json.loads((tmp_path / "run" / "cells" / "own--mpdd-examples--3--s0.json").read_text())
    predictions = predict(tiny, [Request(file.header.card, e, file.rows()) for e in test])
    scored = score(file.header.card, test, [p.parsed for p in predictions])
    assert scored.values[scored.headline] == pytest.approx(cell["row"]["value"])
    for path in (tmp_path / "run").rglob("*.json"):
        assert SECRET not in path.read_text()
    with pytest.raises(InputError, match="With --steps 0 nothing is trained; found --methods lora"):
        own_task.experiment_for(card, metaprompt, methods=(*own_task.METHODS, "lora"), steps=0)
    with pytest.raises(InputError, match="there is no metaprompt for this backbone; wanted --from METAPROMPT"):
        own_task.experiment_for(card, None, steps=0, backbone="x")


def test_a_prompt_that_was_only_trained_says_nothing_of_examples(run, tmp_path):
    header = json.loads(json.dumps(load_prompt(tmp_path / "run" / "prompts" / "own-mpdd-all-s0.safetensors").header.to_json()))
    assert "derived_from_examples" not in header


def test_a_private_run_says_so_in_its_prompt_and_tells_nothing_of_dev(tiny, tmp_path):
    write_card(tmp_path)
    write_metaprompt(tmp_path / "meta.safetensors", tiny)
    privacy = {"epsilon": 8.0, "delta": 1e-3, "unit": "document"}
    experiment = own_task.experiment_for(tmp_path / "own.toml", tmp_path / "meta.safetensors", steps=2, privacy=privacy)
    assert (experiment.adapt.mpdd, experiment.adapt.halving_steps, experiment.adapt.patience) == ((0.03,), 0, 0)
    pipeline.run(experiment, tmp_path / "run", Silent())
    header = load_prompt(tmp_path / "run" / "prompts" / "own-mpdd-all-s0.safetensors").header
    assert header.privacy["epsilon"] <= 8.0 and header.privacy["unit"] == "document" and header.privacy["steps"] == 2
    assert header.privacy["units"] == len({record("nli", n)["text"] for n in range(14)})
    assert header.calibration == {}
    assert config.build(tomllib.loads(config.to_toml(experiment)), "resolved") == experiment


def test_privacy_leaves_nothing_to_choose(tiny, tmp_path):
    write_card(tmp_path)
    write_metaprompt(tmp_path / "meta.safetensors", tiny)
    experiment = own_task.experiment_for(tmp_path / "own.toml", tmp_path / "meta.safetensors", privacy={"epsilon": 3.0})
    values = tomllib.loads(config.to_toml(experiment))
    with pytest.raises(InputError, match="with privacy nothing may be chosen by the data, found 2 rates a method"):
        config.build({**values, "adapt": {**values["adapt"], "mpdd": [0.01, 0.03]}}, "test")
    with pytest.raises(InputError, match="factor_start looks at the training examples"):
        config.build({**values, "adapt": {**values["adapt"], "factor_start": "nearest"}}, "test")
    with pytest.raises(InputError, match="cannot be private; found --epsilon with --steps 0"):
        own_task.experiment_for(tmp_path / "own.toml", tmp_path / "meta.safetensors", steps=0, privacy={"epsilon": 3.0})
    with pytest.raises(InputError, match="epsilon"):
        own_task.experiment_for(tmp_path / "own.toml", tmp_path / "meta.safetensors", privacy={"epsilon": 0.0})


def test_what_is_not_scored_is_said(tiny, tmp_path, capsys):
    write_card(tmp_path)
    write_metaprompt(tmp_path / "meta.safetensors", tiny)
    card, metaprompt = tmp_path / "own.toml", tmp_path / "meta.safetensors"
    assert own_task.experiment_for(card, metaprompt).limits.test == TEST_EXAMPLES
    experiment = own_task.experiment_for(card, metaprompt, steps=2, test_examples=2)
    rows = pipeline.run(experiment, tmp_path / "run", Reporter())
    assert {row.n_examples for row in rows} == {2}
    told = capsys.readouterr()
    assert "own: scored on 2 of its 4 test examples" in told.out + told.err
    assert own_task.experiment_for(card, metaprompt, test_examples=0).limits.test > 10**6


def test_an_exportable_prompt_comes_from_no_deep_metaprompt(tiny, tmp_path):
    deep, flat = tmp_path / "deep.safetensors", tmp_path / "flat.safetensors"
    write_metaprompt(flat, tiny)
    meta = MetaPrompt(torch.randn(4, 2 * tiny.width), ["a", "b"])
    header = Header("meta", tiny.name, tiny.fingerprint, 4, 2 * tiny.width, rank=1, tasks=meta.tasks, depth="all")
    save_prompt(deep, {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)
    assert own_task.at_input(flat, is_chosen=True) == flat
    assert own_task.at_input(deep, is_chosen=False) is None
    assert own_task.at_input(None, is_chosen=False) is None
    with pytest.raises(InputError, match="deep.safetensors is deep .*Leave out --from for prompt tuning at the input"):
        own_task.at_input(deep, is_chosen=True)
    write_card(tmp_path)
    experiment = own_task.experiment_for(tmp_path / "own.toml", None, backbone=str(tiny.name))
    assert ("prompt-tuning" in experiment.methods, "mpdd" in experiment.methods) == (True, False)
    assert experiment.prompt.depth == "input"


def test_the_places_where_a_prompt_runs_are_said():
    assert where_it_runs("input").endswith(f"`mpdd export --to` {', '.join(Format)} take it.")
    deep = where_it_runs("all")
    assert (
        "Exports that take it: peft-prefix, kv-cache, vllm-kv, hub-folder; llama.cpp cannot run it." in deep
        and "--exportable" in deep
    )
