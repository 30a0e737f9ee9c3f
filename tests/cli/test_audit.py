"""`mpdd audit`: attacks on a prompt, in numbers and in sentences, without any text."""

from __future__ import annotations

import json

import pytest
import tomli_w
import torch

from mpdd.data.cards import card_file
from mpdd.prompts.store import Header, save_prompt
from tests.data.cards.conftest import CARDS, SECRET, lines, record


@pytest.fixture
def prompt(tiny, tmp_path):
    """A prompt for the tiny backbone, and a card with 100 records beside it."""
    (tmp_path / "notes.jsonl").write_text(lines([record("nli", n) for n in range(100)]))
    values = {"name": "own", "instruction": "Entails?", **CARDS["nli"], "data": {"format": "jsonl", "train": "notes.jsonl"}}
    (tmp_path / "own.toml").write_text(tomli_w.dumps(values))
    card = card_file.read(tmp_path / "own.toml").card
    header = Header("soft", tiny.name, tiny.fingerprint, 3, tiny.width, tasks=("own",), card=card)
    save_prompt(tmp_path / "own.safetensors", {"rows": torch.randn(3, tiny.width)}, header)
    return tmp_path / "own.safetensors"


def test_both_attacks_are_told_in_sentences_and_as_json(prompt, mpdd):
    ran = mpdd("audit", prompt, prompt.with_name("own.toml"))
    assert ran.code == 0 and SECRET not in ran.out + ran.err
    assert "training notes against" in ran.out and "reference: the bare backbone" in ran.out
    assert ran.out.count("(0.5 is guessing)") == 2
    assert "It was trained without differential privacy" in ran.out
    found = json.loads(mpdd("audit", prompt, prompt.with_name("own.toml"), "--shots", "12", "--json").out)
    assert found["training_examples"] == 12 and found["fresh_examples"] >= 10
    assert [attack["name"] for attack in found["attacks"]] == ["loss", "loss against the reference"]
    assert all(0 <= attack["low"] <= attack["auc"] <= attack["high"] <= 1 for attack in found["attacks"])


def test_too_few_examples_end_in_one_sentence(prompt, mpdd):
    ran = mpdd("audit", prompt, prompt.with_name("own.toml"), "--shots", "5")
    assert ran.code == 2
    assert "own.toml has too few examples to attack; found 5 training and" in ran.err
