"""Stage 3 and its baselines: one cell is one method on one target, with so many examples and one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.task import Example, TaskCard
from mpdd.evaluation.compare import bootstrap_interval
from mpdd.evaluation.failures import failures
from mpdd.evaluation.metrics import Scored, chance, metrics_for, score
from mpdd.evaluation.n2c2 import other_values
from mpdd.evaluation.reliability import reliability
from mpdd.evaluation.row import Row
from mpdd.experiment.config import Experiment, Shots
from mpdd.experiment.folder import commit
from mpdd.experiment.origins import Origin
from mpdd.experiment.setup import Examples, Run, data_of, how, training_examples
from mpdd.inference.confidence import units
from mpdd.inference.predict import Request, predict
from mpdd.methods.cell import Cell, Outcome
from mpdd.methods.options import Adapt
from mpdd.methods.registry import IN_THE_WEIGHTS, METHODS, UNTRAINED, WITHOUT_EXAMPLES, rates_of
from mpdd.training.tune import Data, ScoreDev


@dataclass(frozen=True)
class Key:
    """What a cell of the comparison is named by."""

    target: str
    method: str
    shots: Shots
    seed: int

    @property
    def name(self) -> str:
        """TARGET/METHOD/SHOTS/sSEED."""
        return f"{self.target}/{self.method}/{self.shots}/s{self.seed}"


def cells_of(experiment: Experiment, targets: Sequence[str]) -> list[Key]:
    """Every cell of the experiment on `targets`; what uses no example has one for a target, with 0 shots."""
    return [
        Key(target, method, shots, seed)
        for target in targets
        for method in experiment.methods
        for shots in (experiment.shots if method not in WITHOUT_EXAMPLES else (0,))
        for seed in (experiment.seeds if method not in WITHOUT_EXAMPLES else experiment.seeds[:1])
    ]


def row_line(row: Row) -> str:
    """The line that a run says of a cell when it is made."""
    return (
        f"  {row.target:<16} {row.method:<16} {row.metric} {row.value:5.1f}  [{row.ci_low:.1f}, {row.ci_high:.1f}]"
        f"  trainable {100 * row.trainable_fraction:.4f} %"
    )


def make_cell(run: Run, key: Key, origin: Origin) -> dict[str, Any]:
    """Adapt, answer the test examples and score; everything about a cell that the comparison and its report need."""
    target, method, shots, seed, name = key.target, key.method, key.shots, key.seed, key.name
    examples, experiment = run.tasks[target], run.experiment
    has_examples = method not in WITHOUT_EXAMPLES
    rates = rates_of(method, experiment.prompt.depth)
    passes = len(getattr(experiment.adapt, rates)) if rates and method in IN_THE_WEIGHTS else 1  # prompts try all rates at once
    steps = experiment.adapt.steps_of(passes) if method not in UNTRAINED else 0
    with run.reporter.job(f"{target} {method}", steps + len(examples.test)) as tick:
        cell = Cell(
            backbone=run.backbone,
            task=examples.task,
            data=data_of(run, examples, shots, seed) if has_examples else Data((), ()),
            train=training_examples(examples, shots, seed) if has_examples else (),
            loss_per=experiment.loss_per,
            choice_loss=experiment.choice_loss,
            dev=examples.dev,
            test=examples.test,
            meta=origin.meta,
            teachers=origin.teachers,
            adapter=origin.adapter,
            adapt=experiment.adapt,
            shape=experiment.prompt,
            seed=seed,
            save_to=run.folder.prompt(name.replace("/", "-")),
            watch_one=lambda trial: replace(
                run.folder.watch(f"{name}/{trial}", lambda: tick(1), stage="adapt", method=method, task=target, seed=seed),
                score_dev=dev_scorer(
                    run.backbone, examples.task.card, examples.dev, experiment.adapt, grounded=experiment.decoding.grounded
                ),
                by_accuracy=experiment.adapt.select_by == "accuracy",
            ),
            tick=tick,
            provenance={**how(run, "adapt"), "decoding": experiment.decoding.model_dump(), "recipe": _recipe(experiment, key)},
            grounded=experiment.decoding.grounded,
            fits_priors=experiment.decoding.priors,
        )
        outcome = METHODS[method].run(cell)
    parsed = [p.parsed for p in outcome.predictions]
    sure = units(run.backbone.tokenizer, examples.task.card, examples.test, outcome.predictions)
    cut_inputs = sum(p.cut > 0 for p in outcome.predictions)
    scored = score(examples.task.card, examples.test, parsed)
    row = _row(run, examples, method, shots, seed, outcome, scored)
    run.reporter.say(row_line(row))
    return {
        "row": asdict(row),
        "commit": commit(),
        "train_examples": len(cell.train),
        "test_examples": examples.test_examples,
        "metrics": {**scored.values, **other_values(examples.task, examples.test, parsed)},
        "ungrounded": scored.ungrounded,
        "cut_inputs": cut_inputs,
        "failures": failures(examples.task.card, examples.test, parsed, cut_inputs),
        "reliability": reliability(sure, outcome.calibration),
        "priors": dict(outcome.priors),
        "lr": outcome.lr,
        "best_step": outcome.best_step,
        "documents": _documents(examples, scored.documents),
        "counts": scored.counts.tolist(),
        "outputs": _shown(examples, {e.id: p.output for e, p in zip(examples.test, outcome.predictions, strict=True)}),
    }


def _recipe(experiment: Experiment, key: Key) -> dict[str, Any]:
    """What an audit needs beside the options of `adapt` to adapt a prompt of this cell again (`experiment/again.py`)."""
    return {
        "method": key.method, "seed": key.seed, "shots": key.shots, "train_limit": experiment.limits.train,
        "loss_per": experiment.loss_per, "choice_loss": experiment.choice_loss, "start": experiment.prompt.start,
    }  # fmt: skip


def dev_scorer(
    backbone: Backbone, card: TaskCard, examples: Sequence[Example], options: Adapt, *, grounded: bool
) -> ScoreDev | None:
    """Scores each prompt by the headline metric of its answers to dev examples, where the options select by it."""
    if options.select_by != "metric":
        return None
    dev = examples[: options.select_examples]

    def score_dev(prompts: Mapping[str, Tensor | None]) -> dict[str, float]:
        requests = [Request(card, e, prompt, grounded=grounded) for prompt in prompts.values() for e in dev]
        answers = iter(predict(backbone, requests))
        parsed = {name: [next(answers).parsed for _ in dev] for name in prompts}
        return {name: scored.values[scored.headline] for name in prompts for scored in [score(card, dev, parsed[name])]}

    return score_dev


def _row(run: Run, examples: Examples, method: str, shots: Shots, seed: int, outcome: Outcome, scored: Scored) -> Row:
    card = examples.task.card
    headline = metrics_for(card)[0]
    interval = bootstrap_interval(scored.counts, scored.documents, headline.value)
    return Row(
        method=method,
        backbone=Path(run.experiment.backbone).name,
        backbone_parameters=run.backbone.parameters,
        target=card.name,
        task_type=card.type,
        shots=shots,
        seed=seed,
        metric=headline.name,
        value=interval.value,
        ci_low=interval.low,
        ci_high=interval.high,
        n_examples=scored.n_examples,
        chance=chance(card, examples.test),
        unparseable=scored.unparseable,
        trainable_parameters=outcome.trainable,
        trainable_fraction=outcome.trainable / run.backbone.parameters,
        stored_bytes=outcome.stored_bytes,
        train_examples_seen=outcome.examples,
        train_seconds=round(outcome.seconds, 2),
        tuning_trials=outcome.trials,
    )


def _shown(examples: Examples, values: dict[str, Any]) -> dict[str, Any]:
    """The values, or none of them for a user's own task: a run folder keeps no text of theirs."""
    return {} if examples.task.role == "user" else values


def _documents(examples: Examples, ids: Sequence[str]) -> list[str]:
    """The ids of documents; mere numbers for a user's own task, whose ids may be those of patients."""
    if examples.task.role != "user":
        return list(ids)
    numbers = {name: str(number) for number, name in enumerate(dict.fromkeys(ids))}
    return [numbers[name] for name in ids]
