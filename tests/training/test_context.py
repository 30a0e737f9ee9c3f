"""Factors on a metaprompt and on examples' rows: what is trained, what is left out where, and that it can be repeated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.batch import Encoded
from mpdd.errors import InputError
from mpdd.prompts.examples import ExampleRows, example_rows
from mpdd.prompts.meta import MetaPrompt
from mpdd.training import targets
from mpdd.training.context import ContextPrompt, _row_prompts, tune_context
from mpdd.training.distil import Weights, step_losses
from mpdd.training.loop import Plan
from mpdd.training.passes import Row, encoded_batch, row_losses
from mpdd.training.targets import LiveTeachers, TopK, Whole, cached
from mpdd.training.tune import Data, Watch, mean_losses
from tests.conftest import tries
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


# What teachers say, kept: the same as asked, k tokens close to all, never stale or damaged.


def rows():
    generator = torch.Generator().manual_seed(0)

    def ids(count):
        return tuple(torch.randint(3, 60, (count,), generator=generator).tolist())

    return [
        Row(Encoded(name, ids(size), ids(1 + size % 3)), name, 0.25)
        for name, size in zip("abaab", (30, 4, 9, 17, 8), strict=True)
    ]


@pytest.fixture
def prompts(tiny):
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(4, tiny.width, generator=generator) for name in "ab"}


def test_what_is_kept_is_what_was_asked(tiny, prompts, tmp_path):
    found = cached(tmp_path / "say", tiny, prompts, [*rows(), *rows()[:2]], k=5, temperature=2.0)
    for chosen in (rows(), rows()[3:0:-1]):
        said = found(encoded_batch(tiny, chosen), chosen)
        asked = TopK.of(LiveTeachers(tiny, prompts)(encoded_batch(tiny, chosen), chosen), 5, 2.0)
        assert torch.equal(said.ids, asked.ids)
        torch.testing.assert_close(said.log_p, asked.log_p, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(said.log_rest, asked.log_rest, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(said.layers, asked.layers, rtol=1e-4, atol=1e-5)


@settings(max_examples=tries(50), deadline=None)
@given(seed=st.integers(0, 999), k=st.integers(1, 11), sharpness=st.floats(0.1, 8), temperature=st.sampled_from([1.0, 2.0]))
def test_top_k_divergence_is_between_zero_and_the_whole(seed, k, sharpness, temperature):
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (sharpness * torch.randn(6, 12, generator=generator) for _ in range(2))
    examples = torch.tensor([0, 0, 1, 1, 1, 2])
    whole = Whole(teacher, torch.zeros(1, 6, 2))
    full = whole.divergence(student, examples, temperature)
    kept = TopK.of(whole, k, temperature).divergence(student, examples, temperature)
    assert (kept >= -1e-4).all()
    assert (kept <= full + 1e-3 * (1 + full)).all()
    if k == 11:  # the others are one token: nothing is merged
        torch.testing.assert_close(kept, full, rtol=1e-2, atol=1e-3)
    assert TopK.of(whole, k, temperature).divergence(teacher, examples, temperature).abs().max() < 1e-4


def test_distilling_from_what_is_kept_has_the_same_gradient(tiny, prompts, tmp_path):
    gradients = []
    for teachers in (LiveTeachers(tiny, prompts), cached(tmp_path, tiny, prompts, rows(), k=50, temperature=1.0)):
        meta = MetaPrompt(torch.randn(4, tiny.width, generator=torch.Generator().manual_seed(5)), ["a", "b"])
        step_losses(tiny, [row.encoded for row in rows()], teachers, meta, Weights())
        gradients.append(torch.cat([meta.shared.grad.flatten(), meta.u.grad.flatten(), meta.v.grad.flatten()]))
    live, kept = gradients
    assert torch.nn.functional.cosine_similarity(live, kept, dim=0) > 0.999


def test_teachers_are_asked_once_for_the_same_rows_and_again_for_others(tiny, prompts, tmp_path, monkeypatch):
    asked = []
    ask = targets._ask
    monkeypatch.setattr(targets, "_ask", lambda *given: asked.append(1) or ask(*given))

    def make(**changed):
        given = {"prompts": prompts, "rows": rows(), "k": 5, "temperature": 1.0} | changed
        return cached(tmp_path, tiny, given["prompts"], given["rows"], k=given["k"], temperature=given["temperature"])

    make()
    make()
    assert len(asked) == 1
    for changed in ({"k": 6}, {"temperature": 2.0}, {"rows": rows()[1:]}, {"prompts": prompts | {"a": prompts["b"]}}):
        make(**changed)
    assert len(asked) == 5
    make()
    (tmp_path / "log_p.npy").write_bytes((tmp_path / "log_p.npy").read_bytes()[:-1] + b"?")
    make()
    assert len(asked) == 7


def test_a_disk_without_room_is_said_so_before_anything_is_written(tiny, prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(targets.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match="No room for what the teachers say.*distil.top_k = 0"):
        cached(tmp_path / "say", tiny, prompts, rows(), k=5, temperature=1.0)
    assert not list((tmp_path / "say").iterdir())
