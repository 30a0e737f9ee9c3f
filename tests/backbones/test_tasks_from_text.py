"""The recipes of the embedded backbone: examples made out of raw text, and a training that is stopped and goes on."""

from __future__ import annotations

import json
import random
from functools import partial

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from backbones import corpus as text_corpus
from backbones import pretrain, questions
from backbones import tokenizer as bpe
from backbones.ahead import ahead
from backbones.corpus import Document, load, save
from backbones.stream import ANSWER_WEIGHT, Skills, batch, tokenize
from backbones.text_to_text import Makers
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER

TRIAL = Document(
    "t1", "trials",
    "TITLE: Aspirin or heparin after surgery.\nForty patients with diabetes were treated for 12 weeks. "
    "The mean pain score was significantly higher in the aspirin group than in the heparin group. "
    "No significant differences in mortality were found between aspirin and heparin. "
    "Nausea was reported by 12% of patients given 50 mg of ibuprofen daily. " * 3
    + "CONCLUSIONS: Heparin reduced pain, and neither drug changed mortality in these patients with diabetes.",
)  # fmt: skip
OTHERS = [
    Document(f"m{i}", source, f"She has {disease} and pain in the knee. He was given {drug} for {i} weeks. It helped. " * 30,
             question=f"What are the symptoms of {disease} ?")
    for i, (source, disease, drug) in enumerate(
        (s, d, g)
        for s in ("medquad", "mtsamples", "case_reports", "nursing")
        for d, g in (("asthma", "insulin"), ("gout", "zinc"))
    )
]  # fmt: skip
DOCUMENTS = [TRIAL, *OTHERS]
WEIGHTS = {"trials": 0.4, "medquad": 0.2, "mtsamples": 0.2, "case_reports": 0.1, "nursing": 0.1}
MIX = {"lm": 0.2, "copy": 0.2, "task": 0.2, "shots": 0.2, "prompted": 0.2}


@pytest.fixture(scope="module")
def makers():
    return Makers.over(DOCUMENTS)


@pytest.fixture(scope="module")
def corpus():
    return tokenize(DOCUMENTS, AutoTokenizer.from_pretrained(EMBEDDED_FOLDER), Skills(4, 3))


def pairs(maker, document, count=200):
    found = (maker(random.Random(i), random.Random(-i), document) for i in range(count))
    return [pair for pair in found if pair is not None]


def test_a_typed_question_is_answered_by_words_of_its_text(makers):
    found = pairs(partial(questions.typed, makers.terms), TRIAL)
    assert len(found) > 50
    for asked, answer in found:
        text = asked.split("Text: ", 1)[1]
        assert answer and answer in text


def test_a_comparison_turns_with_its_groups():
    found = pairs(partial(questions.compared, []), TRIAL)
    ways = {}
    for asked, answer in found:
        lines = dict(line.split(": ", 1) for line in asked.splitlines()[1:] if ": " in line)
        if "pain score" in asked.splitlines()[-2]:
            first, second = (value for value in lines.values() if value in ("aspirin", "heparin"))
            ways.setdefault((first, second), set()).add(answer)
    up, down = ({answers[i] for answers in questions._ANSWERS} for i in (0, 1))
    assert ways[("aspirin", "heparin")] and ways[("aspirin", "heparin")] <= up
    assert ways[("heparin", "aspirin")] and ways[("heparin", "aspirin")] <= down


def test_no_difference_is_said_whichever_way_it_is_asked():
    same = {answers[2] for answers in questions._ANSWERS}
    found = [answer for asked, answer in pairs(partial(questions.compared, []), TRIAL) if "mortality\nAnswer" in asked]
    assert found and set(found) <= same


def test_a_choice_among_terms_of_one_kind_has_the_right_one_once(makers):
    found = pairs(partial(questions.same_kind, makers.terms, DOCUMENTS), OTHERS[0], 600)
    assert found
    for asked, answer in found:
        options = [line[3:] for line in asked.splitlines() if line[1:3] == ". "]
        assert options.count(answer) == 1 and len({o.lower() for o in options}) == len(options)
        assert answer.lower() not in asked.split("Question: ")[1].split("Options:")[0].lower().split()


def test_every_maker_gives_the_same_pair_for_the_same_seeds(makers):
    for seed in range(60):
        first, again = (
            makers.maker(random.Random(seed))(random.Random(1), random.Random(2), DOCUMENTS[seed % len(DOCUMENTS)])
            for _ in range(2)
        )
        assert first == again


def test_a_batch_follows_from_seed_and_step(corpus):
    def make(step):
        return batch(corpus, seed=3, step=step, rows=10, length=96, mix=MIX, weights=WEIGHTS)

    first, again, other = make(7), make(7), make(8)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    ids, targets, weights = first
    assert ids.shape == targets.shape == weights.shape == (10, 96)
    assert np.array_equal(ids[:, 1:], targets[:, :-1])


def test_soft_tokens_stand_before_inputs_and_are_never_foretold(corpus):
    words = corpus.tokenizer.vocab_size
    _, targets, weights = batch(corpus, seed=1, step=0, rows=20, length=200, mix={"prompted": 1.0}, weights=WEIGHTS)
    soft = targets >= words
    assert soft.any() and targets.max() < words + 4 * 3
    assert not weights[soft].any()
    assert (weights == ANSWER_WEIGHT).any()


def test_kept_documents_come_back(tmp_path):
    save(DOCUMENTS, tmp_path / "documents.jsonl.xz")
    assert load(tmp_path / "documents.jsonl.xz") == DOCUMENTS


# The training: what is made ahead, soft tokens under factors, and a run that is stopped and goes on.

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
