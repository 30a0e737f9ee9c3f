"""Stages on a tiny model: what is trained, what is not, and that distillation pulls towards its teachers."""

from __future__ import annotations

import pytest
import torch

from mpdd.data.batch import shown
from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.distil import Weights, distil, in_context, step_losses
from mpdd.training.loop import Plan
from mpdd.training.one_task import adapt, teach
from mpdd.training.targets import LiveTeachers
from mpdd.training.tune import Data, Watch, mean_losses

DRUGS = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",))
SAYS = TaskCard("says", "nli", "Does the text say so, yes or no?", labels=("yes", "no"), fields=("Hypothesis",))
PLAN = Plan(steps=12, batch_size=4, every=6)


def drugs(k):
    return Example(f"d{k}", f"d{k}", f"aspirin was given {k}", Answer(entities=(Entity(0, 7, "Drug"),)))


def says(k):
    return Example(f"s{k}", f"s{k}", f"fever and cough {k}", Answer(choice=k % 2), fields=(("Hypothesis", "fever"),))


@pytest.fixture(scope="module")
def data(tiny):
    makers = {"drugs": (DRUGS, drugs), "says": (SAYS, says)}
    return {
        name: Data.of(tiny, card, [make(k) for k in range(8)], [make(k) for k in range(90, 94)], 4)
        for name, (card, make) in makers.items()
    }


def dev_loss(backbone, data, rows):
    return mean_losses(backbone, {"task": data.dev}, {"task": rows})["task"]


def test_teaching_lowers_the_loss_and_leaves_the_backbone(tiny, data, unchanged):
    start = from_vocabulary(tiny, 4, 0)
    (trial,) = teach(tiny, {"drugs": data["drugs"]}, {"drugs": start}, PLAN, lrs=[0.05], seed=0)["drugs"]
    assert trial.fitted.best_dev.loss < dev_loss(tiny, data["drugs"], start)
    assert dev_loss(tiny, data["drugs"], trial.trained().detach()) == pytest.approx(trial.fitted.best_dev.loss, abs=1e-5)


def test_all_teachers_at_once_are_what_each_is_alone(tiny, data, unchanged):
    starts = {name: from_vocabulary(tiny, 4, seed) for seed, name in enumerate(data)}
    together = teach(tiny, data, starts, PLAN, lrs=[0.05, 0.01], seed=0)
    for name in data:
        for number, lr in enumerate([0.05, 0.01]):
            (alone,) = teach(tiny, {name: data[name]}, starts, PLAN, lrs=[lr], seed=0)[name]
            torch.testing.assert_close(together[name][number].trained.rows, alone.trained.rows, rtol=1e-4, atol=1e-5)
            assert together[name][number].fitted.best_dev.loss == pytest.approx(alone.fitted.best_dev.loss, rel=1e-5)


@pytest.mark.parametrize("mode", ["all", "factors"])
def test_adaptation_trains_what_its_mode_says(tiny, data, unchanged, mode):
    meta = MetaPrompt(from_vocabulary(tiny, 4, 0), ["a", "b"])
    (trial,) = adapt(tiny, data["says"], meta, "says", PLAN, mode=mode, lrs=[0.05], seed=0)
    assert trial.fitted.best_dev.loss < dev_loss(tiny, data["says"], meta.zero_shot())
    assert torch.equal(trial.trained.shared, meta.shared) == (mode == "factors")
    assert not torch.equal(trial.trained.u, torch.ones_like(trial.trained.u))


def test_distillation_parts_vanish_at_the_teacher_and_are_logged_apart(tiny, data):
    rows = from_vocabulary(tiny, 4, 0)
    meta = MetaPrompt(rows, ["drugs", "says"])
    batch = [data["drugs"].train[0], data["says"].train[1]]
    same = step_losses(tiny, batch, LiveTeachers(tiny, {"drugs": rows, "says": rows}), meta, Weights())
    assert same["kl"] == pytest.approx(0, abs=1e-5)
    assert same["hidden"] == pytest.approx(0, abs=1e-5)
    other = {"drugs": torch.randn_like(rows), "says": torch.randn_like(rows)}
    parts = step_losses(tiny, batch, LiveTeachers(tiny, other), meta, Weights(kl=0.5, hidden=0.25))
    assert parts["loss"] == pytest.approx(parts["task_loss"] + 0.5 * parts["kl"] + 0.25 * parts["hidden"])


def test_a_mixed_batch_gives_each_row_its_own_prompt(tiny, data):
    """The mixed loss is the mean of the rows' own losses, and each task's factors get only their rows' gradient."""
    meta = MetaPrompt(from_vocabulary(tiny, 4, 0), ["drugs", "says"])
    with torch.no_grad():
        meta.u.normal_()
    rows = [data["drugs"].train[0], data["says"].train[1]]
    mixed = step_losses(tiny, rows, LiveTeachers(tiny, {}), meta, Weights(kl=0.0, hidden=0.0))["loss"]
    alone = [mean_losses(tiny, {row.task: [row]}, {row.task: meta(row.task)})[row.task] for row in rows]
    assert mixed == pytest.approx(sum(alone) / 2, abs=1e-5)
    meta.zero_grad()
    step_losses(tiny, rows[:1], LiveTeachers(tiny, {}), meta, Weights(kl=0.0, hidden=0.0))
    assert (meta.u.grad[0] != 0).any()
    assert (meta.u.grad[1] == 0).all()


def test_a_strange_row_stands_under_the_factors_of_the_other_sources_of_its_kind(tiny, data):
    meta = MetaPrompt(from_vocabulary(tiny, 4, 0), ["drugs", "says", "more"])
    with torch.no_grad():
        meta.u.normal_()
    row, plain = data["drugs"].train[0], Weights(kl=0.0, hidden=0.0)
    others = {"drugs": ["says", "more"]}
    loss = step_losses(tiny, [row], LiveTeachers(tiny, {}), meta, plain, others, {0})["loss"]
    mean = meta.shared * (meta.u[1:].mean(0).T @ meta.v[1:].mean(0))
    assert loss == pytest.approx(mean_losses(tiny, {"drugs": [row]}, {"drugs": mean})["drugs"], abs=1e-5)
    assert (meta.u.grad[0] == 0).all() and (meta.u.grad[1:] != 0).any()
    own = step_losses(tiny, [row], LiveTeachers(tiny, {}), meta, plain, {}, {0})["loss"]  # it has no others
    assert own == pytest.approx(step_losses(tiny, [row], LiveTeachers(tiny, {}), meta, plain)["loss"])


def test_rows_of_a_task_share_the_examples_in_front_of_them_and_are_none_of_these(tiny, data):
    pools = {name: part.train for name, part in data.items()}
    drawn = [pools["drugs"][0], pools["says"][1], pools["drugs"][3]]
    counts = set()
    for step in range(40):
        found = in_context(tiny, drawn, pools, 3, 250, f"{step}")
        fronts = []
        for row, plain in zip(found, drawn, strict=True):
            assert row.answer_ids == plain.answer_ids and row.input_ids[-len(plain.input_ids) :] == plain.input_ids
            assert len(row.input_ids) + len(row.answer_ids) <= 250
            fronts.append(row.input_ids[: -len(plain.input_ids)])
        assert fronts[0] == fronts[2]
        texts = {shown(tiny.tokenizer, example): number for number, example in enumerate(pools["drugs"])}
        rest, numbers = fronts[0], []
        while rest:
            text = next(text for text in texts if rest[: len(text)] == text)
            numbers.append(texts[text])
            rest = rest[len(text) :]
        assert not {0, 3} & set(numbers) and len(numbers) == len(set(numbers)) <= 3
        counts.add(len(numbers))
    assert counts >= {0, 1, 2}
    assert in_context(tiny, drawn, pools, 0, 250, "0") == drawn
    longest = max(len(row.input_ids) + len(row.answer_ids) for row in drawn)
    assert in_context(tiny, drawn, pools, 3, longest, "0") == drawn  # there is no room


def test_distilling_approaches_the_teachers(tiny, data, unchanged):
    torch.manual_seed(0)
    teachers = {name: from_vocabulary(tiny, 4, seed) for seed, name in enumerate(data)}
    meta = MetaPrompt(torch.stack(list(teachers.values())).mean(0), list(data))
    rows = [row for part in data.values() for row in part.dev]
    before = step_losses(tiny, rows, LiveTeachers(tiny, teachers), meta, Weights())["kl"]
    lines = []
    distil(
        tiny, data, teachers, meta, Plan(40, 4, 10), lr_shared=0.05, lr_factors=0.05, weights=Weights(kl=5.0), seed=0,
        watch=Watch(log=lambda _, values: lines.append(values)),
    )  # fmt: skip
    assert step_losses(tiny, rows, LiveTeachers(tiny, teachers), meta, Weights())["kl"] < before
    assert {"loss", "task_loss", "kl", "hidden", "dev_loss"} <= set(lines[-1])


def test_without_a_rate_for_the_factors_they_stay(tiny, data, unchanged):
    meta = MetaPrompt(from_vocabulary(tiny, 4, 0), list(data))
    distil(
        tiny, data, {}, meta, Plan(4, 4, 2), lr_shared=0.02, lr_factors=None, weights=Weights(kl=0.0, hidden=0.0), seed=0
    )  # fmt: skip
    assert torch.equal(meta.u, torch.ones_like(meta.u)) and torch.equal(meta.v, torch.ones_like(meta.v))
    assert not torch.equal(meta.shared, from_vocabulary(tiny, 4, 0))


def test_only_the_last_layer_is_compared_where_so_wanted(tiny, data):
    rows = from_vocabulary(tiny, 4, 0)
    meta, other = MetaPrompt(rows, ["drugs"]), {"drugs": torch.randn_like(rows)}
    batch = [data["drugs"].train[0]]
    found = [
        step_losses(tiny, batch, LiveTeachers(tiny, other), meta, Weights(last_layer=last))["hidden"] for last in (False, True)
    ]
    assert found[0] != pytest.approx(found[1])


def test_the_target_starts_from_the_mix_of_factors_that_it_is_given(tiny):
    meta = MetaPrompt(from_vocabulary(tiny, 4, 0), ["a", "b", "c"], 2)
    with torch.no_grad():
        meta.u.normal_()
        meta.v.normal_()
    target = meta.for_target("t", torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(target.u[0], meta.u[1]) and torch.equal(target.v[0], meta.v[1])
    even = meta.for_target("t", torch.full((3,), 1 / 3))
    torch.testing.assert_close(even.u, meta.for_target("t").u)
