"""The training of the embedded backbone: what is made ahead, soft tokens under factors, and a run that is stopped and goes on."""

from __future__ import annotations

import json

import pytest
import torch

from backbones import corpus as text_corpus
from backbones import pretrain
from backbones import tokenizer as bpe
from backbones.ahead import ahead
from backbones.stream import Skills
from tests.backbones.test_tasks_from_text import DOCUMENTS, WEIGHTS

CONFIG = {
    "seed": 1, "vocabulary": 400, "rows_of_tokens": 128, "every": 2, "dropout": 0.1,
    "model": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
              "intermediate_size": 48, "max_position_embeddings": 512},
    "optimizer": {"muon_lr": 0.01, "newton_schulz": 2, "adam_lr": 0.001, "warmup": 2, "decay_share": 0.5},
    "weights": WEIGHTS, "skills": {"count": 4, "length": 2},
    "phase": [{"steps": 4, "length": 64, "mix": {"lm": 0.5, "prompted": 0.5}}],
}  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_made_ahead_comes_in_order(workers):
    offset = 100
    assert list(ahead(lambda step: offset + step, range(3, 30), workers)) == list(range(103, 130))


def test_an_error_ahead_is_not_swallowed():
    coming = ahead(lambda step: 1 // (2 - step), range(5))
    assert next(coming) == 0
    assert next(coming) == 1
    with pytest.raises(ZeroDivisionError):
        next(coming)


def test_half_of_the_skills_are_one_prompt_under_factors():
    torch.manual_seed(0)
    tokens = pretrain.SoftTokens.drawn(torch.randn(50, 8), Skills(5, 3))
    rows = tokens()
    assert rows.shape == (15, 8)
    assert torch.equal(rows[:9], tokens.free.flatten(0, 1))
    for number in range(2):
        made = tokens.shared * torch.outer(tokens.u[number], tokens.v[number])
        torch.testing.assert_close(rows[9 + 3 * number : 12 + 3 * number], made)


def test_without_skills_there_are_no_soft_tokens():
    assert pretrain.SoftTokens.drawn(torch.randn(50, 8), Skills())().shape == (0, 8)


@pytest.fixture
def work(tmp_path):
    for name in ("train", "held_out"):
        text_corpus.save(DOCUMENTS, tmp_path / f"{name}.jsonl.xz")
    bpe.train((d.text for d in DOCUMENTS), CONFIG["vocabulary"], tmp_path / "tokenizer")
    return tmp_path


def test_a_stopped_run_goes_on_as_if_it_had_not_been(work, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda work, **_: work)
    monkeypatch.setattr(pretrain, "evaluate", lambda *_: {})
    config = {**CONFIG, "dropout": 0.0}  # dropout draws from the process's own generator
    train, held_out = pretrain.read(config, work)
    config["vocabulary"] = train.tokenizer.vocab_size

    def weights():
        return torch.load(work / "checkpoint.pt", weights_only=True)["master"]

    pretrain.pretrain(config, train, held_out, work)
    whole = weights()
    (work / "checkpoint.pt").unlink()
    pretrain.pretrain(config, train, held_out, work, stop=2)
    assert torch.load(work / "checkpoint.pt", weights_only=True)["step"] == 2
    pretrain.pretrain(config, train, held_out, work)
    assert all(torch.equal(a, b) for a, b in zip(whole, weights(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(whole, _first(config, train), strict=True))
    logged = [json.loads(line)["step"] for line in (work / "log.jsonl").read_text().splitlines()]
    assert logged.count(0) == 2 and max(logged) == 3


def _first(config, train):
    torch.manual_seed(config["seed"])
    return [p.detach() for p in pretrain._new(config, train.tokenizer, None).parameters()]
