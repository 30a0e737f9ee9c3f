"""What is put into the backbone trains there, within its budget, and is gone afterwards."""

from __future__ import annotations

import pytest
import torch

from mpdd.errors import InputError
from mpdd.training import baselines
from mpdd.training.loop import Plan
from mpdd.training.passes import Row, add_gradients
from mpdd.training.tune import Data, mean_losses
from tests.training.test_stages import DRUGS, PLAN, SAYS, dev_loss, drugs, says

PLACED = {
    "lora": lambda b: baselines.lora(b, rank=2, seed=0),
    "lora_within": lambda b: baselines.lora_within(b, budget=300, seed=0),
    "ia3": lambda b: baselines.ia3(b, seed=0),
    "whole": baselines.whole,
}


@pytest.fixture(scope="module")
def data(tiny):
    makers = {"drugs": (DRUGS, drugs), "says": (SAYS, says)}
    return {
        name: Data.of(tiny, card, [make(k) for k in range(8)], [make(k) for k in range(90, 94)], 0)
        for name, (card, make) in makers.items()
    }


@pytest.mark.parametrize("name", PLACED)
def test_it_trains_in_place_and_goes_away(tiny, data, unchanged, name):
    before = dev_loss(tiny, data["drugs"], None)
    with PLACED[name](tiny) as inside:
        assert dev_loss(tiny, data["drugs"], None) == pytest.approx(before, abs=1e-5)
        fitted = baselines.tune_weights(tiny, data["drugs"], inside, PLAN, lr=0.01, seed=0)
        inside.follow()
        assert fitted.best_dev.loss < before
        assert dev_loss(tiny, data["drugs"], None) == pytest.approx(fitted.best_dev.loss, abs=1e-5)
        kept = {key: t.detach().clone() for key, t in inside.tensors.items()}
    assert dev_loss(tiny, data["drugs"], None) == pytest.approx(before, abs=1e-5)
    with PLACED[name](tiny) as inside:
        inside.set(kept)
        assert dev_loss(tiny, data["drugs"], None) == pytest.approx(fitted.best_dev.loss, abs=1e-5)


def test_it_is_gone_after_an_error_too(tiny, unchanged):
    with pytest.raises(KeyError), baselines.whole(tiny) as inside:
        inside.set({"no such tensor": torch.zeros(1)})


def test_all_weights_get_the_gradients_of_the_plain_model(tiny, data, unchanged):
    rows = data["drugs"].train[:3]
    with baselines.whole(tiny) as inside:
        add_gradients(tiny, [Row(row, "p", 1 / 3) for row in rows], {"p": None})
        found = {name: t.grad.clone() for name, t in inside.tensors.items()}
    tiny.model.requires_grad_(True)
    try:
        for row in rows:
            ids = torch.tensor([[*row.input_ids, *row.answer_ids]])
            labels = torch.where(torch.arange(ids.shape[1]) < len(row.input_ids), -100, ids[0])[None]
            (tiny.model(input_ids=ids, labels=labels).loss / 3).backward()
        wanted = {name: p.grad for name, p in tiny.model.named_parameters()}
        assert found.keys() == wanted.keys()
        for name, gradient in wanted.items():
            assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, name
    finally:
        tiny.model.zero_grad(set_to_none=True)
        tiny.model.requires_grad_(False)


@pytest.mark.parametrize("budget", [64, 200, 1000, 10**6])
def test_a_matched_lora_keeps_within_its_budget(tiny, budget):
    with baselines.lora_within(tiny, budget=budget, seed=0) as inside:
        numbers = sum(t.numel() for t in inside.tensors.values())
    assert 0 < numbers <= budget
    with baselines.lora(tiny, rank=1, seed=0) as inside:
        most = sum(t.numel() for t in inside.tensors.values())
    assert numbers == most or numbers > budget - 2 * 80


def test_too_small_a_budget_is_refused(tiny):
    with pytest.raises(InputError, match="No LoRA is small enough"):
        baselines.lora_within(tiny, budget=3, seed=0)


def test_training_on_all_tasks_lowers_the_mean_of_their_losses(tiny, data, unchanged):
    def mean():
        losses = mean_losses(tiny, {name: part.dev for name, part in data.items()}, dict.fromkeys(data))
        return sum(losses.values()) / len(losses)

    before = mean()
    with baselines.lora(tiny, rank=2, seed=0) as inside:
        fitted = baselines.tune_on_all(tiny, data, inside, Plan(20, 6, 10), lr=0.01, seed=0)
        assert fitted.best_dev.loss == pytest.approx(mean(), abs=1e-5)
    assert fitted.best_dev.loss < before
