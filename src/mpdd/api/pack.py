"""Prompt packs: the prompts of finished runs as one folder of small files, each with its score and its licence in its header.

A pack is a folder of prompt files in 16 bits with the metaprompt that they share and a README.md. It is read as any other folder
of prompt files. Each prompt is written as soon as it is done, and one that is there already is not made again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mpdd.api.pack_page import page
from mpdd.api.scoring import score_examples
from mpdd.data import catalogue, counts
from mpdd.data.task import Example, Task
from mpdd.errors import InputError
from mpdd.experiment import config
from mpdd.experiment.cells import Key, cells_of
from mpdd.experiment.config import Experiment
from mpdd.experiment.folder import finished_in, prompt_in
from mpdd.export.record import file_names
from mpdd.files import write_atomically
from mpdd.inference.engines import Engine, open_engine
from mpdd.progress import Reporter
from mpdd.prompts.store import SUFFIX, PromptFile, in_memory, load_prompt, rounded, save_prompt, task_card

METAPROMPT = f"metaprompt{SUFFIX}"
METHOD = "mpdd"
# Beginnings of licences that let others publish what they made of the data.
_OPEN = ("CC BY", "CC0", "MIT", "Apache-2.0", "ODC-By", "public domain")


@dataclass(frozen=True)
class Packed:
    """What a pack holds, by task; `left_out` says why the prompts of other tasks are not in it."""

    folder: Path
    prompts: Mapping[str, PromptFile] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all prompt files, the metaprompt among them."""
        return sum(path.stat().st_size for path in self.folder.glob(f"*{SUFFIX}"))


@dataclass(frozen=True)
class _Finished:
    """A finished cell of a run, with its prompt and what made both."""

    run: Path
    experiment: Experiment
    task: Task
    key: Key
    cell: Mapping[str, Any]
    prompt: PromptFile


def pack(
    runs: Sequence[Path], folder: Path, reporter: Reporter, *, method: str = METHOD, test_examples: int | None = None,
    backbone: str = "",
) -> Packed:  # fmt: skip
    """Put the prompts that finished runs made by `method` into a folder. Of each task the last run named goes in, of
    several numbers of training examples the most, of several seeds the first.

    With `test_examples` each prompt is scored anew, as it is in the pack, on so many test examples (0: all of them);
    otherwise its header has the score of its run. Prompts of data whose licence does not allow to publish what was made
    of it are left out. Raise `InputError` for a run without such prompts, a run that was scored on dev examples, runs of
    different tasks with one name, and another metaprompt or backbone than the pack's.
    """
    finished = _by_task([item for run in runs for item in _finished(run, method)])
    targets = {name for item in finished.values() for name in item.experiment.targets}
    tasks = {item.task.name: item.task for item in finished.values()}
    tasks |= {name: catalogue.get(name) for name in sorted(targets & set(catalogue.names()))}  # also those not run for it
    left_out = {name: f"licence: {task.licence}" for name, task in tasks.items() if not may_publish(task)}
    packed = {name: item for name, item in finished.items() if name not in left_out}
    _require_one_backbone([*(item.prompt for item in packed.values()), *_there_already(folder).values()], left_out)
    metaprompt = _write_metaprompt(packed.values(), folder)
    files, scorer = file_names(packed, SUFFIX), _Scorer(test_examples, backbone, reporter)
    prompts = {name: _write(item, folder / files[name], metaprompt, scorer) for name, item in packed.items()}
    everything = {**_there_already(folder), **prompts}
    write_atomically(folder / "README.md", page(everything, left_out).encode())
    return Packed(folder, everything, left_out)


def may_publish(task: Task) -> bool:
    """Say whether the licence of a task's data allows to publish a prompt trained on it: open licences do, also those
    for non-commercial use alone; one that is not stated does not. Of their own data, users decide themselves."""
    return task.role == "user" or task.licence.startswith(_OPEN)


# What a run has


def _finished(run: Path, method: str) -> list[_Finished]:
    """The finished cells of a method in a run folder, one for each target."""
    if not (run / "config.toml").is_file():
        wanted = "the folder of `mpdd run` or `mpdd adapt`"
        raise InputError(f"{run} is not a run folder", found="no config.toml in it", wanted=wanted)
    experiment = config.read_written(run / "config.toml")
    if experiment.limits.test_from == "dev":
        found = 'limits.test_from = "dev"'
        raise InputError(f"The run {run} was scored on dev examples", found=found, wanted="a run scored on tests")
    tasks = {task.name: task for task in (_target(run, name) for name in experiment.targets)}
    best: dict[str, _Finished] = {}
    for key in sorted(cells_of(experiment, list(tasks)), key=_most_examples):
        cell, path = finished_in(run, key.name), prompt_in(run, key.name.replace("/", "-"))
        if key.method == method and cell is not None and path.is_file():
            best[key.target] = _Finished(run, experiment, tasks[key.target], key, cell, load_prompt(path))
    if not best:
        raise InputError(
            f"The run {run} has no finished prompt of the method {method}",
            next_step="The command that made the run goes on with it.",
        )
    return list(best.values())


def _by_task(items: Sequence[_Finished]) -> dict[str, _Finished]:
    """The last of the finished cells of each task; `InputError` where tasks of one name have different cards."""
    chosen: dict[str, _Finished] = {}
    for item in items:
        other = chosen.get(item.task.name)
        if other and replace(task_card(other.prompt), window=None) != replace(task_card(item.prompt), window=None):
            raise InputError(
                f"Two runs have different tasks called {item.task.name}", found=f"{other.run} and {item.run}",
                wanted="a name of its own for each task", next_step="Rename one of them in its card, and adapt it again.",
            )  # fmt: skip
        chosen[item.task.name] = item
    return chosen


def _require_one_backbone(prompts: Sequence[PromptFile], left_out: Mapping[str, str]) -> None:
    """Raise `InputError` where there is no prompt for a pack, or where its prompts are for several backbones."""
    if not prompts:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in left_out.items())
        raise InputError("No prompt may be in the pack", found=f"left out: {reasons}", wanted="a task with an open licence")
    names = {prompt.header.fingerprint: f"{Path(prompt.header.backbone).name} ({prompt.path.name})" for prompt in prompts}
    if len(names) > 1:
        found = ", ".join(names.values())
        raise InputError(
            "The prompts are for several backbones", found=found, wanted="one backbone", next_step="Choose another --out."
        )


def _target(run: Path, name: str) -> Task:
    """A target of a run: a task of the catalogue, or a user's, whose card a run names as `mpdd adapt` was given it."""
    if name.endswith(".toml") and not Path(name).is_file():
        raise InputError(
            f"The task card of the run {run} is not there", found=f"no file {name}", wanted="the card that the run was made from",
            next_step="Run `mpdd pack` in the folder where `mpdd adapt` was run.",
        )  # fmt: skip
    return catalogue.get(name)


def _most_examples(key: Key) -> tuple[float, int]:
    """Order of cells: the last one of a target has the most examples, and of these the first seed."""
    return (math.inf if key.shots == "all" else key.shots, -key.seed)


# What the pack gets


def _write_metaprompt(items: Any, folder: Path) -> PromptFile | None:
    """Write the metaprompt that the prompts of factors share, in 16 bits; None where no prompt needs one."""
    origins = {item.prompt.header.metaprompt: item.prompt.started_from() for item in items if _needs_metaprompt(item.prompt)}
    if len(origins) > 1:
        digests = ", ".join(digest[:12] for digest in origins)
        raise InputError("The prompts were adapted from several metaprompts", found=digests, wanted="one")
    if not origins:
        return None
    (origin,) = origins.values()
    path = folder / METAPROMPT
    metaprompt = halved(replace(origin, path=path))
    if not path.is_file():
        return save_prompt(path, metaprompt.tensors, metaprompt.header)
    if (there := load_prompt(path)).header.digest != metaprompt.header.digest:
        raise InputError(
            f"The pack {folder} has another metaprompt", found=f"digest {there.header.digest[:12]}",
            wanted=f"that of the run, {metaprompt.header.digest[:12]} in 16 bits", next_step="Choose another folder with --out.",
        )  # fmt: skip
    return there


def halved(origin: PromptFile) -> PromptFile:
    """A metaprompt in 16 bits, which says what it was rounded from; one whose numbers are so already stays what it is."""
    metaprompt = rounded(origin)
    if metaprompt.header.digest == origin.header.digest:
        return origin
    described = replace(origin.header, provenance={**origin.header.provenance, "rounded_from": origin.header.digest})
    return in_memory(origin.path, metaprompt.tensors, described)


def _needs_metaprompt(prompt: PromptFile) -> bool:
    return prompt.header.kind == "task" and "shared" not in prompt.tensors


def _write(item: _Finished, path: Path, metaprompt: PromptFile | None, scorer: _Scorer) -> PromptFile:
    """Write a prompt of a run into the pack, unless it is there."""
    before = item.prompt.header
    header = replace(
        before,
        metaprompt=metaprompt.header.digest if metaprompt and _needs_metaprompt(item.prompt) else before.metaprompt,
        licence=item.task.licence,
        training=_training(item),
        provenance={**before.provenance, "commit": item.cell.get("commit", ""), "packed_from": before.digest},
    )
    prompt = rounded(in_memory(path, item.prompt.tensors, header))
    there = load_prompt(path) if path.is_file() else None
    if there is not None and _is_same(there, prompt) and scorer.has_scored(item.task, there):
        return there
    score = _score_of_run(item) if scorer.test_examples is None else scorer.score(item, prompt)
    return save_prompt(path, prompt.tensors, replace(prompt.header, score=score))


def _is_same(there: PromptFile, prompt: PromptFile) -> bool:
    """Whether a file of the pack is this prompt, but for its score."""
    return in_memory(there.path, there.tensors, replace(there.header, score={})).header.digest == prompt.header.digest


def _training(item: _Finished) -> dict[str, Any]:
    """By which method, on how many examples and in how many steps a prompt was trained."""
    train = counts.table().get(item.task.name, {}).get("examples", [0])[0]
    most = min(item.experiment.limits.train, train) if item.key.shots == "all" else item.key.shots
    steps = item.cell.get("best_step")
    return {
        "method": item.key.method,
        "examples": item.cell.get("train_examples", most),
        "steps": item.experiment.adapt.steps if steps is None else steps,
    }


def _score_of_run(item: _Finished) -> dict[str, Any]:
    row = item.cell["row"]
    there = counts.table().get(item.task.name, {}).get("examples", [0, 0, row["n_examples"]])[2]
    values = {"value": row["value"], "low": row["ci_low"], "high": row["ci_high"], "baseline": row["chance"]}
    return _score(row["metric"], values, row["n_examples"], item.cell.get("test_examples", there))


def _score(metric: str, values: Mapping[str, float], examples: int, test_examples: int) -> dict[str, Any]:
    """A score as headers have it: from 0 to 100, on `examples` of a task's `test_examples`."""
    rounded_values = {name: round(float(value), 2) for name, value in values.items()}
    return {"metric": metric, **rounded_values, "examples": examples, "test_examples": test_examples}


def _there_already(folder: Path) -> dict[str, PromptFile]:
    """The prompts that a pack held before."""
    prompts = (load_prompt(path) for path in sorted(folder.glob(f"*{SUFFIX}")) if path.name != METAPROMPT)
    return {task_card(prompt).name: prompt for prompt in prompts}


@dataclass
class _Scorer:
    """Scores prompts as they are in the pack; the backbone is opened for the first of them."""

    test_examples: int | None
    backbone: str
    reporter: Reporter
    _engine: Engine | None = None

    def has_scored(self, task: Task, prompt: PromptFile) -> bool:
        """Whether the header of a prompt of the pack has the score that is wanted."""
        score = prompt.header.score
        if self.test_examples is None:
            return bool(score)
        return bool(score) and score["examples"] == (min(self.test_examples, score["test_examples"]) or score["test_examples"])

    def score(self, item: _Finished, prompt: PromptFile) -> dict[str, Any]:
        """Answer the test examples of a task under a prompt, and score the answers."""
        test = _test(item, prompt)
        chosen = test[: self.test_examples or None]
        engine = self._engine or open_engine(self.backbone or item.experiment.backbone, "", patience=float("inf"))
        self._engine = engine
        with self.reporter.job(f"{item.task.name} scores", len(chosen)) as tick:
            evaluation = score_examples(prompt, chosen, engine, {}, tick=tick)
        headline = evaluation.headline
        values = {"value": headline.value, "low": headline.low, "high": headline.high, "baseline": evaluation.baseline}
        return _score(item.task.headline, values, evaluation.examples, len(test))


def _test(item: _Finished, prompt: PromptFile) -> Sequence[Example]:
    """All test examples of a task; a user's in windows as long as the prompt was trained on."""
    if item.task.role != "user":
        return catalogue.load(item.task.name).test
    window = task_card(prompt).window
    task = item.task.in_windows(window) if item.task.in_windows and window is not None else item.task
    return task.load(Path()).test
