"""The loop: it minimises, keeps the best state of each job, ends jobs by themselves, and resumes exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.errors import MpddError
from mpdd.training import baselines
from mpdd.training.loop import Dev, Group, Plan, fit
from mpdd.training.losses import cross_entropy
from mpdd.training.passes import Row, add_gradients, row_losses
from mpdd.training.tune import Data
from tests.conftest import tries

GOALS = {"a": torch.tensor([1.0, -2.0, 0.5, 3.0]), "b": torch.tensor([-1.0, 0.0, 2.0, 9.0]), "c": torch.zeros(4) + 0.1}


class Problem:
    """Small regressions, each with its own goal and data for every step."""

    def __init__(self, jobs="a", sign=1.0):
        self.weights = {job: torch.nn.Parameter(torch.zeros(4)) for job in jobs}
        self.sign, self.seen = sign, []

    def jobs(self, lr=0.1):
        return {job: [Group({"w": weight}, lr)] for job, weight in self.weights.items()}

    def gradients(self, step, jobs):
        self.seen.append((step, tuple(jobs)))
        found = {}
        for job in jobs:
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            loss = self.sign * (x @ (self.weights[job] - GOALS[job[0]])).square().mean()
            loss.backward()
            found[job] = {"loss": loss.item(), "part": 1.0}
        return found

    def validate(self, jobs):
        return {job: Dev((self.weights[job] - GOALS[job[0]]).square().sum().item()) for job in jobs}

    def fit(self, plan, lr=0.1, **options):
        return fit(self.jobs(lr), self.gradients, plan, validate=self.validate, **options)


def test_minimises_and_logs():
    problem, lines = Problem(), []
    fitted = problem.fit(Plan(60, 16, 20), log=lambda job, values: lines.append((job, values)))["a"]
    assert fitted.best_dev.loss < 0.1
    assert problem.validate("a")["a"] == fitted.best_dev
    assert [(job, values["step"]) for job, values in lines] == [("a", 0), ("a", 20), ("a", 40), ("a", 60)]
    assert lines[-1][1]["part"] == 1.0
    assert fitted.examples == 960


def test_never_ends_worse_than_it_began():
    problem = Problem(sign=-1.0)
    with torch.no_grad():
        problem.weights["a"].copy_(GOALS["a"])
    fitted = problem.fit(Plan(10, 1, 5), lr=5.0)["a"]
    assert fitted.best_step == 0
    assert problem.validate("a")["a"].loss == pytest.approx(0, abs=1e-9)


@settings(max_examples=tries(10), deadline=None)
@given(jobs=st.permutations("abc"), patience=st.integers(0, 2), lr=st.sampled_from([0.01, 0.3, 2.0]))
def test_jobs_together_end_where_each_ends_alone(jobs, patience, lr):
    plan = Plan(24, 1, 3, patience=patience)
    together = Problem(jobs)
    found = together.fit(plan, lr=lr)
    for job in jobs:
        alone = Problem(job)
        expected = alone.fit(plan, lr=lr)[job]
        assert torch.equal(together.weights[job], alone.weights[job])
        assert (found[job].best_dev, found[job].best_step, found[job].steps) == (
            expected.best_dev, expected.best_step, expected.steps,
        )  # fmt: skip


def test_the_metric_chooses_the_state_and_the_loss_breaks_ties():
    plan, metrics = Plan(12, 1, 3), iter([1.0, 5.0, 7.0, 7.0, 2.0])  # at steps 0, 3, 6, 9, 12
    lines, problem = [], Problem()

    def validate(jobs):
        return {job: Dev(dev.loss, next(metrics)) for job, dev in problem.validate(jobs).items()}

    fitted = fit(problem.jobs(), problem.gradients, plan, validate=validate, log=lambda _, values: lines.append(values))["a"]
    assert (fitted.best_step, fitted.best_dev.metric) == (9, 7.0)
    assert [line["dev_metric"] for line in lines] == [1.0, 5.0, 7.0, 7.0, 2.0]
    assert lines[3]["dev_loss"] < lines[2]["dev_loss"]
    assert problem.validate("a")["a"].loss == fitted.best_dev.loss


def test_patience_ends_a_job_by_itself():
    problem = Problem("ac")
    with torch.no_grad():
        problem.weights["c"].copy_(GOALS["c"])  # nothing to gain, and a gradient of zero
    fitted = problem.fit(Plan(40, 2, 4, patience=2))
    assert fitted["c"].steps == 8
    assert fitted["c"].examples == 16
    assert fitted["a"].steps == 40
    assert problem.seen[8] == (8, ("a",))


RATES = {"a lr 0.1": 0.1, "a lr 0.2": 0.2, "b lr 0.1": 0.1, "b lr 0.3": 0.3}


class Rivals(Problem):
    """Two tasks, two rates each."""

    def __init__(self, jobs=tuple(RATES)):
        super().__init__(jobs)

    def jobs(self, lr=None):
        return {job: [Group({"w": weight}, RATES[job])] for job, weight in self.weights.items()}


def test_of_rivals_only_the_best_runs_on_and_ends_where_it_would_alone():
    plan, whole_length = Plan(24, 1, 8, halving_steps=6), Rivals()
    at_halving = whole_length.fit(plan)  # nobody is a rival
    assert {fitted.steps for fitted in at_halving.values()} == {24}
    problem, until = Rivals(), Rivals()
    found = problem.fit(plan, rivals=lambda job: job[0])
    dev = {job: fitted.best_dev for job, fitted in until.fit(plan, pause=True).items()}
    for task in "ab":
        own = [job for job in RATES if job[0] == task]
        winner, loser = sorted(own, key=lambda job: dev[job].rank)  # both are better than where they began
        assert (found[winner].steps, found[loser].steps) == (24, 6)
        assert torch.equal(problem.weights[winner], whole_length.weights[winner])
        assert found[loser].best_dev == dev[loser]
    assert {len(jobs) for step, jobs in problem.seen if step >= 6} == {2}


def test_rivals_that_all_began_better_are_told_apart_by_what_they_came_to(tmp_path):
    """As rates of a metaprompt that nothing is gained on: the best state of each is the one before the first step."""
    problem, path = Rivals(("a lr 0.1", "a lr 0.2")), tmp_path / "c.safetensors"
    metrics = {0: {"a lr 0.1": 9.0, "a lr 0.2": 9.0}, 1: {"a lr 0.1": 3.0, "a lr 0.2": 8.0}, 2: {"a lr 0.2": 9.5}}
    seen = []

    def validate(jobs):
        seen.append(tuple(jobs))
        return {job: Dev(0.1 if job == "a lr 0.1" and len(seen) == 1 else 1.0, metrics[len(seen) - 1][job]) for job in jobs}

    plan = Plan(12, 1, 12, halving_steps=6)
    paused = fit(problem.jobs(), problem.gradients, plan, validate=validate, checkpoint=path, pause=True)
    assert [(found.best_step, found.since_start.metric) for found in paused.values()] == [(0, 3.0), (0, 8.0)]
    assert min(paused, key=lambda job: paused[job].promise) == "a lr 0.2"
    seen.clear()
    found = fit(problem.jobs(), problem.gradients, plan, validate=validate, rivals=lambda job: job[0])
    assert [(job.steps, job.best_step) for job in found.values()] == [(6, 0), (12, 12)]


def test_a_paused_fit_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(tmp_path):
    plan, path, whole, parts = Plan(12, 1, 4, halving_steps=6), tmp_path / "c.safetensors", Problem(), Problem()
    expected = whole.fit(plan)["a"]
    for _ in range(2):  # the second time there is nothing to do
        assert parts.fit(plan, checkpoint=path, pause=True)["a"].steps == 6
    fresh = Problem()
    found = fresh.fit(plan, checkpoint=path)["a"]
    assert [step for step, _ in parts.seen + fresh.seen] == list(range(12))
    assert torch.equal(fresh.weights["a"], whole.weights["a"])
    assert (found.best_dev, found.best_step, found.steps) == (expected.best_dev, expected.best_step, 12)
    assert not path.exists()


@pytest.mark.parametrize("stop_after", [1, 4, 5, 9, 11])
def test_a_stopped_run_ends_where_an_unbroken_one_does(tmp_path, stop_after):
    plan = Plan(12, 1, 4, patience=1)
    whole = Problem("abc")
    expected = whole.fit(plan)

    class StopError(Exception):
        pass

    broken = Problem("abc")
    path = tmp_path / "checkpoint.safetensors"

    def stopping(step, jobs):
        if step == stop_after:
            raise StopError
        return broken.gradients(step, jobs)

    with pytest.raises(StopError):
        fit(broken.jobs(), stopping, plan, validate=broken.validate, checkpoint=path)
    fresh = Problem("abc")
    resumed = fresh.fit(plan, checkpoint=path)
    for job in "abc":
        assert torch.equal(fresh.weights[job], whole.weights[job])
        assert resumed[job].best_dev == expected[job].best_dev
        assert resumed[job].best_step == expected[job].best_step
    assert fresh.seen[0][0] == stop_after // 4 * 4
    assert not path.exists()


def test_a_damaged_checkpoint_or_one_of_other_jobs_is_started_over(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"half a checkpoint")
    damaged, other = Problem("ab"), Problem("ab")
    damaged.fit(Plan(8, 1, 4), checkpoint=path)
    other.fit(Plan(8, 1, 4))
    assert torch.equal(damaged.weights["a"], other.weights["a"])

    def stop(step, jobs):
        if step == 5:
            raise KeyboardInterrupt
        return stopped.gradients(step, jobs)

    stopped = Problem("a")
    with pytest.raises(KeyboardInterrupt):
        fit(stopped.jobs(), stop, Plan(8, 1, 4), validate=stopped.validate, checkpoint=path)
    more = Problem("ab")
    more.fit(Plan(8, 1, 4), checkpoint=path)
    assert more.seen[0] == (0, ("a", "b"))


def test_a_loss_that_is_not_finite_is_said_so():
    with pytest.raises(MpddError, match="The loss of a is not finite at step 0"):
        Problem(sign=float("nan")).fit(Plan(2, 1, 1))


@pytest.mark.parametrize("from_step", [0, 3])
def test_a_job_that_diverges_ends_at_its_best_and_leaves_the_others_alone(from_step, tmp_path):
    class Diverging(Problem):
        def gradients(self, step, jobs):
            found = super().gradients(step, jobs)
            if "b" in jobs and step >= from_step:
                self.weights["b"].grad.fill_(float("nan"))
                found["b"]["loss"] = float("nan")
            return found

    both, alone = Diverging("ab"), Problem("a")
    fitted, wanted = both.fit(Plan(8, 1, 2), checkpoint=tmp_path / "c"), alone.fit(Plan(8, 1, 2))
    assert torch.equal(both.weights["a"], alone.weights["a"])
    assert fitted["a"].best_dev == wanted["a"].best_dev
    assert fitted["b"].steps == from_step and fitted["b"].best_step == (from_step // 2) * 2
    assert bool(both.weights["b"].isfinite().all())
    assert both.seen[-1] == (7, ("a",))


# The objective is the likelihood of answers: a short answer weighs no more than a long one of the same task.

CARD = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",))
TEXT = "aspirin and ibuprofen were given"
LISTED = Answer(entities=(Entity(0, 7, "Drug"), Entity(12, 21, "Drug")))


def examples(answers):
    return [Example(f"e{k}", f"e{k}", TEXT, answer) for k, answer in enumerate(answers)]


def data(backbone, answers, loss_per="task"):
    return Data.of(backbone, CARD, examples(answers), examples(answers), 0, loss_per=loss_per)


def first_token_weights(backbone, rows):
    """How heavy each row's first answer token is: its gradient over what cross-entropy alone gives, 2 (1 - p), where p is the
    probability of the right token."""
    weights = {}

    def losses_of(out, batch, chosen):
        out.logits.retain_grad()
        first = [int((batch.rows < number).sum()) for number in range(len(chosen))]
        weights.update({row.encoded: (out.logits, place) for row, place in zip(chosen, first, strict=True)})
        return {"loss": cross_entropy(out.logits, batch.targets, batch.rows)}

    prompt = torch.zeros(2, backbone.width, requires_grad=True)
    add_gradients(backbone, [Row(row, "p") for row in rows], {"p": prompt}, losses_of)

    def weight(row):
        logits, place = weights[row]
        right = logits[place].softmax(-1)[row.answer_ids[0]]
        return (logits.grad[place].abs().sum() / (2 * (1 - right))).item()

    return [weight(row) for row in rows]


def test_the_first_token_of_a_short_and_a_long_answer_of_a_task_weigh_the_same(tiny):
    short, long = data(tiny, [Answer(), LISTED]).train
    assert len(long.answer_ids) >= 3 * len(short.answer_ids)
    weights = first_token_weights(tiny, [short, long])
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)
    short, long = data(tiny, [Answer(), LISTED], "example").train
    weights = first_token_weights(tiny, [short, long])
    assert weights[0] >= 3 * weights[1]  # the former objective


@pytest.mark.parametrize(("loss_per", "says_none"), [("task", (0.22, 0.28)), ("example", (0.4, 0.8))])
def test_a_model_says_none_as_often_as_its_examples_do(tiny, unchanged, loss_per, says_none):
    rows = data(tiny, [Answer(), LISTED, LISTED, LISTED], loss_per)
    with baselines.whole(tiny) as inside:
        baselines.tune_weights(tiny, rows, inside, Plan(steps=75, batch_size=4, every=75), lr=0.02, seed=0)
        none = rows.train[0]
        (loss,) = row_losses(tiny, [Row(none, "weights")], {"weights": None}).tolist()
    low, high = says_none
    assert low <= torch.tensor(-loss * none.mean_answer_tokens).exp().item() <= high


def test_tasks_with_long_and_with_short_answers_weigh_the_same_in_a_mixed_batch(tiny):
    for answers in ([Answer()] * 2, [LISTED] * 2):
        rows = data(tiny, answers).train
        assert sum(len(row.answer_ids) / row.mean_answer_tokens for row in rows) == pytest.approx(len(rows))
