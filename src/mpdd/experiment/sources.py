"""Stages 1 and 2: teachers of the sources, and the metaprompt distilled from them; and its rivals, adapters of all sources."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mpdd.errors import InputError
from mpdd.experiment.config import Distil, Experiment
from mpdd.experiment.setup import Examples, Run, header_of, how, kinds_of, source_data
from mpdd.files import write_atomically
from mpdd.methods.cell import plan_of
from mpdd.methods.registry import ALONE, MULTITASK
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import initial_rows
from mpdd.prompts.store import PromptFile, load_prompt, save_prompt
from mpdd.training import baselines
from mpdd.training.distil import Weights, distil
from mpdd.training.one_task import teach
from mpdd.training.tune import Data, Trial, best, task_of

_METHOD_OF: Mapping[str, str] = {
    "metaprompt": "mpdd",
    "metaprompt-no-teachers": "mpdd-no-teachers",
    "metaprompt-shared": "shared-prompt",
}


def teach_sources(run: Run) -> dict[str, PromptFile]:
    """Stage 1: one soft prompt for each source, each at the rate that is best on its dev examples."""
    run.reporter.stage(f"Stage 1: teaching {len(run.sources)} source tasks")
    paths = {name: run.folder.prompt(f"teacher-{name}") for name in run.sources}
    missing = [name for name in run.sources if not paths[name].is_file()]
    if missing:
        _teach(run, {name: run.tasks[name] for name in missing}, paths)
    return {name: load_prompt(path, run.backbone) for name, path in paths.items()}


def distil_sources(run: Run, teachers: Mapping[str, PromptFile], name: str = "metaprompt") -> PromptFile:
    """Stage 2: distil the teachers into one metaprompt; or, by `name`, without teachers, or without decomposition."""
    options = run.experiment.distil
    with_teachers = name != "metaprompt-no-teachers"
    path = run.folder.prompt(name)
    if path.is_file():
        return load_prompt(path, run.backbone)
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
    run.reporter.say(f"  {name}: dev loss {fitted.best_dev.loss:.3f} (step {fitted.best_step} of {fitted.steps})")
    shutil.rmtree(cache, ignore_errors=True)
    provenance: dict[str, Any] = {"teachers": {task: teachers[task].header.digest for task in rows}}
    return save_metaprompt(run, path, meta, provenance | ({"start": begun.header.digest} if begun else {}))


def metaprompt_for(run: Run, methods: Sequence[str], *, has_seen_targets: bool = False) -> PromptFile | None:
    """The metaprompt, unless none of `methods` starts from it. With `has_seen_targets` it may have been distilled from targets,
    as for a pack, where no method is held against another."""
    return metaprompt_of(run, has_seen_targets=has_seen_targets) if set(methods) - ALONE - set(MULTITASK) else None


def metaprompt_of(run: Run, *, has_seen_targets: bool = False) -> PromptFile | None:
    """The metaprompt that the experiment names, else the run folder's, made by stages 1 and 2; None where no method needs one.

    Raise `InputError` for one that was distilled from a target, unless it may (`has_seen_targets`).
    """
    if run.experiment.metaprompt:
        return _finished_metaprompt(run, has_seen_targets=has_seen_targets)
    if not run.experiment.sources:
        return None
    path = run.folder.prompt("metaprompt")
    if path.is_file():
        return load_prompt(path, run.backbone)
    return distil_sources(run, teach_sources(run) if distils(run.experiment) else {})


def distils(experiment: Experiment) -> bool:
    """Whether stage 2 needs teachers: for its losses, or to start from."""
    options = experiment.distil
    return weights_of(options).needs_teachers or options.start == "teachers"


def fresh_metaprompt(run: Run, teachers: Mapping[str, Tensor]) -> MetaPrompt:
    """A metaprompt to be trained, started from the mean of `teachers` [length, width], or as the experiment says."""
    shape, seed = run.experiment.prompt, run.experiment.seeds[0]
    listed = " ".join(run.tasks[name].task.card.instruction for name in run.sources)
    shared = initial_rows(run.backbone, shape.length, shape.start, depth=shape.depth, seed=seed, text=listed)
    if teachers:
        shared = torch.stack(list(teachers.values())).mean(0)
    return MetaPrompt(shared, run.sources, shape.rank, seed=seed).to(run.backbone.device)


def save_metaprompt(
    run: Run, path: Path, meta: MetaPrompt, provenance: Mapping[str, Any], privacy: Mapping[str, Any] | None = None
) -> PromptFile:
    """Write a metaprompt of the run's sources; `provenance` is written beside the options of stage 2. `privacy` is the guarantee
    that its training kept, where it did."""
    kinds = tuple(run.tasks[task].task.card.kind for task in meta.tasks)
    provenance = {**provenance, **how(run, "distil")}
    provenance["options"]["start"] = Path(run.experiment.distil.start).name  # no path of the user's
    header = header_of(
        run, kind="meta", rank=meta.rank, tasks=meta.tasks, kinds=kinds, provenance=provenance, privacy=dict(privacy or {})
    )
    return save_prompt(path, {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)


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
        held_out_share=options.held_out_share,
        examples=options.examples,
    )


def adapter_name(method: str) -> str:
    """The name of the prompt folder's file with the adapter of the sources that a method of `MULTITASK` starts from."""
    return f"{MULTITASK[method]}-of-sources/adapter_model"


def adapter_of_sources(run: Run, method: str) -> dict[str, Tensor]:
    """The adapter (LoRA or IA3) of `method`, trained on the mixed batches of stage 2; every rate is tried for as many steps, and
    the one that is best on the sources' dev rows is kept."""
    options, adapt, seed, kind = run.experiment.distil, run.experiment.adapt, run.experiment.seeds[0], MULTITASK[method]
    path = run.folder.prompt(adapter_name(method))
    if path.is_file():
        return load_file(path)
    run.reporter.stage(f"Training {kind} on {len(run.sources)} sources")
    rates: Sequence[float] = getattr(adapt, kind)
    data, trials = _all_sources(run), []
    with run.reporter.job(kind, options.steps * len(rates)) as tick:
        for lr in rates:
            watch = run.folder.watch(f"multitask/{kind}/lr {lr:g}", lambda: tick(1), stage="distil", method=method, task="all")
            with _placed(run, kind, seed) as inside:
                fitted = baselines.tune_on_all(
                    run.backbone, data, inside, plan_of(options), lr=lr, seed=seed, stochastic=options.stochastic,
                    proportion=options.proportion, watch=watch,
                )  # fmt: skip
                trials.append(Trial(lr, {name: t.detach().cpu().clone() for name, t in inside.tensors.items()}, fitted))
    best_trial = best(trials)
    run.reporter.say(f"  {kind}: dev loss {best_trial.fitted.best_dev.loss:.3f} at rate {best_trial.lr:g}")
    write_atomically(path, save({name: t.contiguous() for name, t in best_trial.trained.items()}))
    return best_trial.trained


def _placed(run: Run, kind: str, seed: int) -> baselines.Placed:
    if kind == "ia3":
        return baselines.ia3(run.backbone, seed=seed)
    return baselines.lora(run.backbone, rank=run.experiment.adapt.lora_rank, seed=seed)


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
        run.reporter.say(f"  {name}: dev loss {chosen.fitted.best_dev.loss:.3f} at rate {chosen.lr:g}")
        header = header_of(run, kind="soft", card=tasks[name].task.card, tasks=(name,), provenance=how(run, "teach"))
        save_prompt(paths[name], {"rows": chosen.trained.rows}, header)


def _all_sources(run: Run) -> dict[str, Data]:
    return {task: source_data(run, run.tasks[task]) for task in run.sources}


def _finished_metaprompt(run: Run, *, has_seen_targets: bool) -> PromptFile:
    """A copy in the run folder, because prompts of factors alone need their metaprompt beside them."""
    path, copy = Path(run.experiment.metaprompt), run.folder.prompt("metaprompt")
    given = _fitting(run, path)
    shared = [task for task in given.metaprompt().tasks if task in run.targets]
    if shared and not has_seen_targets:
        raise InputError(
            f"The metaprompt {path.name} was distilled from a target of this experiment",
            found=", ".join(shared),
            wanted="targets that it has not seen",
        )
    if not copy.is_file():
        write_atomically(copy, path.read_bytes())
    copied = load_prompt(copy, run.backbone)
    if copied.header.digest != given.header.digest:
        raise InputError(
            f"The metaprompt {path.name} has changed since this run began",
            found=f"digest {given.header.digest[:12]}",
            wanted=f"digest {copied.header.digest[:12]}",
            next_step="Choose another folder with --out, or delete this one.",
        )
    return copied


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
    given, shape = load_prompt(path, run.backbone), run.experiment.prompt
    wanted = (shape.length, shape.rank, header_of(run, kind="meta").width)
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
