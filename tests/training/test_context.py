"""Factors on a metaprompt and on examples' rows: what is trained, what is left out where, and that it can be repeated."""

from __future__ import annotations

import pytest
import torch

from mpdd.prompts.examples import ExampleRows, example_rows
from mpdd.prompts.meta import MetaPrompt
from mpdd.training.context import ContextPrompt, _row_prompts, tune_context
from mpdd.training.loop import Plan
from mpdd.training.passes import Row, row_losses
from mpdd.training.tune import Data, Watch, mean_losses
from tests.training.test_stages import DRUGS, drugs

PLAN = Plan(steps=8, batch_size=4, every=4)
LENGTH, ROWS = 3, 8


@pytest.fixture(scope="module")
def data(tiny):
    return Data.of(tiny, DRUGS, [drugs(k) for k in range(6)], [drugs(k) for k in range(90, 94)], LENGTH + ROWS)


@pytest.fixture(scope="module")
def target(tiny):
    rows = torch.randn(LENGTH, tiny.depth * tiny.width, generator=torch.Generator().manual_seed(0))
    return MetaPrompt(rows, ["drugs"], 2)


@pytest.fixture(scope="module")
def examples(tiny, data, target):
    return example_rows(tiny, target("drugs").detach(), data.train[:4], ROWS)


def test_training_lowers_the_loss_and_changes_the_factors_alone(tiny, data, target, examples, unchanged):
    start = torch.cat([target("drugs").detach(), examples.rows])
    (trial,) = tune_context(tiny, data, target, examples, data.train[:4], PLAN, lrs=[0.1], dropout=0.1, seed=0)
    before = mean_losses(tiny, {"drugs": data.dev}, {"drugs": start})["drugs"]
    assert trial.fitted.best_dev.loss < before
    trained = trial.trained
    assert torch.equal(trained.target.shared, target.shared) and torch.equal(trained.examples.shared, examples.rows)
    width = tiny.depth * tiny.width
    sizes = {name: tensor.numel() for name, tensor in trained.trained.items()}
    assert sizes == {"u": 2 * LENGTH, "v": 2 * width, "example_u": ROWS, "example_v": width}
    assert [group.lr for group in trained.groups(0.5)] == [0.5, pytest.approx(0.05)]
    after = mean_losses(tiny, {"drugs": data.dev}, {"drugs": trained().detach()})["drugs"]
    assert after == pytest.approx(trial.fitted.best_dev.loss, abs=1e-5)


def test_an_example_that_is_predicted_has_no_rows_of_its_own(tiny, data, target, examples):
    """NaN in its rows would reach its loss if they took part; it reaches that of another example."""
    poisoned = ExampleRows(examples.rows.masked_fill(~examples.not_of([1])[:, None], float("nan")), examples.owners)
    prompts_of = _row_prompts(ContextPrompt(target, poisoned), data.train[:4], 0.0, 0)
    rows = [data.train[1], data.train[0]]
    own, other = prompts_of(0, rows)
    assert len(own) == len(other) == LENGTH + ROWS - 2
    losses = row_losses(tiny, [Row(rows[0], "own"), Row(rows[1], "other")], {"own": own.detach(), "other": other.detach()})
    assert losses[0].isfinite() and losses[1].isnan()


def test_the_same_example_shown_twice_is_left_out_twice(tiny, data, target):
    read = [data.train[0], data.train[1], data.train[0]]
    examples = example_rows(tiny, target("drugs").detach(), read, 6)
    (prompt,) = _row_prompts(ContextPrompt(target, examples), read, 0.0, 0)(0, [data.train[0]])
    torch.testing.assert_close(prompt[LENGTH:], examples.rows[2:4])


def test_only_examples_rows_are_dropped_and_a_step_can_be_repeated(tiny, data, target):
    rows = torch.arange(1000.0)[:, None].expand(-1, tiny.depth * tiny.width)
    prompt = ContextPrompt(target, ExampleRows(rows, torch.zeros(1000, dtype=torch.long)))
    of_step = _row_prompts(prompt, [data.train[0]], 0.1, 0)
    first, second = of_step(5, [data.train[4], data.train[5]])
    assert 850 < len(first) - LENGTH < 950
    torch.testing.assert_close(first[:LENGTH], target("drugs"))
    assert len(first) != len(second) or not torch.equal(first, second)
    assert torch.equal(of_step(5, [data.train[4]])[0], first)
    assert not torch.equal(of_step(6, [data.train[4]])[0][: len(first)], first[: len(of_step(6, [data.train[4]])[0])])


def test_rates_tried_together_are_what_each_is_alone(tiny, data, target, examples):
    def tuned(lrs):
        return tune_context(tiny, data, target, examples, data.train[:4], PLAN, lrs=lrs, dropout=0.1, seed=0, watch=Watch())

    for together, lr in zip(tuned([0.05, 0.2]), [0.05, 0.2], strict=True):
        (alone,) = tuned([lr])
        assert together.fitted.best_dev.loss == pytest.approx(alone.fitted.best_dev.loss, rel=1e-4)
