"""Every method of the comparison by its contract name: the same rows, the same steps, equally many rates tried.

A method returns what it answered on the test examples and what it cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from mpdd.backbone import Backbone
from mpdd.config import Adapt, Steps
from mpdd.data.task import Example, Task
from mpdd.errors import InputError
from mpdd.files import write_atomically
from mpdd.predict import Prediction, Request, predict
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import initial_rows
from mpdd.prompts.store import Header, PromptFile, save_prompt
from mpdd.training import adapt as stage3
from mpdd.training import baselines, teacher
from mpdd.training.loop import Plan
from mpdd.training.tune import Data, Trial, Watch, best


def plan_of(options: Steps) -> Plan:
    """The length of a training run as the loop takes it."""
    return Plan(options.steps, options.batch_size, options.every, options.patience)


@dataclass(frozen=True)
class Cell:
    """One target at one number of shots and one seed, with all that a method may use."""

    backbone: Backbone
    task: Task
    data: Data
    test: Sequence[Example]
    meta: PromptFile | None
    adapt: Adapt
    length: int
    start: str
    seed: int
    save_to: Path
    watch_one: Callable[[str], Watch]
    tick: Callable[[int], object]
    provenance: Mapping[str, Any]

    @property
    def watch(self) -> Watch:
        """The watch over all trials of a method that runs them at once."""
        return self.watch_one("trials")

    @property
    def plan(self) -> Plan:
        """The training budget that every method gets for each rate it tries."""
        return plan_of(self.adapt)

    def answer(self, prompt: Tensor | None) -> list[Prediction]:
        """Answer the test examples under `prompt`."""
        return predict(self.backbone, [Request(self.task.card, e, prompt) for e in self.test], tick=self.tick)


@dataclass(frozen=True)
class Outcome:
    """Test answers, and cost: numbers trained, bytes stored for this task, training over all trials."""

    predictions: list[Prediction]
    trainable: int = 0
    stored_bytes: int = 0
    examples: int = 0
    seconds: float = 0.0
    trials: int = 0
    lr: float | None = None
    best_step: int | None = None


def zero_shot(cell: Cell) -> Outcome:
    """The bare backbone with the task's instruction."""
    return Outcome(cell.answer(None))


def mpdd_zero_shot(cell: Cell) -> Outcome:
    """The metaprompt with the sources' mean factors; no example of the target is used."""
    return Outcome(cell.answer(_meta(cell).zero_shot()))


def prompt_tuning(cell: Cell) -> Outcome:
    """A fresh soft prompt for this task alone."""
    start = initial_rows(cell.backbone, cell.length, cell.start, seed=cell.seed, text=cell.task.card.instruction)

    trials = teacher.teach(
        cell.backbone, {cell.task.name: cell.data}, {cell.task.name: start}, cell.plan, lrs=cell.adapt.prompt_tuning,
        seed=cell.seed, watch=cell.watch,
    )[cell.task.name]  # fmt: skip
    rows = best(trials).made.rows.detach()
    saved = save_prompt(cell.save_to, {"rows": rows}, _header(cell, "soft"))
    return _outcome(cell.answer(rows), rows.numel(), saved.stored_bytes, trials)


def mpdd(cell: Cell) -> Outcome:
    """The metaprompt adapted to this task: shared prompt and factors."""
    return _adapted(cell, "all")


def mpdd_factors(cell: Cell) -> Outcome:
    """The metaprompt adapted by its factors alone."""
    return _adapted(cell, "factors")


def lora(cell: Cell) -> Outcome:
    """LoRA on every linear layer at its usual rank."""
    folder = cell.save_to.with_suffix("")
    trials = []
    for lr in cell.adapt.lora:
        with baselines.lora(cell.backbone, rank=cell.adapt.lora_rank, seed=cell.seed) as tensors:
            watch = cell.watch_one(f"lr {lr:g}")
            fitted = baselines.tune_lora(cell.backbone, cell.data, tensors, cell.plan, lr=lr, seed=cell.seed, watch=watch)
            trials.append(Trial(lr, {name: t.detach().clone() for name, t in tensors.items()}, fitted))
    kept = best(trials).made
    with baselines.lora(cell.backbone, rank=cell.adapt.lora_rank, seed=cell.seed) as tensors, torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(kept[name])
        predictions = cell.answer(None)
    data = save({name: t.cpu().contiguous() for name, t in kept.items()})
    write_atomically(folder / "adapter_model.safetensors", data)
    return _outcome(predictions, sum(t.numel() for t in kept.values()), len(data), trials)


METHODS: Mapping[str, Callable[[Cell], Outcome]] = {
    "zero-shot": zero_shot,
    "prompt-tuning": prompt_tuning,
    "mpdd": mpdd,
    "mpdd-zero-shot": mpdd_zero_shot,
    "mpdd-factors": mpdd_factors,
    "mpdd-no-teachers": mpdd,  # the same adaptation, from a metaprompt that was trained without teachers
    "lora": lora,
}
UNTRAINED = frozenset(("zero-shot", "mpdd-zero-shot"))


def _adapted(cell: Cell, mode: stage3.Mode) -> Outcome:
    trials = stage3.adapt(
        cell.backbone, cell.data, _meta(cell), cell.task.name, cell.plan, mode=mode, lrs=cell.adapt.mpdd,
        factor_ratio=cell.adapt.factor_ratio, seed=cell.seed, watch=cell.watch,
    )  # fmt: skip
    target = best(trials).made
    tensors = {"u": target.u, "v": target.v} | ({"shared": target.shared} if mode == "all" else {})
    saved = save_prompt(cell.save_to, tensors, _header(cell, "task"))
    return _outcome(cell.answer(saved.rows()), sum(t.numel() for t in tensors.values()), saved.stored_bytes, trials)


def _outcome(predictions: list[Prediction], trainable: int, stored: int, trials: Sequence[Trial[Any]]) -> Outcome:
    chosen = best(trials)
    return Outcome(
        predictions,
        trainable,
        stored,
        sum(trial.fitted.examples for trial in trials),
        sum(trial.fitted.seconds for trial in trials),
        len(trials),
        chosen.lr,
        chosen.fitted.best_step,
    )


def _meta(cell: Cell) -> MetaPrompt:
    if cell.meta is None:
        raise InputError("This method needs a metaprompt", wanted="the stages teach and distil before it")
    return cell.meta.metaprompt()


def _header(cell: Cell, kind: Any) -> Header:
    meta = cell.meta.header if cell.meta and kind == "task" else None
    return Header(
        kind=kind,
        backbone=cell.backbone.name,
        fingerprint=cell.backbone.fingerprint,
        length=cell.length,
        width=cell.backbone.width,
        rank=meta.rank if meta else 0,
        tasks=(cell.task.name,),
        card=cell.task.card,
        metaprompt=meta.digest if meta else "",
        provenance=cell.provenance,
    )
