"""The method on one page: data, teachers, metaprompt, adaptation to held-out targets, comparison.

Every stage is resumable: what a run folder holds already is not made again.
"""

from __future__ import annotations

import difflib
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mpdd import compute
from mpdd.backbone import Backbone
from mpdd.check import require_room, require_tasks
from mpdd.confidence import units
from mpdd.config import Distil, Experiment, Shots, rates_of
from mpdd.data import catalogue, store
from mpdd.data.leaks import NOTHING, RUN, Held, without
from mpdd.data.mixture import few_shot
from mpdd.data.task import Example, Task
from mpdd.data.types import render_input, render_target
from mpdd.errors import InputError
from mpdd.evaluation.compare import bootstrap_interval
from mpdd.evaluation.failures import at_most_shots, failures, failures_of, telling
from mpdd.evaluation.joint import comparisons, rows_over_seeds
from mpdd.evaluation.metrics import Scored, chance, metrics_for, score
from mpdd.evaluation.other import other_values
from mpdd.evaluation.reliability import reliability, reliability_of
from mpdd.evaluation.report import write_report
from mpdd.evaluation.results import write_results
from mpdd.evaluation.row import Row
from mpdd.evaluation.transfer import METHOD, transfer
from mpdd.files import write_atomically
from mpdd.methods import ALONE, IN_THE_WEIGHTS, METHODS, ORIGIN, UNTRAINED
from mpdd.methods.cell import Cell, Outcome, plan_of
from mpdd.progress import Reporter
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import initial_rows, row_width
from mpdd.prompts.store import Header, PromptFile, load, save_prompt
from mpdd.run_folder import RunFolder, commit, prompt_in, provenance
from mpdd.shard import Shard
from mpdd.training import baselines
from mpdd.training.distil import Weights, distil
from mpdd.training.teacher import teach
from mpdd.training.tune import Data, Trial, best, task_of

EXAMPLES_SHOWN = 3
ADAPTER = "lora-of-sources/adapter_model"
Metaprompt = Literal["metaprompt", "metaprompt-no-teachers", "metaprompt-shared"]
_METHOD_OF: Mapping[str, str] = {
    "metaprompt": "mpdd",
    "metaprompt-no-teachers": "mpdd-no-teachers",
    "metaprompt-shared": "shared-prompt",
}
_TAUGHT = frozenset(("metaprompt", "metaprompt-shared"))  # what is distilled from the teachers


@dataclass(frozen=True)
class Examples:
    """What an experiment uses of a task, drawn once by its limits; `left_out` counts what a target's test holds."""

    task: Task
    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    left_out: int = 0


@dataclass(frozen=True)
class Run:
    """An experiment with everything that its stages share; `sources` and `targets` name `tasks`."""

    experiment: Experiment
    folder: RunFolder
    backbone: Backbone
    tasks: Mapping[str, Examples]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    reporter: Reporter

    @classmethod
    def open(cls, experiment: Experiment, path: Path, reporter: Reporter, command: str, shard: Shard | None = None) -> Run:
        """Load the backbone and the data, and write down what the run is made from; with a `shard` for that part of its cells."""
        require_tasks(experiment)
        folder = RunFolder(path, experiment, shard)
        reporter.stage(f"Loading the backbone {experiment.backbone} and {len(_names(experiment))} tasks")
        backbone = compute.load(experiment.backbone, template=experiment.template, **experiment.compute.model_dump())
        require_room(experiment, backbone)
        held = Held.by(e for name in experiment.targets for e in catalogue.load(name).test)
        sources = {part.task.name: part for part in (draw(experiment, name, held) for name in experiment.sources)}
        targets = {part.task.name: part for part in (draw(experiment, name) for name in experiment.targets)}
        tasks = sources | targets
        hashes = {f: store.registry()[f].sha256 for part in tasks.values() for f in part.task.files}
        hashes |= {f"own/{name}": _digest(part) for name, part in tasks.items() if part.task.role == "user"}
        left_out = {name: part.left_out for name, part in tasks.items() if part.left_out}
        for name, number in left_out.items():
            reporter.say(f"  {name}: left out {number} examples that share a document or {RUN} words with a target's test")
        made = provenance(experiment, backbone, hashes, command)
        folder.write_provenance({**made, "left_out_of_sources": left_out})
        return cls(experiment, folder, backbone, tasks, tuple(sources), tuple(targets), reporter)


def run(experiment: Experiment, path: Path, reporter: Reporter, command: str = "") -> list[Row]:
    """The whole method; returns the rows of `results.json` and leaves a report beside them."""
    opened = Run.open(experiment, path, reporter, command)
    rows = compare_methods(opened, metaprompt_for(opened, experiment.methods))
    write_report(path)
    return rows


def prepare(run: Run) -> None:
    """Make all that the cells of the experiment start from: the metaprompt, and what single methods have from the sources."""
    _origins(run, run.experiment.methods, metaprompt_of(run))


def not_prepared(experiment: Experiment, path: Path) -> list[str]:
    """The names of what `prepare` makes of the sources that are not in the run folder at `path`."""
    methods = set(experiment.methods)
    if not experiment.sources or not methods - ALONE:
        return []
    names = ["metaprompt", *(name for method, name in ORIGIN.items() if method in methods)]
    names += [ADAPTER] * ("lora-multitask" in methods)
    missing = [name for name in names if not prompt_in(path, name).is_file()]
    if "spot" in methods or (distils(experiment) and _TAUGHT.intersection(missing)):
        teachers = [f"teacher-{catalogue.get(source).name}" for source in experiment.sources]
        missing = [*(name for name in teachers if not prompt_in(path, name).is_file()), *missing]
    return missing


def metaprompt_for(run: Run, methods: Sequence[str]) -> PromptFile | None:
    """The metaprompt, unless none of `methods` has anything from the sources."""
    return metaprompt_of(run) if set(methods) - ALONE else None


def metaprompt_of(run: Run) -> PromptFile | None:
    """The metaprompt that the experiment names, else the run folder's, made by stages 1 and 2; None where no method needs one."""
    if run.experiment.metaprompt:
        return _finished_metaprompt(run)
    if not run.experiment.sources:
        return None
    made = run.folder.prompt("metaprompt")
    if made.is_file():
        return load(made, run.backbone)
    return distil_sources(run, teach_sources(run) if distils(run.experiment) else {})


def distils(experiment: Experiment) -> bool:
    """Whether stage 2 needs teachers: for its losses, or to start from."""
    options = experiment.distil
    return weights_of(options).needs_teachers or options.start == "teachers"


def teach_sources(run: Run) -> dict[str, PromptFile]:
    """Stage 1: one soft prompt for each source, each at the rate that is best on its dev examples."""
    run.reporter.stage(f"Stage 1: teaching {len(run.sources)} source tasks")
    paths = {name: run.folder.prompt(f"teacher-{name}") for name in run.sources}
    missing = [name for name in run.sources if not paths[name].is_file()]
    if missing:
        _teach(run, {name: run.tasks[name] for name in missing}, paths)
    return {name: load(path, run.backbone) for name, path in paths.items()}


def distil_sources(run: Run, teachers: Mapping[str, PromptFile], name: Metaprompt = "metaprompt") -> PromptFile:
    """Stage 2: distil the teachers into one metaprompt; or, by `name`, without teachers, or without decomposition."""
    options = run.experiment.distil
    with_teachers = name != "metaprompt-no-teachers"
    path = run.folder.prompt(name)
    if path.is_file():
        return load(path, run.backbone)
    run.reporter.stage(f"Stage 2: distilling into one {name} of {run.experiment.prompt.length} virtual tokens")
    rows = {task: file.rows().to(run.backbone.device) for task, file in teachers.items()} if with_teachers else {}
    begun = _begun(run) if options.goes_on else None
    first = rows if options.start == "teachers" else {}
    meta = begun.metaprompt().to(run.backbone.device) if begun else fresh_metaprompt(run, first)
    weights = weights_of(options)
    cache = run.folder.path / "checkpoints" / f"teachers-say-{name}"
    with run.reporter.job(name, options.steps) as tick:
        fitted = distil(
            run.backbone,
            _all_sources(run),
            rows,
            meta,
            plan_of(options),
            lr_shared=options.lr_shared,
            lr_factors=None if name == "metaprompt-shared" else options.lr_factors,
            weights=weights if with_teachers else replace(weights, kl=0.0, hidden=0.0),
            seed=run.experiment.seeds[0],
            cache=cache,
            kinds=kinds_of(run),
            watch=run.folder.watch(f"distil/{name}", lambda: tick(1), stage="distil", method=_METHOD_OF[name], task="all"),
        )
    run.reporter.say(f"  {name}: dev loss {fitted.best_dev:.3f} (step {fitted.best_step} of {fitted.steps})")
    shutil.rmtree(cache, ignore_errors=True)
    made: dict[str, Any] = {"teachers": {task: teachers[task].header.digest for task in rows}}
    return save_metaprompt(run, path, meta, made | ({"start": begun.header.digest} if begun else {}))


def save_metaprompt(run: Run, path: Path, meta: MetaPrompt, made: Mapping[str, Any]) -> PromptFile:
    """Write a metaprompt of the run's sources; `made` goes into its provenance, beside the options of stage 2."""
    kinds = tuple(run.tasks[task].task.card.kind for task in meta.tasks)
    made = {**made, **_how(run, "distil")}
    made["options"]["start"] = Path(run.experiment.distil.start).name  # no path of the user's
    header = _header(run, kind="meta", rank=meta.rank, tasks=meta.tasks, kinds=kinds, provenance=made)
    return save_prompt(path, {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)


def kinds_of(run: Run) -> dict[str, str]:
    """The kind of each source's answers."""
    return {task: run.tasks[task].task.card.kind for task in run.sources}


def weights_of(options: Distil) -> Weights:
    """The losses of stage 2 and how it draws, as `distil` takes them."""
    return Weights(
        options.kl,
        options.hidden,
        options.temperature,
        options.stochastic,
        options.top_k,
        reverse=options.direction == "reverse",
        last_layer=options.layers == "last",
        proportion=options.proportion,
        strange=options.strange,
    )


def _adapter_of_sources(run: Run) -> dict[str, Tensor]:
    """A LoRA trained on the mixed batches of stage 2, every rate tried for as many steps, chosen on the sources' dev rows."""
    options, adapt, seed = run.experiment.distil, run.experiment.adapt, run.experiment.seeds[0]
    path = run.folder.prompt(ADAPTER)
    if path.is_file():
        return load_file(path)
    run.reporter.stage(f"Training LoRA on {len(run.sources)} sources")
    data, trials = _all_sources(run), []
    with run.reporter.job("lora", options.steps * len(adapt.lora)) as tick:
        for lr in adapt.lora:
            watch = run.folder.watch(
                f"multitask/lora/lr {lr:g}", lambda: tick(1), stage="distil", method="lora-multitask", task="all"
            )
            with baselines.lora(run.backbone, rank=adapt.lora_rank, seed=seed) as inside:
                fitted = baselines.tune_on_all(
                    run.backbone, data, inside, plan_of(options), lr=lr, seed=seed, stochastic=options.stochastic,
                    proportion=options.proportion, watch=watch,
                )  # fmt: skip
                trials.append(Trial(lr, {name: t.detach().cpu().clone() for name, t in inside.tensors.items()}, fitted))
    kept = best(trials)
    run.reporter.say(f"  lora: dev loss {kept.fitted.best_dev:.3f} at rate {kept.lr:g}")
    write_atomically(path, save({name: t.contiguous() for name, t in kept.made.items()}))
    return kept.made


def _all_sources(run: Run) -> dict[str, Data]:
    return {task: source_data(run, run.tasks[task]) for task in run.sources}


def _finished_metaprompt(run: Run) -> PromptFile:
    """A copy in the run folder, because prompts of factors alone need their metaprompt beside them."""
    path, copy = Path(run.experiment.metaprompt), run.folder.prompt("metaprompt")
    given = _fitting(run, path)
    shared = [task for task in given.metaprompt().tasks if task in run.targets]
    if shared:
        raise InputError(
            f"The metaprompt {path.name} was distilled from a target of this experiment",
            found=", ".join(shared),
            wanted="targets that it has not seen",
        )
    if not copy.is_file():
        write_atomically(copy, path.read_bytes())
    kept = load(copy, run.backbone)
    if kept.header.digest != given.header.digest:
        raise InputError(
            f"The metaprompt {path.name} has changed since this run began",
            found=f"digest {given.header.digest[:12]}",
            wanted=f"digest {kept.header.digest[:12]}",
            next_step="Choose another folder with --out, or delete this one.",
        )
    return kept


def _begun(run: Run) -> PromptFile:
    """The metaprompt that stage 2 goes on from."""
    path = Path(run.experiment.distil.start)
    given = _fitting(run, path)
    if (tasks := given.metaprompt().tasks) != run.sources:
        raise InputError(
            f"The metaprompt {path.name}, to go on from, is of other sources than the experiment",
            found=", ".join(tasks),
            wanted=f"{', '.join(run.sources)}, in this order",
        )
    return given


def _fitting(run: Run, path: Path) -> PromptFile:
    """The metaprompt in a file; `InputError` where its shape or template is not the run's."""
    given, shape = load(path, run.backbone), run.experiment.prompt
    wanted = (shape.length, shape.rank, _header(run, kind="meta").width)
    if (given.header.length, given.header.rank, given.header.width) != wanted:
        raise InputError(
            f"The metaprompt {path.name} has another shape than the experiment",
            found=f"length {given.header.length}, rank {given.header.rank}, width {given.header.width}",
            wanted=f"prompt.length {shape.length}, prompt.rank {shape.rank}, width {wanted[2]} (prompt.depth {shape.depth})",
        )
    if given.header.template not in (None, run.backbone.template):
        raise InputError(
            f"The metaprompt {path.name} was made with other text around every input",
            found=f"template {given.header.template.kind}",
            wanted=f"template {run.backbone.template.kind}, as the backbone's tokenizer has it",
        )
    return given


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


def cells_of(run: Run) -> list[Key]:
    """Every cell of the experiment; what is not trained has one for a target, with 0 shots."""
    experiment = run.experiment
    return [
        Key(target, method, shots, seed)
        for target in run.targets
        for method in experiment.methods
        for shots in (experiment.shots if method not in UNTRAINED else (0,))
        for seed in (experiment.seeds if method not in UNTRAINED else experiment.seeds[:1])
    ]


def remake(run: Run, name: str) -> Row:
    """Make one cell anew, with the stages before it where they are missing, whatever else is in the run folder.

    Raises `InputError` where the experiment has no such cell.
    """
    keys = {key.name: key for key in cells_of(run)}
    if name not in keys:
        near = difflib.get_close_matches(name, keys, n=1, cutoff=0.0)
        raise InputError(
            f"The experiment {run.experiment.name} has no cell {name}", wanted="TARGET/METHOD/SHOTS/sSEED",
            next_step=f"Perhaps {near[0]}.",
        )  # fmt: skip
    run.folder.forget(name)
    metaprompt = metaprompt_for(run, [keys[name].method])
    (row,) = compare_methods(run, metaprompt, only=lambda key: key.name == name)
    return row


def part(run: Run, pattern: str) -> list[Row]:
    """Make those of the missing cells whose names fit a shell pattern ("rqe/*"), and return the rows of all that fit.

    Nothing is written for the whole comparison: a last run over the cells of all parts does that. Raises `InputError` where
    no cell fits.
    """
    chosen = {key.name: key.method for key in cells_of(run) if fnmatchcase(key.name, pattern)}
    if not chosen:
        raise InputError(
            f"No cell of the experiment {run.experiment.name} fits {pattern}", wanted="a pattern of TARGET/METHOD/SHOTS/sSEED",
            next_step="Perhaps " + f"{run.targets[0]}/*.",
        )  # fmt: skip
    return compare_methods(run, metaprompt_for(run, list(chosen.values())), only=lambda key: key.name in chosen)


def compare_methods(run: Run, metaprompt: PromptFile | None, only: Callable[[Key], bool] | None = None) -> list[Row]:
    """Stage 3 and all baselines on every target; writes `results.json` and worked examples.

    With `only` its cells are made and nothing else is written.
    """
    keys = [key for key in cells_of(run) if only is None or only(key)]
    methods = tuple(dict.fromkeys(key.method for key in keys))
    targets = len({key.target for key in keys})
    run.reporter.stage(f"Stage 3: {len(keys)} cells: {targets} targets, {len(methods)} methods")
    origins = _origins(run, methods, metaprompt)
    found = [run.folder.unit(key.name, partial(_cell, run, key, origins[key.method])) for key in keys]
    if only is not None:
        return [Row.from_dict(cell["row"]) for cell in found]
    run.folder.take_in_parts()
    run.folder.note_commits(found)
    values = {target: metrics_for(run.tasks[target].task.card)[0].value for target in run.targets}
    rows = [*(Row.from_dict(cell["row"]) for cell in found), *rows_over_seeds(found, values)]
    write_results(run.folder.path / "results.json", rows)
    compared = comparisons(found, values)
    run.folder.write_json("comparisons.json", compared)
    run.folder.write_json("examples.json", _worked_examples(run, found))
    run.folder.write_json("metrics.json", [_all_metrics(cell) for cell in found])
    if failed := failures_of(found):
        run.folder.write_json("failures.json", failed)
    if reliable := reliability_of(found):
        run.folder.write_json("reliability.json", reliable)
    if metaprompt and (transferred := _transfer(run, metaprompt, found, compared)):
        run.folder.write_json("transfer.json", transferred)
    return rows


def _transfer(
    run: Run, metaprompt: PromptFile, cells: Sequence[Mapping[str, Any]], compared: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What transfers to what, by the factors of the metaprompt and of the prompts adapted from it; of prompts that are there."""
    adapted: dict[tuple[Shots, str], list[tuple[Any, Any]]] = {}
    for row in (cell["row"] for cell in cells if cell["row"]["method"] == METHOD):
        path = run.folder.prompt(Key(row["target"], METHOD, row["shots"], row["seed"]).name.replace("/", "-"))
        if path.is_file():
            tensors = load(path, run.backbone).tensors
            adapted.setdefault((row["shots"], row["target"]), []).append((tensors["u"][0].numpy(), tensors["v"][0].numpy()))
    u, v = metaprompt.tensors["u"].numpy(), metaprompt.tensors["v"].numpy()
    return transfer(dict(zip(metaprompt.header.tasks, zip(u, v, strict=True), strict=True)), adapted, compared)


@dataclass(frozen=True)
class Origin:
    """What a method has from the sources."""

    meta: PromptFile | None = None
    teachers: Mapping[str, PromptFile] = field(default_factory=dict)
    adapter: Mapping[str, Tensor] = field(default_factory=dict)


def _origins(run: Run, methods: Sequence[str], metaprompt: PromptFile | None) -> dict[str, Origin]:
    """What each method starts from, made now unless it is there."""
    shared = "shared-prompt" in methods and not run.folder.prompt(ORIGIN["shared-prompt"]).is_file()
    asked = "spot" in methods or (shared and distils(run.experiment))
    teachers = teach_sources(run) if asked else {}
    return {method: _origin(run, method, metaprompt, teachers) for method in methods}


def _origin(run: Run, method: str, metaprompt: PromptFile | None, teachers: Mapping[str, PromptFile]) -> Origin:
    """What `method` starts from, made now unless it is there."""
    if method == "lora-multitask":
        return Origin(metaprompt, adapter=_adapter_of_sources(run))
    if method in ORIGIN:
        return Origin(distil_sources(run, teachers, ORIGIN[method]))
    return Origin(metaprompt, teachers)


def draw(experiment: Experiment, name: str, held: Held = NOTHING) -> Examples:
    """Load a task and draw its examples within the experiment's limits; the same for every method and seed.

    Train and dev are without what shares a document or 13 words in a row with what is `held` (by the targets' tests).
    Raise `InputError` where that leaves none.
    """
    loaded, limits = catalogue.load(name), experiment.limits
    splits = without(loaded, held)
    left_out = sum(len(loaded[part]) - len(splits[part]) for part in ("train", "dev"))
    if left_out and not (splits.train and splits.dev):
        raise InputError(
            f"The source {catalogue.get(name).name} has no examples left",
            found=f"{left_out} that share a document or {RUN} words in a row with a target's test",
            wanted="train and dev examples that no target tests on",
        )
    train, dev, test = (
        few_shot(splits[part], most, 0) for part, most in (("train", limits.train), ("dev", limits.dev), ("test", limits.test))
    )
    return Examples(catalogue.get(name), train, dev, test, left_out)


def _teach(run: Run, tasks: Mapping[str, Examples], paths: Mapping[str, Path]) -> None:
    """All teachers in one process: mixed batches over one backbone, every rate tried for each task."""
    options, shape, seed = run.experiment.teach, run.experiment.prompt, run.experiment.seeds[0]
    starts = {
        name: initial_rows(run.backbone, shape.length, shape.start, depth=shape.depth, seed=seed, text=part.task.card.instruction)
        for name, part in tasks.items()
    }
    data = {name: source_data(run, part) for name, part in tasks.items()}
    with run.reporter.job("teachers", options.steps) as tick:
        watch = run.folder.watch("teach", lambda: tick(1), stage="teach", method="teacher", task=task_of)
        trials = teach(run.backbone, data, starts, plan_of(options), lrs=options.lrs, seed=seed, watch=watch)
    for name, tried in trials.items():
        chosen = best(tried)
        run.reporter.say(f"  {name}: dev loss {chosen.fitted.best_dev:.3f} at rate {chosen.lr:g}")
        header = _header(run, kind="soft", card=tasks[name].task.card, tasks=(name,), provenance=_how(run, "teach"))
        save_prompt(paths[name], {"rows": chosen.made.rows}, header)


def fresh_metaprompt(run: Run, teachers: Mapping[str, Tensor]) -> MetaPrompt:
    """A metaprompt to be trained, started from the mean of `teachers` [length, width], or as the experiment says."""
    shape, seed = run.experiment.prompt, run.experiment.seeds[0]
    listed = " ".join(run.tasks[name].task.card.instruction for name in run.sources)
    shared = initial_rows(run.backbone, shape.length, shape.start, depth=shape.depth, seed=seed, text=listed)
    if teachers:
        shared = torch.stack(list(teachers.values())).mean(0)
    return MetaPrompt(shared, run.sources, shape.rank, seed=seed).to(run.backbone.device)


def _cell(run: Run, key: Key, origin: Origin) -> dict[str, Any]:
    target, method, shots, seed, name = key.target, key.method, key.shots, key.seed, key.name
    examples, experiment = run.tasks[target], run.experiment
    trained = method not in UNTRAINED
    rates = rates_of(method, experiment.prompt.depth)
    passes = len(getattr(experiment.adapt, rates)) if rates and method in IN_THE_WEIGHTS else 1  # prompts try all rates at once
    steps = experiment.adapt.steps_of(passes) if trained else 0
    with run.reporter.job(f"{target} {method}", steps + len(examples.test)) as tick:
        cell = Cell(
            backbone=run.backbone,
            task=examples.task,
            data=data_of(run, examples, shots, seed) if trained else Data((), ()),
            dev=examples.dev,
            test=examples.test,
            meta=origin.meta,
            teachers=origin.teachers,
            adapter=origin.adapter,
            adapt=experiment.adapt,
            shape=experiment.prompt,
            seed=seed,
            save_to=run.folder.prompt(name.replace("/", "-")),
            watch_one=lambda trial: run.folder.watch(
                f"{name}/{trial}", lambda: tick(1), stage="adapt", method=method, task=target, seed=seed
            ),
            tick=tick,
            provenance=_how(run, "adapt"),
        )
        outcome = METHODS[method](cell)
    parsed = [p.parsed for p in outcome.predictions]
    sure = units(run.backbone.tokenizer, examples.task.card, examples.test, outcome.predictions)
    cut_inputs = sum(p.cut > 0 for p in outcome.predictions)
    scored = score(examples.task.card, examples.test, parsed)
    row = _row(run, examples, method, shots, seed, outcome, scored)
    run.reporter.say(
        f"  {target:<16} {method:<16} {row.metric} {row.value:5.1f}  [{row.ci_low:.1f}, {row.ci_high:.1f}]"
        f"  trainable {100 * row.trainable_fraction:.4f} %"
    )
    return {
        "row": asdict(row),
        "commit": commit(),
        "metrics": {**scored.values, **other_values(examples.task, examples.test, parsed)},
        "ungrounded": scored.ungrounded,
        "cut_inputs": cut_inputs,
        "failures": failures(examples.task.card, examples.test, parsed, cut_inputs),
        "reliability": reliability(sure, outcome.calibration),
        "lr": outcome.lr,
        "best_step": outcome.best_step,
        "documents": _documents(examples, scored.documents),
        "counts": scored.counts.tolist(),
        "outputs": _shown(examples, {e.id: p.output for e, p in zip(examples.test, outcome.predictions, strict=True)}),
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


def data_of(run: Run, examples: Examples, shots: Shots, seed: int) -> Data:
    """The encoded training (`shots` of them) and validation rows of a task."""
    train = examples.train if shots == "all" else few_shot(examples.train, shots, seed)
    return Data.of(run.backbone, examples.task.card, train, examples.dev, _longest(run))


def source_data(run: Run, examples: Examples) -> Data:
    """Of a source, with the share of its training rows asked otherwise that the experiment wants."""
    card, vary = examples.task.card, run.experiment.vary
    return Data.of(run.backbone, card, examples.train, examples.dev, _longest(run), vary)


def _longest(run: Run) -> int:
    """Virtual tokens of the longest prompt that inputs must leave room for."""
    return max(run.experiment.prompt.length, run.experiment.adapt.prompt_tuning_length)


def _all_metrics(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Every metric of a cell, the n2c2 script's among them, beside what names the cell."""
    names = ("target", "method", "shots", "seed")
    return {**{name: cell["row"][name] for name in names}, "values": cell["metrics"]}


def _shown(examples: Examples, values: dict[str, Any]) -> dict[str, Any]:
    """The values, or none of them for a user's own task: a run folder keeps no text of theirs."""
    return {} if examples.task.role == "user" else values


def _documents(examples: Examples, ids: Sequence[str]) -> list[str]:
    """The ids of documents; mere numbers for a user's own task, whose ids may be those of patients."""
    if examples.task.role != "user":
        return list(ids)
    numbers = {name: str(number) for number, name in enumerate(dict.fromkeys(ids))}
    return [numbers[name] for name in ids]


def _worked_examples(run: Run, cells: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """For each public target a few test examples with every method's output (first seed, most shots).

    Where mpdd was run, one that it gets right and others that it does not; else the first ones.
    """
    shown: dict[str, list[dict[str, Any]]] = {}
    for target in run.targets:
        examples = run.tasks[target]
        own = [cell for cell in cells if cell["row"]["target"] == target]
        if not all(cell["outputs"] for cell in own):  # a user's own task, or cells that were published without texts
            continue
        chosen = {method: own[place] for method, place in at_most_shots([cell["row"] for cell in own]).items()}
        counts = chosen[METHOD]["counts"] if METHOD in chosen else None
        shown[target] = [
            {
                "id": e.id,
                "input": render_input(examples.task.card, e),
                "gold": render_target(examples.task.card, e),
                "predictions": {method: cell["outputs"][e.id] for method, cell in chosen.items()},
            }
            for e in telling(examples.task.card, examples.test, counts, EXAMPLES_SHOWN)
        ]
    return shown


def _header(run: Run, **values: Any) -> Header:
    return Header(
        backbone=run.backbone.name,
        fingerprint=run.backbone.fingerprint,
        template=run.backbone.template,
        length=run.experiment.prompt.length,
        width=row_width(run.backbone, run.experiment.prompt.depth),
        depth=run.experiment.prompt.depth,
        **values,
    )


def _how(run: Run, stage: str) -> dict[str, Any]:
    return {"experiment": run.experiment.name, "stage": stage, "options": getattr(run.experiment, stage).model_dump(mode="json")}


def _digest(part: Examples) -> str:
    """The sha256 over the card and all examples of a user's own task, which has no pinned files."""
    return hashlib.sha256(repr((part.task.card, part.train, part.dev, part.test)).encode("utf-8", "backslashreplace")).hexdigest()


def _names(experiment: Experiment) -> tuple[str, ...]:
    return (*experiment.sources, *experiment.targets)
