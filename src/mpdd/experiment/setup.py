"""An experiment opened in a run folder: its backbone, its data and what all stages write down."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mpdd.backbone import compute
from mpdd.backbone.model import Backbone
from mpdd.data import catalogue, store
from mpdd.data.cards import losses
from mpdd.data.cards.fitting import fitted
from mpdd.data.leaks import NOTHING, RUN, Held, without
from mpdd.data.mixture import few_shot
from mpdd.data.task import Example, Splits, Task
from mpdd.errors import InputError, counted
from mpdd.experiment.check import require_room, require_tasks
from mpdd.experiment.config import Experiment, Shots
from mpdd.experiment.folder import RunFolder, provenance
from mpdd.files.shard import Shard
from mpdd.progress import Reporter
from mpdd.prompts.soft import row_width
from mpdd.prompts.store import Header, load_prompt
from mpdd.training.private import Guarantee, Private
from mpdd.training.tune import Data


@dataclass(frozen=True)
class Examples:
    """What an experiment uses of a task, drawn once by its limits; `left_out` counts what a target's test holds, `test_examples`
    all examples of the split that `test` was drawn from.

    Of a user's own task, `notes` count what its files hold that was skipped or read otherwise, and `warning` says whether
    much of the gold was lost.
    """

    task: Task
    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    left_out: int = 0
    notes: Mapping[str, int] = field(default_factory=dict)
    warning: str = ""
    test_examples: int = 0


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
        reporter.stage(f"Loading the backbone {experiment.backbone} and {counted(len(_names(experiment)), 'task')}")
        backbone = compute.load_backbone(experiment.backbone, template=experiment.template, **experiment.compute.model_dump())
        require_room(experiment, backbone)
        reporter.say("  Rows of a batch are {rows}: {rows_because}".format(**backbone.rows_path))
        loaded = {name: _load(experiment, name, backbone) for name in _names(experiment)}
        held = Held.by(e for name in experiment.targets for e in loaded[name][1][experiment.limits.test_from])
        drawn = [draw(experiment, name, held, loaded[name]) for name in experiment.sources]
        sources = {part.task.name: part for part in drawn}
        drawn = [draw(experiment, name, loaded=loaded[name]) for name in experiment.targets]
        targets = {part.task.name: part for part in drawn}
        for part, name in zip(drawn, experiment.targets, strict=True):
            there = len(loaded[name][1][experiment.limits.test_from])
            if part.task.role == "user" and len(part.test) < there:
                reporter.say(f"  {part.task.name}: scored on {len(part.test)} of its {there} test examples")
        tasks = sources | targets
        hashes = {f: store.registry()[f].sha256 for part in tasks.values() for f in part.task.files}
        hashes |= {f"own/{name}": _digest(part) for name, part in tasks.items() if part.task.role == "user"}
        left_out = {name: part.left_out for name, part in tasks.items() if part.left_out}
        for name, number in left_out.items():
            reporter.say(f"  {name}: left out {number} examples that share a document or {RUN} words with a target's test")
        notes = {name: dict(part.notes) for name, part in tasks.items() if part.notes}
        warnings = {name: part.warning for name, part in tasks.items() if part.warning}
        for name, counts in notes.items():
            for note, number in counts.items():
                reporter.say(f"  {name}: {number} {note}")
        for message in warnings.values():
            reporter.say(f"  Warning: {message}")
        record = provenance(experiment, backbone, hashes, command)
        if experiment.metaprompt:
            record["metaprompt"] = load_prompt(Path(experiment.metaprompt), backbone).header.digest
        record |= {"left_out_of_sources": left_out, "notes_on_data": notes, "warnings": warnings}
        folder.write_provenance(record)
        return cls(experiment, folder, backbone, tasks, tuple(sources), tuple(targets), reporter)


def _load(experiment: Experiment, name: str, backbone: Backbone) -> tuple[Task, Splits]:
    """Return a task with its splits; a user's texts in windows that fit the backbone, where the card does not set them."""
    as_on_card = catalogue.get(name)
    task = fitted(as_on_card, backbone.tokenizer, backbone.context, _longest(experiment), backbone.template)
    return task, catalogue.load(name) if task is as_on_card else task.load(Path())


def draw(experiment: Experiment, name: str, held: Held = NOTHING, loaded: tuple[Task, Splits] | None = None) -> Examples:
    """Draw a task's examples within the experiment's limits; the same for every method and seed.

    `loaded` is the task with its splits, where they are not those of the catalogue.
    Train and dev are without what shares a document or 13 words in a row with what is `held` (by the targets' tests).
    Raise `InputError` where that leaves none.
    """
    task, whole = loaded or (catalogue.get(name), catalogue.load(name))
    splits, limits = without(whole, held), experiment.limits
    left_out = sum(len(whole[part]) - len(splits[part]) for part in ("train", "dev"))
    if left_out and not (splits.train and splits.dev):
        raise InputError(
            f"The source {task.name} has no examples left",
            found=f"{left_out} that share a document or {RUN} words in a row with a target's test",
            wanted="train and dev examples that no target tests on",
        )
    train, dev, test = (
        few_shot(splits[part], most, 0) for part, most in (("train", limits.train), ("dev", limits.dev), ("test", limits.test))
    )
    if limits.test_from == "dev":
        chosen = {id(example) for example in dev}
        test = few_shot([example for example in splits.dev if id(example) not in chosen], limits.test, 0)
    drawn = Examples(task, train, dev, test, left_out, test_examples=len(whole[limits.test_from]))
    if task.role != "user":
        return drawn
    return replace(drawn, notes=splits.notes, warning=losses.warning(task.card, splits))


def data_of(run: Run, examples: Examples, shots: Shots, seed: int) -> Data:
    """The encoded training (`shots` of them) and validation rows of a task."""
    train, options = training_examples(examples, shots, seed), run.experiment.adapt
    privacy = options.privacy
    data = Data.of(
        run.backbone, examples.task.card, train, examples.dev, _longest(run.experiment), loss_per=run.experiment.loss_per,
        choice_loss=run.experiment.choice_loss,
    )  # fmt: skip
    if privacy is None:
        return data
    schedule = partial(Guarantee.calibrated, **dict(privacy), batch=options.batch_size, steps=options.steps)
    documents = [example.document for example in train]
    return replace(data, private=Private.of(data.train, documents, lambda units: schedule(units=units), privacy.unit))


def training_examples(examples: Examples, shots: Shots, seed: int) -> Sequence[Example]:
    """The training examples of a task that every method has with so many shots and this seed."""
    return examples.train if shots == "all" else few_shot(examples.train, shots, seed)


def source_data(run: Run, examples: Examples) -> Data:
    """Of a source, with the share of its training rows asked otherwise that the experiment wants."""
    card, share, loss_per = examples.task.card, run.experiment.rephrase_share, run.experiment.loss_per
    return Data.of(run.backbone, card, examples.train, examples.dev, _longest(run.experiment), share, loss_per)


def kinds_of(run: Run) -> dict[str, str]:
    """The kind of each source's answers."""
    return {task: run.tasks[task].task.card.kind for task in run.sources}


def header_of(run: Run, **values: Any) -> Header:
    """The header of a prompt of this run, with what is its own in `values`."""
    return Header(
        backbone=run.backbone.name,
        fingerprint=run.backbone.fingerprint,
        template=run.backbone.template,
        length=run.experiment.prompt.length,
        width=row_width(run.backbone, run.experiment.prompt.depth),
        depth=run.experiment.prompt.depth,
        **values,
    )


def how(run: Run, stage: str) -> dict[str, Any]:
    """How a stage was run, for the provenance of what it made."""
    return {"experiment": run.experiment.name, "stage": stage, "options": getattr(run.experiment, stage).model_dump(mode="json")}


def _longest(experiment: Experiment) -> int:
    """Virtual tokens of the longest prompt that inputs must leave room for."""
    return max(experiment.prompt.length, experiment.adapt.prompt_tuning_length)


def _digest(part: Examples) -> str:
    """The sha256 over the card and all examples of a user's own task, which has no pinned files."""
    return hashlib.sha256(repr((part.task.card, part.train, part.dev, part.test)).encode("utf-8", "backslashreplace")).hexdigest()


def _names(experiment: Experiment) -> tuple[str, ...]:
    return (*experiment.sources, *experiment.targets)
