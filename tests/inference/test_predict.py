"""Prediction: equal to transformers' own generation, to brute-force scoring, and the same mixed as one by one."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

import mpdd.inference.predict as predicting
from mpdd.backbone.blocked_weights import blocked
from mpdd.backbone.packed import decoding_cache
from mpdd.data.batch import encode_input
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import candidates, render_input
from mpdd.inference import padded
from mpdd.inference.predict import Request, predict

NER = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=12)
SUMMARY = TaskCard("short", "summarization", "Say it in one line.", max_answer_tokens=9)
NLI = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not sure"))
QA = TaskCard("choose", "qa", "Choose.", text_field="Question")
CLASS = TaskCard("risk", "classification", "How high is the risk?", labels=("low", "high", "not known"))
CODES = TaskCard("codes", "classification", "Which?", labels=("fever", "cough"), max_answer_tokens=7, form="multiple")
FREE = TaskCard("ask", "qa", "Answer.", max_answer_tokens=8, form="free")
CARDS = (NER, SUMMARY, NLI, QA, CLASS, CODES, FREE)
WORDS = ["aspirin", "fever", "cough", "ibuprofen", "given", "text", "one", "two", "none"]


def requests(tiny, count, seed=0):
    """Requests of seven tasks, mixed lengths, each task under its own prompt of its own length (one has none)."""
    rng = random.Random(seed)
    prompts = {
        "drugs": torch.randn(5, tiny.width),
        "short": torch.randn(3, tiny.width),
        "says": None,
        "choose": torch.randn(8, tiny.width),
        "risk": torch.randn(4, tiny.width),
        "codes": torch.randn(2, tiny.width),
        "ask": torch.randn(6, tiny.width),
    }
    found = []
    for k in range(count):
        card = CARDS[k % len(CARDS)]
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 20)))
        choices = tuple(rng.sample(WORDS, rng.randint(2, 4))) if card is QA else ()
        found.append(Request(card, Example(str(k), str(k), text, Answer(), choices=choices), prompts[card.name]))
    return found


def test_mixed_batches_equal_one_by_one(tiny):
    asked = requests(tiny, 28)
    together = predict(tiny, asked, batch_size=8)
    alone = [predict(tiny, [request])[0] for request in asked]
    assert [p.output for p in together] == [p.output for p in alone]
    assert len({p.output for p in together}) > 6


def test_blocked_weights_change_no_answer(tiny, monkeypatch):
    """Behind the first tokens, linear layers multiply by weights in the CPU library's layout: same tokens, same likelihoods."""
    entered = []

    def counted(model, rows):
        entered.append(rows)
        return blocked(model, rows)

    asked = [request for request in requests(tiny, 42) if not request.card.labels or request.card is NER]
    monkeypatch.setattr(predicting, "blocked", counted)
    with_layout = predict(tiny, asked)
    monkeypatch.setattr(predicting, "blocked", lambda *_: nullcontext())
    plain = predict(tiny, asked)
    assert entered
    for one, other in zip(with_layout, plain, strict=True):
        assert [token for token, _ in one.tokens] == [token for token, _ in other.tokens]
        assert [p for _, p in one.tokens] == pytest.approx([p for _, p in other.tokens], abs=1e-4)


@pytest.mark.parametrize("waste", [0, 60, 10**9])
def test_rows_that_stand_together_by_length_write_what_they_write_alone(tiny, waste, monkeypatch):
    """Each row in a group of its own, some groups that join as rows end, or all rows in one; answers outgrow their room."""
    monkeypatch.setattr(decoding_cache, "_WASTE", waste)
    groups, joined = [], []
    attend, join = decoding_cache.DecodingCache.attend, decoding_cache._Rows.join
    monkeypatch.setattr(
        decoding_cache.DecodingCache, "attend", lambda self, *given: (groups.append(len(self._groups)), attend(self, *given))[1]
    )
    monkeypatch.setattr(decoding_cache._Rows, "join", lambda self, other: (joined.append(1), join(self, other))[1])
    asked = []
    for i, request in enumerate(r for r in requests(tiny, 84, seed=3) if r.card is SUMMARY):
        longer = replace(request.example, text=request.example.text + " fever cough" * (i % 5) * 6)
        asked.append(replace(request, card=replace(SUMMARY, max_answer_tokens=5 + 9 * i), example=longer))
    together = predict(tiny, asked)
    assert max(groups) in {0: [len(asked)], 60: range(3, len(asked)), 10**9: [1]}[waste]
    assert joined or waste != 60
    for one, request in zip(together, asked, strict=True):
        (alone,) = predict(tiny, [request])
        assert [token for token, _ in one.tokens] == [token for token, _ in alone.tokens]
        assert [p for _, p in one.tokens] == pytest.approx([p for _, p in alone.tokens], abs=1e-4)
    assert max(len(one.tokens) for one in together) > 64


@torch.inference_mode()
def test_blocked_weights_are_those_of_now_and_only_within():
    layer = torch.nn.Linear(32, 16).requires_grad_(False)
    states, before = torch.randn(2, 5, 32), vars(layer).keys()
    for _ in range(2):
        layer.weight.copy_(torch.randn(16, 32))
        plain = layer(states)
        with blocked(torch.nn.Sequential(layer), 5):
            assert "forward" in vars(layer)
            torch.testing.assert_close(layer(states), plain, atol=1e-5, rtol=1e-5)
        assert vars(layer).keys() == before
    trained, taken = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4).requires_grad_(False)
    taken.forward = own = lambda states: states
    with blocked(torch.nn.Sequential(trained, taken), 5):
        assert "forward" not in vars(trained) and taken.forward is own
    assert taken.forward is own


def test_a_thread_that_trains_while_answers_are_written_gets_all_gradients(tiny):
    """A prompt trained beside a server on the same backbone: blocked weights give no gradient, so training must pass them by."""
    prompt = torch.randn(1, 6, tiny.width, requires_grad=True)
    (wanted,) = torch.autograd.grad(tiny.model(inputs_embeds=prompt).logits.square().mean(), prompt)
    with blocked(tiny.model, 6):
        assert any("forward" in vars(layer) for layer in tiny.model.modules())
        with ThreadPoolExecutor(1) as pool:  # grad mode is each thread's own
            logits = pool.submit(lambda: tiny.model(inputs_embeds=prompt).logits).result()
    (gradient,) = torch.autograd.grad(logits.square().mean(), prompt)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-7)


def test_a_prompt_that_is_put_into_a_shared_model_stays_in_its_thread():
    """Of a backbone whose rows cannot be packed: else another thread would answer under this prompt, and this one under none."""
    layer, rows, ids = torch.nn.Embedding(9, 4), torch.ones(2, 4), torch.tensor([[0, 0, 5]])
    plain = layer(ids)
    with padded._beginning_with(layer, rows):
        with ThreadPoolExecutor(1) as pool:
            assert torch.equal(pool.submit(layer, ids).result(), plain)
        assert torch.equal(layer(ids), torch.cat([rows[None], plain[:, 2:]], dim=1))
        assert torch.equal(layer(ids), plain)


def test_greedy_generation_equals_transformers(tiny):
    for request in [r for r in requests(tiny, 28, seed=1) if r.card in (NER, SUMMARY, CODES, FREE)]:
        ids = tiny.tokenizer(render_input(request.card, request.example), return_tensors="pt")["input_ids"]
        embeddings = torch.cat([request.prompt[None], tiny.embed(ids)], dim=1)
        expected = tiny.model.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long),
            max_new_tokens=request.card.max_answer_tokens,
            do_sample=False,
            pad_token_id=tiny.end,
        )
        text = tiny.tokenizer.decode(expected[0], skip_special_tokens=True).strip()
        assert predict(tiny, [request])[0].output == text


@pytest.mark.parametrize("card", [NLI, QA, CLASS])
def test_choices_are_scored_by_likelihood(tiny, card):
    for request in [r for r in requests(tiny, 35, seed=2) if r.card is card]:
        totals = {}
        for option in candidates(card, request.example):
            asked = tiny.tokenizer(render_input(card, request.example))["input_ids"]
            answer = [*tiny.tokenizer(" " + option)["input_ids"], tiny.end]
            embeddings = tiny.embed(torch.tensor([asked + answer]))
            if request.prompt is not None:
                embeddings = torch.cat([request.prompt[None], embeddings], dim=1)
            with torch.no_grad():
                scores = tiny.model(inputs_embeds=embeddings).logits[0, -len(answer) - 1 : -1].log_softmax(-1)
            total = scores[torch.arange(len(answer)), torch.tensor(answer)].sum().item()
            totals[option] = total / len(answer) if card is QA else total
        assert predict(tiny, [request])[0].output == max(totals, key=totals.get)


def test_a_text_longer_than_the_context_is_cut_at_its_end_and_counted(tiny):
    example = Example("long", "long", "fever and cough " * 200, Answer())
    encoded = encode_input(tiny.tokenizer, SUMMARY, example, 100)
    assert len(encoded.input_ids) <= 100
    kept = tiny.tokenizer.decode(encoded.input_ids)
    assert kept.startswith("Say it in one line.\nText: fever and cough fever") and kept.endswith("\nAnswer:")
    assert kept == render_input(SUMMARY, Example("", "", example.text[: -encoded.cut], Answer()))
    prediction = predict(tiny, [Request(SUMMARY, example)])[0]
    assert prediction.cut > 0


def test_ticks_add_up(tiny):
    seen = []
    predict(tiny, requests(tiny, 10), batch_size=3, tick=seen.append)
    assert sum(seen) == 10


@pytest.mark.parametrize(
    ("card", "choices"),
    [
        (TaskCard("long", "summarization", "Say it.", max_answer_tokens=5000), ()),
        (TaskCard("options", "qa", "Choose.", max_answer_tokens=4), ("fever and cough " * 12, "none")),
    ],
)
def test_prompt_text_and_answer_stay_within_the_context(tiny, card, choices, monkeypatch):
    monkeypatch.setattr(type(tiny), "end", -1)  # else a random model may end its answer at any token
    furthest, call = [], tiny.decoder.forward
    monkeypatch.setattr(tiny.decoder, "forward", lambda *a, **k: furthest.append(int(k["position_ids"].max())) or call(*a, **k))
    example = Example("1", "1", "aspirin given " * 300, Answer(), choices=choices)
    predict(tiny, [Request(card, example, torch.randn(6, tiny.width))])
    assert tiny.context * 3 // 4 < max(furthest) < tiny.context
