"""Source tasks that need no prompt file and no training: `predict --task`, `tasks`, and `serve` with a backbone alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from mpdd.backbone.checkpoints import registry
from mpdd.data import catalogue
from mpdd.prompts import ready
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, save_prompt
from mpdd.serving.folder import FixedTasks
from tests.cli.conftest import LENGTH, SECRET

TASKS = ("bc5cdr_ner", "medqa")


@pytest.fixture
def shipped(tiny, tmp_path_factory, monkeypatch):
    """As if a metaprompt for the tiny backbone came with the package."""
    path = tmp_path_factory.mktemp("package") / "tiny.safetensors"
    torch.manual_seed(1)
    meta = MetaPrompt(torch.randn(LENGTH, tiny.width), [*TASKS, "a task that is gone"])
    header = Header("meta", tiny.name, tiny.fingerprint, LENGTH, tiny.width, rank=1, tasks=meta.tasks, template=tiny.template)
    save_prompt(path, {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)
    monkeypatch.setattr(ready, "metaprompts", lambda: {"tiny": path})
    return path


def test_a_note_is_answered_without_a_prompt_file(mpdd, place, shipped, tiny_folder):
    ran = mpdd("predict", "--task", "bc5cdr_ner", "note.txt", "--backbone", tiny_folder, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["task"] == "bc5cdr_ner"
    ran = mpdd(
        "predict", "--task", "bc5cdr_ner", "drugs.safetensors", "note.txt", "--backbone", tiny_folder, "--output", "a.jsonl"
    )
    assert ran.code == 0, ran.err
    tasks = [json.loads(line)["task"] for line in (place / "a.jsonl").read_text().splitlines()]
    assert tasks == ["drugs", "bc5cdr_ner"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--task", "bc5cdr", "note.txt"),
            "No prompt for the task bc5cdr comes with the package; wanted perhaps bc5cdr_ner or bc5cdr_cid.",
        ),
        (("--task", "bc5cdr_ner"), "Missing argument 'PROMPT... INPUT...'"),
        (("note.txt",), "Or name a task that needs no prompt file: --task NAME (`mpdd tasks --ready`)."),
        (
            ("--task", "rqe", "note.txt"),
            "for the task rqe comes with the package for the backbone embedded; wanted --backbone smollm2-135m-instruct.",
        ),
        (
            ("--task", "medqa", "note.txt", "--backbone", "some/model"),
            "No prompts come with the package for the backbone some/model",
        ),
    ],
)
def test_what_is_not_ready_is_said_in_one_sentence(mpdd, place, arguments, message):
    ran = mpdd("predict", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err and ran.err.count("\n") == 1 and SECRET not in ran.err


def test_the_list_of_tasks_says_which_are_ready(mpdd):
    ran = mpdd("tasks", "--json")
    found = {row["name"]: row["ready_for"] for row in json.loads(ran.out)}
    assert found["bc5cdr_ner"] == list(registry.metaprompts())
    assert found["ncbi_disease"] == ["smollm2-135m-instruct"]  # a target, in the pack
    assert found["aci_bench"] == []  # the spare
    ran = mpdd("tasks")
    assert "  embedded: all 21 sources" in ran.out


def test_ready_tasks_are_listed_with_their_scores(mpdd):
    found = {row["name"]: row["scores"] for row in json.loads(mpdd("tasks", "--ready", "--json").out)}
    assert set(found) == {name for names in registry.ready_for().values() for name in names}
    ran = mpdd("tasks", "--ready")
    assert ran.code == 0 and all(name in ran.out for name in (*found, *registry.metaprompts()))
    for backbone, scores in registry.ready_scores().items():
        header = ready.load_prompt(registry.metaprompts()[backbone]).header
        digests = {header.digest, header.provenance.get("rounded_from")}
        for task, score in scores.items():
            is_packed = task in registry.packed_tasks(registry.pack_of(backbone))
            assert is_packed or score["metaprompt"] in digests, f"{task} was scored with another metaprompt"
            assert 0 < score["examples"] <= score["test_examples"]
            assert score["low"] <= score["value"] <= score["high"]
            assert score["metric"] == ready.catalogue.get(task).headline
    assert mpdd("tasks", "rqe", "--ready").code == 2


@pytest.fixture
def packed(shipped, tiny, tmp_path, monkeypatch):
    """As if a pack came with the package, too: factors for a task that is no source, and for one that is."""
    meta = ready.load_prompt(shipped)
    score = {
        "metric": "macro_f1",
        "value": 45.5,
        "low": 40.0,
        "high": 50.0,
        "baseline": 33.3,
        "examples": 200,
        "test_examples": 230,
    }
    for name in ("rqe", "medqa"):
        header = replace(
            meta.header, kind="task", tasks=(name,), card=catalogue.get(name).card, metaprompt=meta.header.digest,
            licence="MIT", score=score, training={"method": "mpdd", "examples": 32, "steps": 20},
        )  # fmt: skip
        factors = {"u": torch.randn(1, 1, LENGTH), "v": torch.randn(1, 1, tiny.width)}
        save_prompt(tmp_path / "pack" / f"{name}.safetensors", factors, header)
    monkeypatch.setattr(ready, "pack_of", lambda name: tmp_path / "pack")
    return tmp_path / "pack"


def test_prompts_of_the_pack_are_ready_and_go_before_those_of_sources(mpdd, place, packed, tiny_folder):
    assert ready.ready_tasks(str(tiny_folder)) == ("bc5cdr_ner", "medqa", "rqe")
    prompts = {prompt.header.card.name: prompt for prompt in ready.ready(str(tiny_folder))}
    for name in ("rqe", "medqa"):
        alone = ready.load_prompt(packed / f"{name}.safetensors")
        assert prompts[name].header == alone.header
        factors = alone.tensors
        assert torch.equal(prompts[name].rows(), prompts[name].tensors["shared"] * (factors["u"][0].T @ factors["v"][0]))
    assert prompts["rqe"].tensors["shared"] is prompts["medqa"].tensors["shared"]  # kept once
    assert prompts["bc5cdr_ner"].header.licence == catalogue.get("bc5cdr_ner").licence
    (place / "note.jsonl").write_text('{"text": "Is it so?", "choices": ["yes", "no"]}\n', encoding="utf-8")
    ran = mpdd("predict", "--task", "medqa", "note.jsonl", "--backbone", tiny_folder, "--json")
    assert ran.code == 0 and json.loads(ran.out)["task"] == "medqa", ran.err


def test_the_list_says_how_prompts_of_a_pack_were_trained_and_scored(mpdd, packed, shipped, monkeypatch):
    known = {"rqe": packed / "rqe.safetensors"}
    monkeypatch.setattr(registry, "packed_tasks", lambda folder: known if folder.name == "smollm2-135m-instruct" else {})
    found = {row["name"]: row["scores"] for row in json.loads(mpdd("tasks", "--ready", "--json").out)}
    score = found["rqe"]["smollm2-135m-instruct"]
    assert score["training"] == {"method": "mpdd", "examples": 32, "steps": 20} and score["examples"] == 200
    out = " ".join(mpdd("tasks", "--ready").out.split())
    assert "45.5 [40.0, 50.0] (33.3), 200 of 230, trained on 32" in out
    assert "smollm2-135m-instruct: all 21 sources, rqe" in mpdd("tasks").out


def test_packs_in_the_package_belong_to_its_metaprompts_and_are_small():
    for name, path in registry.metaprompts().items():
        meta, packed = ready.load_prompt(path), registry.packed_tasks(registry.pack_of(name))
        for task, file in packed.items():
            header = ready.load_prompt(file).header
            assert (header.fingerprint, header.metaprompt) == (meta.header.fingerprint, meta.header.digest)
            assert header.licence == catalogue.get(task).licence and header.score["metric"] == catalogue.get(task).headline
            assert header.training["examples"] > 0
        assert sum(file.stat().st_size for file in {path, *packed.values()}) <= 6_000_000


def test_headers_alone_give_the_sources_of_a_metaprompt():
    for path in registry.metaprompts().values():
        assert registry.sources_of(path) == ready.load_prompt(path).header.tasks


def test_serving_needs_only_a_backbone(tiny, shipped, tiny_folder, mpdd, monkeypatch):
    from mpdd.serving import server

    served = []
    monkeypatch.setattr(server, "run", lambda service, host, port: served.append(service))
    ran = mpdd("serve", "--backbone", tiny_folder)
    assert ran.code == 0, ran.err
    assert "2 tasks at http://127.0.0.1:8000/" in ran.err
    (service,) = served
    assert set(service.folder.look().tasks) == set(TASKS)
    ran = mpdd("serve", "--backbone", "some/model")
    assert ran.code == 2 and "No prompts come with the package for the backbone some/model" in ran.err


def test_fixed_tasks_are_served_as_files_are(tiny, shipped, tiny_folder):
    prompts = ready.ready(str(tiny_folder))
    listing = FixedTasks(prompts, tiny.vocabulary).look()
    for prompt in prompts:
        served = listing.tasks[prompt.header.card.name]
        assert torch.equal(served.rows, prompt.rows().to(tiny.vocabulary.table))
        assert (served.digest, served.template) == (prompt.header.digest, prompt.header.template)
