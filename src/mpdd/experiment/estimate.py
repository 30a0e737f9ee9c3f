"""How long an experiment will take and how much memory: a few real steps of each of its stages, multiplied.

Every stage runs through the functions that the experiment itself runs, on its own examples: a few steps once to warm up (the
first product of each shape is slow), then as many again that count. Where a stage has many rows, some jobs stand for all,
by their tokens; enough to fill the largest chunk of rows, so that the process reaches the memory of a real run. The
result is an upper bound where `patience` ends jobs early, and assumes that answers are as long as those of prompts that
have not learnt anything.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

import torch

from mpdd.data.batch import Encoded
from mpdd.data.mixture import mixed
from mpdd.experiment.config import Experiment
from mpdd.experiment.setup import Run, data_of, kinds_of, source_data
from mpdd.experiment.sources import fresh_metaprompt, weights_of
from mpdd.inference.predict import Request, predict
from mpdd.methods.options import Adapt, Steps
from mpdd.methods.registry import IN_THE_WEIGHTS, METHODS, MULTITASK, UNTRAINED, WITHOUT_EXAMPLES, rates_of
from mpdd.progress import Reporter
from mpdd.prompts.soft import initial_rows
from mpdd.training import baselines
from mpdd.training.distil import Weights, distil
from mpdd.training.loop import Fitted, Plan
from mpdd.training.one_task import teach
from mpdd.training.passes import TOKENS, Row
from mpdd.training.targets import cached
from mpdd.training.tune import Data

STEPS = 3  # that count, in each stage
_DEV = 16  # validation rows a task, at most
_TEST = 64  # test examples a target, at most


@dataclass(frozen=True)
class _Cost:
    """Seconds of a step and of a validation."""

    step: float
    validation: float

    def of(self, options: Steps) -> float:
        """Seconds of a whole run."""
        return options.steps * self.step + (1 + ceil(options.steps / options.every)) * self.validation


def predicted(experiment: Experiment, reporter: Reporter) -> dict[str, Any]:
    """Return `seconds` by stage and `peak_bytes` of the whole experiment (resident; on an accelerator, of its memory).

    Needs the experiment's data. Raises the errors of `Run.open`.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = Run.open(experiment, Path(folder) / "run", reporter, "")
        seconds = {"open": time.perf_counter() - began}
        if run.sources and not experiment.metaprompt:
            reporter.stage("Rehearsing the stages teach and distil")
            seconds["teach"] = _teaching(run)
            seconds |= _distilling(run, Path(folder))
        reporter.stage(f"Rehearsing {len(run.targets)} targets")
        seconds |= _comparing(run)
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    return {"seconds": {**rounded, "all": round(sum(seconds.values()), 1)}, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """The most memory that this process has had: of the accelerator where there is one, else resident."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")  # getrusage counts the parent's memory, too
    if status.exists():
        return 1024 * int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _teaching(run: Run) -> float:
    options, seed = run.experiment.teach, run.experiment.seeds[0]
    whole = {name: source_data(run, run.tasks[name]) for name in run.sources}
    chosen = _enough(whole, options.batch_size * len(options.lrs))
    data = {name: replace(whole[name], dev=whole[name].dev[:_DEV]) for name in chosen}
    starts = {name: _start(run, name) for name in chosen}

    def fit(plan: Plan, turn: int) -> Sequence[Fitted]:
        trials = teach(run.backbone, data, starts, plan, lrs=options.lrs, seed=seed + turn)
        return [trial.fitted for tried in trials.values() for trial in tried]

    return _cost(fit, options, train=_share(whole, data, "train"), dev=_share(whole, data, "dev")).of(options)


def _distilling(run: Run, folder: Path) -> dict[str, float]:
    """Stage 2, once for each kind of metaprompt, and LoRA on all sources where it takes part."""
    experiment, options = run.experiment, run.experiment.distil
    whole = {name: source_data(run, run.tasks[name]) for name in run.sources}
    data = {name: replace(part, dev=part.dev[:_DEV]) for name, part in whole.items()}
    prompts = {name: _start(run, name) for name in run.sources}
    weights = weights_of(options)
    caches = weights.needs_teachers and options.top_k > 0
    a_row = _asking(run, data, prompts, folder) if caches else 0.0
    dev = _share(whole, data, "dev")

    def distilled(weights: Weights, asked: float) -> float:
        def fit(plan: Plan, turn: int) -> Sequence[Fitted]:
            meta, cache = fresh_metaprompt(run, prompts), folder / f"said-{turn}"
            fitted = distil(
                run.backbone, data, prompts, meta, plan, lr_shared=options.lr_shared, lr_factors=options.lr_factors,
                weights=weights, seed=turn, cache=cache, kinds=kinds_of(run),
            )  # fmt: skip
            return [fitted]

        return _cost(fit, options, train=1.0, dev=dev, beside=asked).of(options)

    def adapter(plan: Plan, turn: int) -> Sequence[Fitted]:
        with baselines.lora(run.backbone, rank=experiment.adapt.lora_rank, seed=turn) as inside:
            return [baselines.tune_on_all(run.backbone, data, inside, plan, lr=1e-4, seed=turn)]

    times = 1 + any(METHODS[method].starts_from == "metaprompt-shared" for method in experiment.methods)
    stage_seconds = {"ask_teachers": times * a_row * _drawn(run, whole, options.steps, experiment.seeds[0])}
    stage_seconds["distil"] = times * distilled(weights, a_row * _drawn(run, data, STEPS, 1))
    if "mpdd-no-teachers" in experiment.methods:
        stage_seconds["distil"] += distilled(replace(weights, kl=0.0, hidden=0.0), 0.0)
    if adapters := [method for method in experiment.methods if method in MULTITASK]:  # all at the cost of LoRA
        once = _cost(adapter, options, train=1.0, dev=dev).of(options)
        tries = sum(len(getattr(experiment.adapt, MULTITASK[method])) for method in adapters)
        stage_seconds["adapters_of_sources"] = tries * once
    return stage_seconds


def _asking(run: Run, data: Mapping[str, Data], prompts: Mapping[str, torch.Tensor], folder: Path) -> float:
    """Seconds that asking a teacher about a row takes."""
    options = run.experiment.distil
    rows = [Row(row, name) for name, part in data.items() for row in part.train[: max(2, 256 // len(data))]]
    k = min(options.top_k, run.backbone.table.shape[0] - 1)
    began = time.perf_counter()
    cached(folder / "asked", run.backbone, prompts, rows, k=k, temperature=options.temperature)
    return (time.perf_counter() - began) / len(rows)


def _drawn(run: Run, data: Mapping[str, Data], steps: int, seed: int) -> int:
    """How many different rows so many steps of stage 2 draw."""
    options, pools = run.experiment.distil, {name: part.train for name, part in data.items()}
    size, stochastic, proportion = options.batch_size, options.stochastic, options.proportion
    drawn = (mixed(pools, size=size, step=step, seed=seed, stochastic=stochastic, proportion=proportion) for step in range(steps))
    return len({id(row) for batch in drawn for row in batch})


def _comparing(run: Run) -> dict[str, float]:
    experiment, options = run.experiment, run.experiment.adapt
    trained = [method for method in experiment.methods if method not in UNTRAINED]
    draws = len(experiment.shots) * len(experiment.seeds)
    answered = sum(1 if method in WITHOUT_EXAMPLES else draws for method in experiment.methods)
    selects = options.select_by == "metric"
    seconds = {"adapt": 0.0, "predict": 0.0} | ({"score_dev": 0.0} if selects else {})
    for target in run.targets:
        whole = data_of(run, run.tasks[target], "all", 0)
        data = replace(whole, dev=whole.dev[:_DEV])
        start, dev = _start(run, target), len(whole.dev) / max(1, len(data.dev))

        def tuned(plan: Plan, turn: int, data: Data = data, name: str = target, start: torch.Tensor = start) -> Sequence[Fitted]:
            trials = teach(run.backbone, {name: data}, {name: start}, plan, lrs=options.prompt_tuning, seed=turn)[name]
            return [trial.fitted for trial in trials]

        def adapted(plan: Plan, turn: int, data: Data = data) -> Sequence[Fitted]:
            with baselines.lora(run.backbone, rank=options.lora_rank, seed=turn) as inside:
                return [baselines.tune_weights(run.backbone, data, inside, plan, lr=1e-4, seed=turn)]

        cells = len(experiment.shots) * len(experiment.seeds)
        inside_weights = [method for method in trained if method in IN_THE_WEIGHTS]
        prompted = len(trained) - len(inside_weights)
        if prompted:
            tried = len(options.prompt_tuning)
            run_out = options.steps_of(tried) / (tried * options.steps)  # the share of all rates' steps that is left
            seconds["adapt"] += cells * prompted * run_out * _cost(tuned, options, train=1.0, dev=dev).of(options)
        if inside_weights:  # all at the cost of LoRA
            lists = [rates for method in inside_weights if (rates := rates_of(method, experiment.prompt.depth))]
            tries = sum(options.steps_of(len(getattr(options, rates))) / options.steps for rates in lists)
            seconds["adapt"] += cells * tries * _cost(adapted, options, train=1.0, dev=dev).of(options)
        test, card = run.tasks[target].test, run.tasks[target].task.card
        began = time.perf_counter()
        predict(run.backbone, [Request(card, example, start) for example in test[:_TEST]])
        an_answer = (time.perf_counter() - began) / min(_TEST, len(test))
        seconds["predict"] += an_answer * answered * len(test)
        if selects:
            scored = min(options.select_examples, len(whole.dev))
            seconds["score_dev"] += an_answer * cells * len(trained) * scored * _validations(options)
    return seconds


def _validations(options: Adapt) -> int:
    """How often a method's answers to dev examples are scored, over all the rates that it tries."""
    others = (len(options.mpdd) - 1) * (1 + ceil((options.halving_steps or options.steps) / options.every))
    return 1 + ceil(options.steps / options.every) + others


def _cost(
    fit: Callable[[Plan, int], Sequence[Fitted]], options: Steps, *, train: float, dev: float, beside: float = 0.0
) -> _Cost:
    """Run a stage for some steps, twice; what counts is the second. `train` and `dev` are how many times as many tokens
    the stage has; `beside` is what these few steps take before the first one."""
    plan = Plan(STEPS, options.batch_size, every=STEPS)
    fit(plan, 0)
    began = time.perf_counter()
    steps = sum(fitted.seconds for fitted in fit(plan, 1))
    whole = time.perf_counter() - began - beside
    return _Cost(steps / STEPS * train, max(0.0, whole - steps) / 2 * dev)  # validated before and after the steps


def _enough(data: Mapping[str, Data], rows: int) -> list[str]:
    """As many tasks, from the one with the longest rows on, as fill several chunks with `rows` of each, but at least four."""
    mean = {name: _tokens(part.train) / len(part.train) for name, part in data.items()}
    listed = sorted(data, key=lambda name: -mean[name])
    filled = list(accumulate(rows * mean[name] for name in listed))
    count = next((i + 1 for i, tokens in enumerate(filled) if tokens >= 2 * TOKENS), len(listed))
    return listed[: max(4, count)]


def _share(whole: Mapping[str, Data], part: Mapping[str, Data], split: str) -> float:
    """How many times as many tokens a step (train: the mean row of each task) or a validation (all rows) of `whole` has."""

    def of(data: Mapping[str, Data]) -> float:
        rows: Sequence[Sequence[Encoded]] = [getattr(encoded, split) for encoded in data.values()]
        return sum(_tokens(encoded) / (len(encoded) if split == "train" else 1) for encoded in rows)

    return of(whole) / of(part)


def _tokens(rows: Sequence[Encoded]) -> int:
    return sum(len(row.input_ids) + len(row.answer_ids) for row in rows)


def _start(run: Run, task: str) -> torch.Tensor:
    shape, text = run.experiment.prompt, run.tasks[task].task.card.instruction
    rows = initial_rows(run.backbone, shape.length, shape.start, depth=shape.depth, seed=0, text=text)
    return rows.to(run.backbone.device)
