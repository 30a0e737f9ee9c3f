"""Fits whatever makes up prompts (or an adapter) to the examples of their tasks: the shared body of teachers, adaptation
and single-task baselines. Many jobs run at once: tasks, learning rates tried, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Encoded, encode, wrong_answers
from mpdd.data.mixture import single
from mpdd.data.task import Example, TaskCard
from mpdd.data.variations import asked
from mpdd.training.loop import Dev, Fitted, Group, Log, Losses, Plan, fit
from mpdd.training.passes import Row, add_gradients, answer_fit, mean_by_prompt, row_losses, row_parts
from mpdd.training.private import Private, fit_privately

Trained = TypeVar("Trained", covariant=True)
ChoiceLoss = Literal["likelihood", "t-few"]
ScoreDev = Callable[[Mapping[str, Tensor | None]], Mapping[str, float]]


@dataclass(frozen=True)
class Data:
    """Encoded training and validation rows of one task; with `private` units, their guarantee is kept in place of `train`."""

    train: Sequence[Encoded]
    dev: Sequence[Encoded]
    private: Private | None = None

    @classmethod
    def of(
        cls, backbone: Backbone, card: TaskCard, train: Sequence[Example], dev: Sequence[Example], length: int,
        rephrase_share: float = 0.0, loss_per: Literal["task", "example"] = "task", choice_loss: ChoiceLoss = "likelihood",
    ) -> Data:  # fmt: skip
        """Encode examples for a prompt of `length` tokens; the share `rephrase_share` of the training ones is asked otherwise.

        The loss of an answer is divided by the mean number of answer tokens of the training examples, or with `loss_per`
        example by its own number. With `choice_loss` t-few the wrong options of a choice take part (`mpdd.training.losses`).
        """
        room, parts = backbone.context - length, (asked(card, train, rephrase_share, 0), asked(card, dev, 0, 0))
        rows = [[_encode(backbone, c, e, room, choice_loss) for c, e in part] for part in parts]
        mean = _mean_answer_tokens(rows[0] or rows[1])

        def with_divisor(row: Encoded) -> Encoded:
            return replace(row, mean_answer_tokens=mean if loss_per == "task" else float(len(row.answer_ids)))

        of_train, of_dev = ([with_divisor(row) for row in part] for part in rows)
        return cls(of_train, of_dev)


def _encode(backbone: Backbone, card: TaskCard, example: Example, room: int, choice_loss: ChoiceLoss) -> Encoded:
    """Encode a row, with the wrong options where the loss wants them; the longest option has room behind the input."""
    row = encode(backbone.tokenizer, card, example, room, backbone.template)
    if choice_loss == "likelihood":
        return row
    wrong = tuple(a[: room // 2] for a in wrong_answers(backbone.tokenizer, card, example, backbone.template))
    surplus = max(map(len, wrong), default=0) - len(row.answer_ids)
    if surplus > 0:
        row = encode(backbone.tokenizer, card, example, room - surplus, backbone.template)
    return replace(row, wrong_answers=wrong)


def _mean_answer_tokens(rows: Sequence[Encoded]) -> float:
    return sum(len(row.answer_ids) for row in rows) / len(rows) if rows else 1.0


@dataclass(frozen=True)
class Watch:
    """Where a run keeps its checkpoint, tells how it goes, and by what the best state is chosen: the loss on dev; with
    `by_accuracy` the share of dev answer tokens that are the likeliest at their place; with `score_dev` what that says.

    `score_dev` takes each job's prompt (None: what is trained is inside the backbone) and returns its headline metric.
    """

    checkpoint: Path | None = None
    log: Log = lambda _job, _values: None
    tick: Callable[[], object] = lambda: None
    score_dev: ScoreDev | None = None
    by_accuracy: bool = False


@dataclass(frozen=True)
class Job:
    """One independent fit: its rows, the tensors trained, and the prompt made of them (None: they are in the backbone).

    `row_prompts`, where given, makes the prompt that each row of a training step stands under, from the number of the step and
    its rows; rows that are validated stand under `prompt`.
    """

    data: Data
    groups: Sequence[Group]
    prompt: Callable[[], Tensor | None]
    row_prompts: Callable[[int, Sequence[Encoded]], Sequence[Tensor]] | None = None


@dataclass(frozen=True)
class Trial(Generic[Trained]):
    """What one learning rate made, and how it went."""

    lr: float
    trained: Trained
    fitted: Fitted


def best(trials: Sequence[Trial[Trained]]) -> Trial[Trained]:
    """The trial that did best on dev, the first of equals."""
    return min(trials, key=lambda trial: trial.fitted.best_dev.rank)


def most_promising(trials: Sequence[Trial[Trained]]) -> Trial[Trained]:
    """The trial that goes on at the plan's halving, the first of equals."""
    return min(trials, key=lambda trial: trial.fitted.promise)


def tune(
    backbone: Backbone, jobs: Mapping[str, Job], plan: Plan, *, seed: int, watch: Watch | None = None, pause: bool = False
) -> dict[str, Fitted]:
    """Minimise each job's answer cross-entropy on its training rows, choosing its best state on its dev rows as `watch` says.

    The result of a job does not depend on the others, but that jobs named `TASK lr RATE` of one task are rivals in the plan's
    halving. Jobs whose tensors are in the backbone must run alone; with `pause` such a one stops at the halving.
    """
    watch = watch or Watch()
    if any(job.data.private for job in jobs.values()):
        return {name: _tune_privately(backbone, name, job, plan, watch) for name, job in jobs.items()}

    def gradients(step: int, names: Sequence[str]) -> Mapping[str, Losses]:
        rows: list[Row] = []
        prompts: dict[str, Tensor | None] = {}
        for name in names:
            drawn = single(jobs[name].data.train, size=plan.batch_size, step=step, seed=seed)
            row_prompts = _prompts_of(name, jobs[name], step, drawn)
            prompts |= dict(row_prompts)
            rows += [Row(encoded, prompt, 1 / plan.batch_size) for encoded, (prompt, _) in zip(drawn, row_prompts, strict=True)]
        losses = add_gradients(backbone, rows, prompts)["loss"].view(len(names), -1).mean(1)
        return {name: {"loss": loss} for name, loss in zip(names, losses.tolist(), strict=True)}

    def validate(names: Sequence[str]) -> Mapping[str, Dev]:
        with torch.no_grad():
            prompts = {name: jobs[name].prompt() for name in names}
        dev = {name: jobs[name].data.dev for name in names}
        if watch.by_accuracy:
            return fits(backbone, dev, prompts)
        losses = mean_losses(backbone, dev, prompts)
        metrics = watch.score_dev(prompts) if watch.score_dev else {}
        return {name: Dev(losses[name], metrics.get(name)) for name in names}

    groups = {name: job.groups for name, job in jobs.items()}
    return fit(
        groups, gradients, plan, validate=validate, checkpoint=watch.checkpoint, log=watch.log, tick=watch.tick,
        rivals=task_of, pause=pause,
    )  # fmt: skip


def _prompts_of(name: str, job: Job, step: int, rows: Sequence[Encoded]) -> list[tuple[str, Tensor | None]]:
    """The prompt of each row of a training step, with a name for it: one for all, or one for each."""
    if job.row_prompts is None:
        return [(name, job.prompt())] * len(rows)
    return [(f"{name} row {number}", prompt) for number, prompt in enumerate(job.row_prompts(step, rows))]


def _tune_privately(backbone: Backbone, name: str, job: Job, plan: Plan, watch: Watch) -> Fitted:
    if job.data.private is None:
        raise ValueError(f"{name} is not private, and others beside it are")
    return fit_privately(
        backbone, job.data.private, job.groups, lambda _: job.prompt(), plan, log=lambda _, values: watch.log(name, values),
        tick=watch.tick,
    )  # fmt: skip


def job_name(task: str, lr: float) -> str:
    """The name of the job that tries a rate for a task."""
    return f"{task} lr {lr:g}"


def task_of(job: str) -> str:
    """The task in the name of a job."""
    return job.rpartition(" lr ")[0]


def mean_losses(
    backbone: Backbone, data: Mapping[str, Sequence[Encoded]], prompts: Mapping[str, Tensor | None]
) -> dict[str, float]:
    """Mean loss of each name's rows under its prompt, without gradient: an answer's cross-entropy in nats, over the mean
    number of answer tokens of its task."""
    rows = [Row(encoded, name) for name, encoded_rows in data.items() for encoded in encoded_rows]
    return mean_by_prompt(row_losses(backbone, rows, prompts), rows)


def fits(backbone: Backbone, data: Mapping[str, Sequence[Encoded]], prompts: Mapping[str, Tensor | None]) -> dict[str, Dev]:
    """The mean loss of each name's rows under its prompt, and as metric the percentage of answer tokens that are the likeliest
    at their place, given the gold tokens before them. It needs no decoding, and where training makes a model surer than it
    should be, which raises the loss, it still tells whether answers get better."""
    rows = [Row(encoded, name) for name, encoded_rows in data.items() for encoded in encoded_rows]
    parts = {part: mean_by_prompt(values, rows) for part, values in row_parts(backbone, rows, prompts, answer_fit).items()}
    return {name: Dev(parts["loss"][name], 100 * parts["right"][name] / parts["tokens"][name]) for name in parts["loss"]}
