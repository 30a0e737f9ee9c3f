"""Prompts read once: the same answers hot and cold and without a cache, fewer tokens run, nothing kept of what is gone."""

from __future__ import annotations

import gc

import pytest
import torch

from mpdd.backbone.model import Backbone
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.inference.engines.local import Local
from mpdd.inference.predict import Request, predict
from mpdd.inference.prompt_cache import PromptCache
from mpdd.prompts.pack import Text, pack
from mpdd.prompts.soft import deepened
from tests.backbone.packed.test_families import PACKED, make  # noqa: F401  a fixture
from tests.inference.test_predict import requests


def said(predictions):
    return [(p.output, p.confidence, p.tokens) for p in predictions]


def assert_near(ours, theirs):
    assert [p.output for p in ours] == [p.output for p in theirs]
    assert [p.confidence for p in ours] == pytest.approx([p.confidence for p in theirs], rel=1e-4)


def test_hot_is_cold_and_both_are_what_without_a_cache(tiny):
    asked = requests(tiny, 28)
    cache = PromptCache(tiny)
    cold = predict(tiny, asked, cache=cache)
    assert len(cache) == 6  # one of seven tasks has no prompt
    hot = predict(tiny, asked, cache=cache)
    assert said(hot) == said(cold)
    assert_near(hot, predict(tiny, asked))
    assert_near([predict(tiny, [one], cache=cache)[0] for one in asked], cold)


def test_a_cached_prompt_is_not_run_again(tiny, monkeypatch):
    lengths, run = [], Backbone.packed

    def counted(self, embeddings, *args, **options):
        lengths.append(len(embeddings))
        return run(self, embeddings, *args, **options)

    monkeypatch.setattr(Backbone, "packed", counted)
    card = TaskCard("says", "nli", "Does it say so?", labels=("yes", "no"))
    asked = [Request(card, Example("1", "1", "fever", Answer()), torch.randn(120, tiny.width))]
    engine = Local(tiny)
    for _ in range(3):
        engine.predict(asked)
    assert len(lengths) == 4  # the prompt, then the text three times
    assert lengths[0] >= 120 > max(lengths[1:])


def test_packing_behind_cached_prompts_gives_the_same_states(tiny):
    rows = [torch.randn(n, tiny.width) for n in (5, 3, 4)]
    texts = [Text((3, 5, 7, n, n + 1), rows[n % 3], continuations=[(4,), (6, 8)]) for n in range(7)] + [
        Text((9, 8), None),
        Text((1,), rows[0]),
    ]
    cached = PromptCache(tiny).of(rows[:2])  # the third one is run with its texts
    plain, behind = pack(tiny, texts), pack(tiny, texts, cached)
    assert len(behind.positions) <= len(plain.positions)
    states = [
        tiny.packed(
            p.embeddings, p.positions, p.layout, torch.tensor([*p.ends, *[e for way in p.continuations for _, e in way]]) - 1
        ).last
        for p in (plain, behind)
    ]
    torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-5)


def test_deep_prompts_are_cached_too(tiny):
    card = TaskCard("short", "summarization", "Say it.", max_answer_tokens=5)
    rows = deepened(tiny, torch.randn(4, tiny.width)) + 0.1
    asked = [Request(card, Example(str(n), str(n), "fever " * (n + 1), Answer()), rows) for n in range(4)]
    assert_near(predict(tiny, asked, cache=PromptCache(tiny)), predict(tiny, asked))


@pytest.mark.parametrize("name", PACKED)
def test_windows_and_sinks(make, name):  # noqa: F811
    backbone = make(name)
    card = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=9)
    prompts = [torch.randn(n, backbone.width) for n in (9, 3)]
    texts = ["aspirin given", "fever and cough", "one two aspirin ibuprofen given text none"]
    asked = [Request(card, Example(text, text, text, Answer()), prompt) for prompt in prompts for text in texts]
    assert_near(predict(backbone, asked, cache=PromptCache(backbone)), predict(backbone, asked))


def test_what_a_prompt_left_goes_with_it(tiny):
    cache = PromptCache(tiny)
    prompts = [torch.randn(3, tiny.width) for _ in range(4)]
    cache.of(prompts)
    cache.of(prompts)
    assert len(cache) == 4
    del prompts[1:]
    gc.collect()
    assert len(cache) == 1
