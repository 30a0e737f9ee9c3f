"""The methods that train a prompt, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.data.batch import Encoded
from mpdd.errors import InputError
from mpdd.methods.cell import Cell, Outcome
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import initial_rows
from mpdd.prompts.store import Header, save_prompt
from mpdd.training import one_task
from mpdd.training.passes import Row, mean_by_prompt, row_losses
from mpdd.training.tune import best

FIT_ROWS = 64  # training examples, at most, by which a source's prompt is judged for a target
_SHARPNESS = 10.0  # of the weights of a mix: nats of loss are multiplied by this


def zero_shot(cell: Cell) -> Outcome:
    """The bare backbone with the task's instruction."""
    return Outcome(cell.answer(None))


def mpdd_zero_shot(cell: Cell) -> Outcome:
    """The metaprompt with the mean factors of all sources, or of those of the target's kind; no example is used."""
    return Outcome(cell.answer(zero_shot_target(cell)(cell.task.name).detach()))


def prompt_tuning(cell: Cell) -> Outcome:
    """A fresh soft prompt for this task alone (Lester et al. 2021, arXiv 2104.08691)."""
    return _tuned(cell, _fresh(cell, cell.adapt.prompt_tuning_length or cell.shape.length, "input"), cell.adapt.prompt_tuning)


def deep_prompt_tuning(cell: Cell) -> Outcome:
    """A fresh prompt with rows before every layer, for this task alone (P-tuning v2, Liu et al. 2022, arXiv 2110.07602)."""
    return _tuned(cell, _fresh(cell, cell.shape.length, "all"), cell.adapt.deep_prompt_tuning)


def shared_prompt(cell: Cell) -> Outcome:
    """One prompt learned from all sources without decomposition, tuned further on this task."""
    return _tuned(cell, metaprompt_of(cell).zero_shot(), _rates(cell))


def spot(cell: Cell) -> Outcome:
    """The source's prompt that fits this task best, tuned further (SPoT, Vu et al. 2022, arXiv 2110.07904).

    The best is the one with the lowest loss on the target's training examples; SPoT itself compares tuned prompts.
    """
    prompts = {name: file.rows().to(cell.backbone.device) for name, file in cell.teachers.items()}
    losses = fit_to(cell, prompts)
    return _tuned(cell, prompts[min(losses, key=losses.__getitem__)], _rates(cell))


def mpdd(cell: Cell) -> Outcome:
    """The metaprompt adapted to this task by its factors alone: rank * (length + width) numbers; it stays as it is."""
    return _adapted(cell, "factors")


def mpdd_full(cell: Cell) -> Outcome:
    """The metaprompt and its factors trained on this task, as in the paper: length * width numbers more."""
    return _adapted(cell, "all")


def fit_to(cell: Cell, prompts: dict[str, Tensor]) -> dict[str, float]:
    """Mean loss of each prompt on the target's first training examples (see `mpdd.training.losses` for its unit)."""
    few: list[Encoded] = list(cell.data.train[:FIT_ROWS])
    rows = [Row(encoded, name) for name in prompts for encoded in few]
    return mean_by_prompt(row_losses(cell.backbone, rows, prompts), rows)


def same_kind(cell: Cell, meta: MetaPrompt) -> Tensor | None:
    """Equal weights of the sources with answers of the target's kind [sources]; None, for all, where none has."""
    kinds = cell.meta.header.kinds if cell.meta else ()
    same = torch.tensor([kind == cell.task.card.kind for kind in kinds])
    return same / same.sum() if same.any() else None


def zero_shot_target(cell: Cell) -> MetaPrompt:
    """The metaprompt for the target as it is without an example of it."""
    meta = metaprompt_of(cell)
    weights = None if cell.adapt.factor_start == "mean" else same_kind(cell, meta)
    return meta.for_target(cell.task.name, weights)


def source_weights(cell: Cell, meta: MetaPrompt) -> Tensor | None:
    """How much of each source's factors the target's start from [sources]; None for their plain mean.

    A task that is itself a source, as in a pack, starts from its own.
    """
    if cell.task.name in meta.tasks:
        return torch.tensor([float(task == cell.task.name) for task in meta.tasks])
    if cell.adapt.factor_start == "mean":
        return None
    if cell.adapt.factor_start == "kind":
        return same_kind(cell, meta)
    with torch.no_grad():
        prompts = {task: meta(task).to(cell.backbone.device) for task in meta.tasks}
    loss_of = fit_to(cell, prompts)
    losses = torch.tensor([loss_of[task] for task in meta.tasks])
    if cell.adapt.factor_start == "nearest":
        return torch.nn.functional.one_hot(losses.argmin(), len(losses)).float()
    return weights_of_losses(losses)


def weights_of_losses(losses: Float[Tensor, " prompts"]) -> Float[Tensor, " prompts"]:
    """The shares of a mix of prompts or predictions, the better fitting ones larger; they sum to 1."""
    return torch.softmax(-_SHARPNESS * losses, 0)


def _fresh(cell: Cell, length: int, depth: str) -> Tensor:
    text = cell.task.card.instruction
    return initial_rows(cell.backbone, length, cell.shape.start, depth=depth, seed=cell.seed, text=text)


def _rates(cell: Cell) -> Sequence[float]:
    """For a whole prompt as deep as the metaprompt."""
    return cell.adapt.deep_prompt_tuning if cell.shape.depth == "all" else cell.adapt.prompt_tuning


def _tuned(cell: Cell, start: Tensor, rates: Sequence[float]) -> Outcome:
    trials = one_task.teach(
        cell.backbone, {cell.task.name: cell.data}, {cell.task.name: start}, cell.plan, lrs=rates, seed=cell.seed,
        watch=cell.watch,
    )[cell.task.name]  # fmt: skip
    rows = best(trials).trained.rows.detach()
    priors = cell.priors(rows)
    calibration = cell.calibration(rows, priors)
    saved = save_prompt(cell.save_to, {"rows": rows}, header_of(cell, "soft", rows, calibration, priors))
    return Outcome.of(cell.answer(rows, priors), rows.numel(), saved.stored_bytes, trials, calibration, priors)


def _adapted(cell: Cell, mode: one_task.Mode) -> Outcome:
    meta = metaprompt_of(cell)
    trials = one_task.adapt(
        cell.backbone, cell.data, meta, cell.task.name, cell.plan, mode=mode, lrs=cell.adapt.mpdd,
        factor_ratio=cell.adapt.factor_ratio, weights=source_weights(cell, meta), seed=cell.seed, watch=cell.watch,
    )  # fmt: skip
    target = best(trials).trained
    tensors = {"u": target.u, "v": target.v} | ({"shared": target.shared} if mode == "all" else {})
    rows = (target.shared * (target.u[0].T @ target.v[0])).detach()
    priors = cell.priors(rows)
    calibration = cell.calibration(rows, priors)
    saved = save_prompt(cell.save_to, tensors, header_of(cell, "task", target.shared, calibration, priors))
    numbers = sum(t.numel() for t in tensors.values())
    return Outcome.of(cell.answer(saved.rows(), priors), numbers, saved.stored_bytes, trials, calibration, priors)


def metaprompt_of(cell: Cell) -> MetaPrompt:
    """The metaprompt that the cell starts from; `InputError` where there is none."""
    if cell.meta is None:
        raise InputError("This method needs a metaprompt", wanted="the stages teach and distil before it")
    return cell.meta.metaprompt()


def header_of(
    cell: Cell, kind: Any, rows: Tensor, calibration: Mapping[str, float], priors: Mapping[str, Any],
    derived_from_examples: int = 0,
) -> Header:  # fmt: skip
    """The header of the prompt that a cell made, with rows of this shape."""
    meta = cell.meta.header if cell.meta and kind == "task" else None
    return Header(
        kind=kind,
        backbone=cell.backbone.name,
        fingerprint=cell.backbone.fingerprint,
        length=rows.shape[0],
        width=rows.shape[1],
        depth="all" if rows.shape[1] > cell.backbone.width else "input",
        rank=meta.rank if meta else 0,
        tasks=(cell.task.name,),
        card=cell.task.card,
        metaprompt=meta.digest if meta else "",
        template=cell.backbone.template,
        calibration=calibration,
        privacy=cell.privacy,
        priors=priors,
        provenance=cell.provenance,
        derived_from_examples=derived_from_examples,
    )
