"""`mpdd audit`: attacks on a prompt in numbers and in sentences, without any text; canaries and shadow prompts if asked for."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import pytest
import tomli_w
import torch

from mpdd.data.cards import card_file
from mpdd.evaluation.canaries import exposure
from mpdd.methods.options import Adapt
from mpdd.prompts.store import Header, load_prompt, save_prompt
from tests.data.cards.conftest import CARDS, SECRET, lines, record


@pytest.fixture
def prompt(tiny, tmp_path):
    """A prompt for the tiny backbone that says how it was adapted, and a card with 60 records beside it."""
    (tmp_path / "notes.jsonl").write_text(lines([record("nli", n) for n in range(60)]))
    values = {"name": "own", "instruction": "Entails?", **CARDS["nli"], "data": {"format": "jsonl", "train": "notes.jsonl"}}
    (tmp_path / "own.toml").write_text(tomli_w.dumps(values))
    card = card_file.read(tmp_path / "own.toml").card
    options = Adapt(steps=2, batch_size=2, every=2, prompt_tuning=(0.01,)).model_dump(mode="json")
    made = {"stage": "adapt", "options": options, "recipe": {"method": "prompt-tuning", "shots": 20, "seed": 3}}
    header = Header("soft", tiny.name, tiny.fingerprint, 3, tiny.width, tasks=("own",), card=card, provenance=made)
    save_prompt(tmp_path / "own.safetensors", {"rows": torch.randn(3, tiny.width)}, header)
    return tmp_path / "own.safetensors"


def test_the_attacks_that_train_nothing_are_told_in_sentences_and_as_json(prompt, mpdd):
    ran = mpdd("audit", prompt, prompt.with_name("own.toml"))
    assert ran.code == 0 and SECRET not in ran.out + ran.err
    assert "20 training notes against" in ran.out and "reference: the bare backbone" in ran.out
    assert ran.out.count("(0.5 is guessing") == 2
    assert "It was trained without differential privacy" in ran.out
    assert ran.out.count("Not tested: --canaries 8") == 1 and "--shadows 8 makes it" in ran.out
    assert "beginnings of 20 training notes" in ran.out and "\nIn short: " in ran.out
    record = json.loads(mpdd("audit", prompt, prompt.with_name("own.toml"), "--shots", "12", "--json").out)
    assert record["training_examples"] == 12 and record["fresh_examples"] >= 10
    assert [attack["name"] for attack in record["attacks"]] == ["loss", "loss against the reference"]
    for attack in record["attacks"]:
        assert 0 <= attack["auc_low"] <= attack["auc"] <= attack["auc_high"] <= 1
        assert 0 <= attack["tpr_low"] <= attack["tpr"] <= attack["tpr_high"] <= 1


def test_canaries_and_shadow_prompts_say_what_they_cost_and_are_not_made_twice(prompt, mpdd, tmp_path, monkeypatch):
    monkeypatch.setitem(exposure.__kwdefaults__, "candidates", 31)  # of 255
    command = ("audit", prompt, prompt.with_name("own.toml"), "--canaries", "2", "--shadows", "2", "--out", tmp_path / "out")
    ran = mpdd(*command)
    assert ran.code == 0 and SECRET not in ran.out + ran.err
    assert "The audit adapts 3 times (1 beside 2 canaries and 2 on halves of the 20 training examples), 2 steps each" in ran.err
    assert "2 invented examples with a random code (LL-DDDD-LL: L a letter, D a digit)" in ran.out
    assert "By likelihood ratio: area under the curve" in ran.out and ran.out.count("(0.5 is guessing") == 3
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert record["shadows"] == 2 and record["canaries"]["inserted"]["candidates"] == 31
    assert (tmp_path / "out" / "audit.txt").read_text() == ran.out
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    assert len(made) == 3
    assert mpdd(*command).out == ran.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")} == made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shots", "5"), "own.toml has too few examples to attack; found 5 training and"),
        (("--shadows", "1"), "One shadow prompt compares with nothing; found 1; wanted 2 or more."),
    ],
)
def test_too_few_of_anything_end_in_one_sentence(prompt, mpdd, options, message):
    ran = mpdd("audit", prompt, prompt.with_name("own.toml"), *options)
    assert ran.code == 2 and message in ran.err and len(ran.err.strip().splitlines()) == 1


def test_what_cannot_be_done_is_refused_before_any_attack(prompt, mpdd, tmp_path, monkeypatch):
    monkeypatch.setattr("mpdd.experiment.audit.attacks", lambda *_: pytest.fail("attacked"))
    ran = mpdd("audit", prompt, prompt.with_name("own.toml"), "--out", tmp_path / "notes.jsonl")
    assert ran.code == 2 and "Cannot write" in ran.err and "notes.jsonl; found File exists" in ran.err
    values = tomllib.loads(prompt.with_name("own.toml").read_text())
    values["labels"] = [*values["labels"], "another"]
    (tmp_path / "other.toml").write_text(tomli_w.dumps(values))
    ran = mpdd("audit", prompt, tmp_path / "other.toml")
    assert ran.code == 2 and "The card other.toml is for another task than the prompt" in ran.err


def test_a_prompt_without_its_provenance_is_not_adapted_again(prompt, mpdd):
    file = load_prompt(prompt)
    save_prompt(prompt, file.tensors, replace(file.header, provenance={}))
    ran = mpdd("audit", prompt, prompt.with_name("own.toml"), "--canaries", "2")
    assert ran.code == 2 and "own.safetensors does not say how it was adapted" in ran.err
    assert mpdd("audit", prompt, prompt.with_name("own.toml")).code == 0
