"""The method on one page: data, teachers, metaprompt, adaptation to held-out targets, comparison.

Every stage is resumable: what a run folder holds already is not made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mpdd import backbone as backbones
from mpdd.backbone import Backbone
from mpdd.check import require_room
from mpdd.config import Experiment, Shots
from mpdd.data import catalogue, store
from mpdd.data.mixture import few_shot
from mpdd.data.splits import without_documents
from mpdd.data.task import Example, Task
from mpdd.data.types import render_input, render_target
from mpdd.evaluation.compare import bootstrap_interval
from mpdd.evaluation.metrics import Scored, chance, metrics_for, score
from mpdd.evaluation.report import write_report
from mpdd.evaluation.results import write_results
from mpdd.evaluation.row import Row
from mpdd.methods import METHODS, UNTRAINED, Cell, Outcome
from mpdd.progress import Reporter
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import initial_rows
from mpdd.prompts.store import Header, PromptFile, load, save_prompt
from mpdd.run_folder import RunFolder, provenance
from mpdd.training.distil import Weights, distil
from mpdd.training.loop import Plan
from mpdd.training.teacher import teach
from mpdd.training.tune import Data

EXAMPLES_SHOWN = 3


@dataclass(frozen=True)
class Examples:
    """What an experiment uses of a task, drawn once by its limits."""

    task: Task
    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]


@dataclass(frozen=True)
class Run:
    """An experiment with everything that its stages share."""

    experiment: Experiment
    folder: RunFolder
    backbone: Backbone
    tasks: Mapping[str, Examples]
    reporter: Reporter

    @classmethod
    def open(cls, experiment: Experiment, path: Path, reporter: Reporter, command: str) -> Run:
        """Load the backbone and the data, and write down what the run is made from."""
        folder = RunFolder(path, experiment)
        reporter.stage(f"Loading the backbone {experiment.backbone} and {len(_names(experiment))} tasks")
        backbone = backbones.load(experiment.backbone)
        require_room(experiment, backbone)
        held_out = {e.document for name in experiment.targets for e in catalogue.load(name).test}
        tasks = {name: draw(experiment, name, held_out) for name in experiment.sources}
        tasks |= {name: draw(experiment, name) for name in experiment.targets}
        files = {f: store.registry()[f].sha256 for part in tasks.values() for f in part.task.files}
        folder.write_json("provenance.json", provenance(experiment, backbone, files, command))
        return cls(experiment, folder, backbone, tasks, reporter)


def run(experiment: Experiment, path: Path, reporter: Reporter, command: str = "") -> list[Row]:
    """The whole method; returns the rows of `results.json` and leaves a report beside them."""
    opened = Run.open(experiment, path, reporter, command)
    teachers = teach_sources(opened)
    metaprompt = distil_sources(opened, teachers)
    rows = compare_methods(opened, metaprompt)
    write_report(path)
    return rows


def teach_sources(run: Run) -> dict[str, PromptFile]:
    """Stage 1: one soft prompt for each source, each at the rate that is best on its dev examples."""
    run.reporter.stage(f"Stage 1: teaching {len(run.experiment.sources)} source tasks")
    return {name: _teacher(run, run.tasks[name]) for name in run.experiment.sources}


def distil_sources(run: Run, teachers: Mapping[str, PromptFile], *, with_teachers: bool = True) -> PromptFile:
    """Stage 2: distil the teachers into one metaprompt."""
    options, name = run.experiment.distil, "metaprompt" if with_teachers else "metaprompt-no-teachers"
    path = run.folder.prompt(name)
    if path.is_file():
        return load(path, run.backbone)
    run.reporter.stage(f"Stage 2: distilling into one {name} of {run.experiment.prompt.length} virtual tokens")
    method = "mpdd" if with_teachers else "mpdd-no-teachers"
    rows = {task: file.rows().to(run.backbone.device) for task, file in teachers.items()}
    meta = _fresh_metaprompt(run, rows if options.start == "teachers" and with_teachers else {})
    weights = Weights(options.kl, options.hidden, options.temperature, options.stochastic)
    with run.reporter.job(name, options.steps) as tick:
        fitted = distil(
            run.backbone,
            {task: _data(run, run.tasks[task], "all", 0) for task in run.experiment.sources},
            rows,
            meta,
            Plan(options.steps, options.batch_size, options.every),
            lr_shared=options.lr_shared,
            lr_factors=options.lr_factors,
            weights=weights if with_teachers else replace(weights, kl=0.0, hidden=0.0),
            seed=run.experiment.seeds[0],
            watch=run.folder.watch(f"distil/{name}", lambda: tick(1), stage="distil", method=method, task="all"),
        )
    run.reporter.say(f"  {name}: dev loss {fitted.best_dev:.3f} (step {fitted.best_step} of {fitted.steps})")
    made = {"teachers": {task: file.header.digest for task, file in teachers.items()}, **_how(run, "distil")}
    header = _header(run, kind="meta", rank=meta.rank, tasks=meta.tasks, provenance=made)
    return save_prompt(path, {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)


def compare_methods(run: Run, metaprompt: PromptFile, only: Sequence[str] | None = None) -> list[Row]:
    """Stage 3 and all baselines on every target; writes `results.json` and worked examples.

    With `only` some methods their cells are made and nothing else is written.
    """
    methods = [m for m in run.experiment.methods if only is None or m in only]
    cells = [
        (method, target, shots, seed)
        for target in run.experiment.targets
        for method in methods
        for shots in (run.experiment.shots if method not in UNTRAINED else (0,))
        for seed in (run.experiment.seeds if method not in UNTRAINED else run.experiment.seeds[:1])
    ]
    run.reporter.stage(f"Stage 3: {len(cells)} cells: {len(run.experiment.targets)} targets, {len(methods)} methods")
    no_teachers = None
    if "mpdd-no-teachers" in methods:
        no_teachers = distil_sources(run, {}, with_teachers=False)
    found = []
    for method, target, shots, seed in cells:
        meta = no_teachers if method == "mpdd-no-teachers" else metaprompt
        name = f"{target}/{method}/{shots}/s{seed}"
        found.append(run.folder.unit(name, partial(_cell, run, method, target, shots, seed, meta)))
    rows = [Row.from_dict(cell["row"]) for cell in found]
    if only is not None:
        return rows
    write_results(run.folder.path / "results.json", rows)
    run.folder.write_json("examples.json", _worked_examples(run, found))
    return rows


def draw(experiment: Experiment, name: str, held_out: Set[str] = frozenset()) -> Examples:
    """Load a task and draw its examples within the experiment's limits; the same for every method and seed.

    Documents in `held_out` (those that a target tests on) are left out.
    """
    splits, limits = without_documents(catalogue.load(name), held_out), experiment.limits
    train, dev, test = (
        few_shot(splits[part], most, 0) for part, most in (("train", limits.train), ("dev", limits.dev), ("test", limits.test))
    )
    return Examples(catalogue.get(name), train, dev, test)


def _teacher(run: Run, examples: Examples) -> PromptFile:
    options, card, shape = run.experiment.teach, examples.task.card, run.experiment.prompt
    path = run.folder.prompt(f"teacher-{card.name}")
    if path.is_file():
        return load(path, run.backbone)
    data, seed = _data(run, examples, "all", 0), run.experiment.seeds[0]
    start = initial_rows(run.backbone, shape.length, shape.start, seed=seed, text=card.instruction)
    plan, trials = Plan(options.steps, options.batch_size, options.every), []
    with run.reporter.job(card.name, len(options.lrs) * options.steps) as tick:
        for lr in options.lrs:
            labels = {"stage": "teach", "method": "teacher", "task": card.name}
            watch = run.folder.watch(f"teach/{card.name}/lr {lr:g}", lambda: tick(1), **labels)
            trials.append((lr, *teach(run.backbone, data, start, plan, lr=lr, seed=seed, watch=watch)))
    lr, prompt, fitted = min(trials, key=lambda trial: trial[2].best_dev)
    run.reporter.say(f"  {card.name}: dev loss {fitted.best_dev:.3f} at rate {lr:g}")
    header = _header(run, kind="soft", card=card, tasks=(card.name,), provenance=_how(run, "teach"))
    return save_prompt(path, {"rows": prompt.rows}, header)


def _fresh_metaprompt(run: Run, teachers: Mapping[str, Tensor]) -> MetaPrompt:
    shape, seed = run.experiment.prompt, run.experiment.seeds[0]
    listed = " ".join(run.tasks[name].task.card.instruction for name in run.experiment.sources)
    shared = initial_rows(run.backbone, shape.length, shape.start, seed=seed, text=listed)
    if teachers:
        shared = torch.stack(list(teachers.values())).mean(0)
    return MetaPrompt(shared, run.experiment.sources, shape.rank, seed=seed).to(run.backbone.device)


def _cell(run: Run, method: str, target: str, shots: Shots, seed: int, meta: PromptFile | None) -> dict[str, Any]:
    examples, experiment = run.tasks[target], run.experiment
    name = f"{target}/{method}/{shots}/s{seed}"
    trained = method not in UNTRAINED
    steps = experiment.adapt.steps * len(experiment.adapt.mpdd) if trained else 0
    with run.reporter.job(f"{target} {method}", steps + len(examples.test)) as tick:
        cell = Cell(
            backbone=run.backbone,
            task=examples.task,
            data=_data(run, examples, shots, seed) if trained else Data((), ()),
            test=examples.test,
            meta=meta,
            adapt=experiment.adapt,
            length=experiment.prompt.length,
            start=experiment.prompt.start,
            seed=seed,
            save_to=run.folder.prompt(name.replace("/", "-")),
            watch=lambda trial: run.folder.watch(
                f"{name}/{trial}", lambda: tick(1), stage="adapt", method=method, task=target, seed=seed
            ),
            tick=tick,
            provenance=_how(run, "adapt"),
        )
        outcome = METHODS[method](cell)
    scored = score(examples.task.card, examples.test, [p.parsed for p in outcome.predictions])
    row = _row(run, examples, method, shots, seed, outcome, scored)
    run.reporter.say(
        f"  {target:<16} {method:<16} {row.metric} {row.value:5.1f}  [{row.ci_low:.1f}, {row.ci_high:.1f}]"
        f"  trainable {100 * row.trainable_fraction:.4f} %"
    )
    return {
        "row": asdict(row),
        "metrics": scored.values,
        "ungrounded": scored.ungrounded,
        "cut_inputs": sum(p.cut > 0 for p in outcome.predictions),
        "lr": outcome.lr,
        "best_step": outcome.best_step,
        "documents": list(scored.documents),
        "counts": scored.counts.tolist(),
        "outputs": {e.id: p.output for e, p in zip(examples.test, outcome.predictions, strict=True)},
    }


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


def _data(run: Run, examples: Examples, shots: Shots, seed: int) -> Data:
    train = examples.train if shots == "all" else few_shot(examples.train, shots, seed)
    return Data.of(run.backbone, examples.task.card, train, examples.dev, run.experiment.prompt.length)


def _worked_examples(run: Run, cells: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """For each target the first test examples with every method's output (first seed, most shots)."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for target in run.experiment.targets:
        examples = run.tasks[target]
        outputs = {c["row"]["method"]: c["outputs"] for c in reversed(cells) if c["row"]["target"] == target}
        shown[target] = [
            {
                "id": e.id,
                "input": render_input(examples.task.card, e),
                "gold": render_target(examples.task.card, e),
                "predictions": {method: found[e.id] for method, found in reversed(outputs.items())},
            }
            for e in examples.test[:EXAMPLES_SHOWN]
        ]
    return shown


def _header(run: Run, **values: Any) -> Header:
    return Header(
        backbone=run.backbone.name,
        fingerprint=run.backbone.fingerprint,
        length=run.experiment.prompt.length,
        width=run.backbone.width,
        **values,
    )


def _how(run: Run, stage: str) -> dict[str, Any]:
    return {"experiment": run.experiment.name, "stage": stage, "options": getattr(run.experiment, stage).model_dump(mode="json")}


def _names(experiment: Experiment) -> tuple[str, ...]:
    return (*experiment.sources, *experiment.targets)
