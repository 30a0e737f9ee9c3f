"""Differential privacy: gradients by unit equal those one by one and are clipped, noise is there, the accountant is asked."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mpdd.data.batch import encode
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.errors import InputError
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import SoftPrompt, from_random
from mpdd.training import baselines, private
from mpdd.training.loop import Dev, Fitted, Group, Plan
from mpdd.training.passes import Row, add_gradients
from mpdd.training.private import Guarantee, Private, clipped_sum, fit_privately, spent
from mpdd.training.tune import Data, Job, tune

CARD = TaskCard("says", "nli", "Does it say so?", labels=("yes", "no"), fields=("Hypothesis",))
SCHEDULE = {"epsilon": 3.0, "delta": 1e-5, "batch": 16, "steps": 100, "clip": 1.0}


@pytest.fixture(scope="module")
def rows(tiny):
    texts = ["fever", "cough and fever", "no cough", "ill", "a long night of fever and of cough", "well"]
    return [
        encode(tiny.tokenizer, CARD, Example(str(n), f"d{n // 2}", text, Answer(choice=n % 2), (("Hypothesis", "ill"),)), 100)
        for n, text in enumerate(texts)
    ]


def guarantee(unit="example", **changes):
    plain = Guarantee(epsilon=1.0, delta=1e-5, unit=unit, units=3, sampling_rate=1.0, steps=2, clip=1.0, noise_multiplier=1.0)
    return replace(plain, **changes)


def by_document(rows):
    return Private.of(
        rows, [f"d{n // 2}" for n in range(len(rows))], lambda units: guarantee("document", units=units), "document"
    )


def one_by_one(backbone, units, tensors, prompt):
    """Each unit's gradient by a pass of its own."""
    found = []
    for unit in units:
        for tensor in tensors:
            tensor.grad = None
        made = prompt()
        add_gradients(backbone, [Row(row, "p", 1 / len(unit)) for row in unit], {"p": made})
        found.append([tensor.grad.clone() for tensor in tensors])
    return found


def clipped(gradients, clip):
    total = [torch.zeros_like(part) for part in gradients[0]]
    for gradient in gradients:
        norm = math.sqrt(sum(float(part.square().sum()) for part in gradient))
        for summed, part in zip(total, gradient, strict=True):
            summed += part * min(1.0, clip / norm)
    return total


@pytest.mark.parametrize("clip", [1e-3, 0.05, 1e6])
def test_the_gradients_of_units_are_those_of_one_unit_at_a_time(tiny, rows, clip):
    meta = MetaPrompt(from_random(tiny, 4, 0), ["says"], 2, seed=1)
    meta.shared.requires_grad_(False)
    tensors = [meta.u, meta.v]
    units = by_document(rows).units
    assert [len(unit) for unit in units] == [2, 2, 2]
    wanted = clipped(one_by_one(tiny, units, tensors, lambda: meta("says")), clip)
    summed, loss = clipped_sum(tiny, units, tensors, meta, clip)
    for part, other in zip(summed, wanted, strict=True):
        torch.testing.assert_close(part, other, rtol=1e-5, atol=1e-6)
    assert math.isfinite(loss) and loss > 0


def test_a_unit_with_rows_of_several_tasks_is_clipped_as_one(tiny, rows):
    """As a site of a federation has them: the gradient of a unit is that over all its tasks, and one task leaves the other's
    factors alone."""
    meta = MetaPrompt(from_random(tiny, 4, 0), ["says", "other"], 2, seed=1)
    tensors = [meta.shared, meta.u, meta.v]
    others = [replace(row, task="other") for row in rows]
    units = [(rows[0], others[1], others[2]), (others[3],), (rows[4], rows[5])]

    def alone(unit):
        for tensor in tensors:
            tensor.grad = None
        made = {row.task: meta(row.task) for row in unit}
        add_gradients(tiny, [Row(row, row.task, 1 / len(unit)) for row in unit], made)
        return [tensor.grad.clone() for tensor in tensors]

    gradients = [alone(unit) for unit in units]
    assert not gradients[1][1][0].any() and gradients[1][1][1].any()
    for clip in (0.01, 1e6):
        summed, _ = clipped_sum(tiny, units, tensors, meta, clip)
        for part, other in zip(summed, clipped(gradients, clip), strict=True):
            torch.testing.assert_close(part, other, rtol=1e-5, atol=1e-6)


def test_gradients_of_lora_by_example_are_those_of_plain_autograd(tiny, rows):
    """Against a forward pass of the plain model with the adapter in it, one example at a time."""
    with baselines.lora(tiny, rank=2, seed=0) as inside:
        generator = torch.Generator().manual_seed(0)
        inside.set({name: 0.1 * torch.randn(t.shape, generator=generator) for name, t in inside.tensors.items()})
        names = list(inside.tensors)
        weights = {name: weight for name, weight in tiny.model.named_parameters() if weight.requires_grad}
        assert len(weights) == len(names)

        def alone(row):
            ids = torch.tensor([[*row.input_ids, *row.answer_ids]])
            logits = tiny.model(input_ids=ids[:, :-1]).logits[0, len(row.input_ids) - 1 :]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer_ids), reduction="sum")
            return list(torch.autograd.grad(loss / row.mean_answer_tokens, list(weights.values())))

        wanted = clipped([alone(row) for row in rows], 0.05)
        summed, _ = clipped_sum(tiny, [(row,) for row in rows], list(inside.tensors.values()), lambda _: inside.follow(), 0.05)
        assert sum(bool(part.abs().max() > 0) for part in summed) == len(summed)
        for part, other in zip(summed, wanted, strict=True):
            torch.testing.assert_close(part, other, rtol=1e-5, atol=1e-5)


def test_what_is_inside_the_backbone_is_clipped_by_unit_too(tiny, rows):
    with baselines.lora(tiny, rank=2, seed=0) as inside:
        tensors = list(inside.tensors.values())
        units = [(row,) for row in rows]
        wanted = clipped(one_by_one(tiny, units, tensors, inside.follow), 0.01)
        summed, _ = clipped_sum(tiny, units, tensors, lambda _: inside.follow(), 0.01)
        for part, other in zip(summed, wanted, strict=True):
            torch.testing.assert_close(part, other, rtol=1e-5, atol=1e-6)


def test_no_unit_moves_the_sum_by_more_than_the_clip(tiny, rows):
    """Fails where clipping is left out: the plain gradients are far longer."""
    prompt = SoftPrompt(from_random(tiny, 4, 0))
    units, clip = [(row,) for row in rows], 0.01
    whole, _ = clipped_sum(tiny, units, [prompt.rows], lambda _: prompt(), clip)
    for left_out in range(len(units)):
        rest, _ = clipped_sum(tiny, [u for n, u in enumerate(units) if n != left_out], [prompt.rows], lambda _: prompt(), clip)
        assert float((whole[0] - rest[0]).norm()) <= clip * 1.0001
    assert max(float(g[0].norm()) for g in one_by_one(tiny, units, [prompt.rows], prompt)) > 10 * clip


def test_the_noise_is_as_large_as_it_should_be(tiny, rows, monkeypatch):
    """Fails where the noise is left out: without a gradient, what a step adds is the noise alone."""
    tensor = torch.nn.Parameter(torch.zeros(200, 200))
    seen = []
    monkeypatch.setattr(private, "clipped_sum", lambda *_: ([torch.zeros_like(tensor)], 0.0))

    def fitted(jobs, gradients, plan, **_):
        for step in range(3):
            gradients(step, list(jobs))
            seen.append(tensor.grad.clone())
        return {name: Fitted(Dev(0.0), 3, 3, 6, 0.0) for name in jobs}

    monkeypatch.setattr(private, "fit", fitted)
    given = Private(tuple((row,) for row in rows), guarantee(noise_multiplier=2.0, clip=0.5, sampling_rate=0.5, units=6))
    fit_privately(tiny, given, [Group({"t": tensor}, 0.1)], lambda _: None, Plan(3, 2, 1))
    for noise in seen:
        assert float(noise.std()) == pytest.approx(2.0 * 0.5 / (0.5 * 6), rel=0.02)
    assert not torch.equal(seen[0], seen[1])


def test_noise_differs_between_runs_of_one_seed_and_not_between_runs_of_one_secret(tiny, rows):
    def trained(secret):
        prompt = SoftPrompt(from_random(tiny, 4, 0))
        given = Private(tuple((row,) for row in rows), guarantee(units=6))
        fit_privately(tiny, given, [Group({"rows": prompt.rows}, 0.01)], lambda _: prompt(), Plan(2, 6, 1), secret=secret)
        return prompt.rows.detach().clone()

    assert torch.equal(trained(b"a" * 32), trained(b"a" * 32))
    assert not torch.equal(trained(None), trained(None))


def test_every_unit_is_drawn_with_the_same_chance(tiny, rows, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        private, "clipped_sum", lambda _b, units, tensors, *_: (drawn.append(len(units)), ([torch.zeros(1)], 0.0))[1]
    )
    tensor = torch.nn.Parameter(torch.zeros(1))
    given = Private(tuple((rows[0],) for _ in range(1000)), guarantee(units=1000, sampling_rate=0.1))
    fit_privately(tiny, given, [Group({"t": tensor}, 0.1)], lambda _: None, Plan(20, 100, 1))
    assert len(drawn) == 20 and len(set(drawn)) > 5
    assert sum(drawn) / 20 == pytest.approx(100, abs=15)


def test_the_guarantee_is_what_the_accountant_says_and_no_more_than_asked():
    made = Guarantee.calibrated(**SCHEDULE, unit="example", units=1000)
    assert made.epsilon <= 3.0 and made.epsilon == pytest.approx(3.0, abs=0.1)
    assert made.epsilon == pytest.approx(spent(made.noise_multiplier, 1e-5, 0.016, 100))
    from opacus.accountants import RDPAccountant

    loose = RDPAccountant()
    loose.history = [(made.noise_multiplier, 0.016, 100)]
    assert made.epsilon <= loose.get_epsilon(1e-5)  # an older accountant gives an upper bound of the same schedule
    assert spent(made.noise_multiplier / 2, 1e-5, 0.016, 100) > 3.0


def test_a_delta_that_gives_a_unit_away_is_refused():
    with pytest.raises(InputError, match="The delta is too large.*found 1e-05 with 200000 units"):
        Guarantee.calibrated(**SCHEDULE, unit="example", units=200_000)


def test_a_private_fit_keeps_its_last_state_and_looks_at_no_dev_example(tiny, rows):
    prompt = SoftPrompt(from_random(tiny, 4, 0))
    start = prompt.rows.detach().clone()
    data = Data(rows, (), Private(tuple((row,) for row in rows), guarantee(units=6)))
    found = tune(tiny, {"says lr 0.01": Job(data, [Group({"rows": prompt.rows}, 0.01)], prompt)}, Plan(2, 6, 1), seed=0)
    assert found["says lr 0.01"].best_step == 2
    assert not torch.equal(prompt.rows, start)
