"""The methods that train weights of the backbone, or an adapter in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from safetensors.torch import save
from torch import Tensor

from mpdd.errors import InputError
from mpdd.files import write_atomically
from mpdd.methods.cell import Cell, Outcome
from mpdd.training import baselines
from mpdd.training.tune import Trial, best, most_promising


def lora(cell: Cell) -> Outcome:
    """LoRA on every linear layer at its usual rank."""
    return _tuned(cell, lambda: baselines.lora(cell.backbone, rank=cell.adapt.lora_rank, seed=cell.seed), cell.adapt.lora)


def lora_matched(cell: Cell) -> Outcome:
    """LoRA with at most as many trainable numbers as `mpdd` has, or the smallest LoRA where none is as small."""
    if cell.meta is None:
        budget = cell.shape.length * cell.backbone.width
    else:
        header = cell.meta.header
        budget = max(header.rank * (header.length + header.width), baselines.least_numbers(cell.backbone))
    return _tuned(cell, lambda: baselines.lora_within(cell.backbone, budget=budget, seed=cell.seed), cell.adapt.lora)


def lora_multitask(cell: Cell) -> Outcome:
    """LoRA at its usual rank, trained on all sources first."""
    return _tuned(
        cell, lambda: baselines.lora(cell.backbone, rank=cell.adapt.lora_rank, seed=cell.seed), cell.adapt.lora, _adapter(cell)
    )


def ia3(cell: Cell) -> Outcome:
    """IA3: keys, values and the feed-forward part rescaled."""
    return _tuned(cell, lambda: baselines.ia3(cell.backbone, seed=cell.seed), cell.adapt.ia3)


def ia3_multitask(cell: Cell) -> Outcome:
    """IA3 trained on all sources first."""
    return _tuned(cell, lambda: baselines.ia3(cell.backbone, seed=cell.seed), cell.adapt.ia3, _adapter(cell))


def _adapter(cell: Cell) -> Mapping[str, Tensor]:
    if not cell.adapter:
        raise InputError("This method needs an adapter trained on sources", wanted="an experiment with sources")
    return cell.adapter


def full_finetuning(cell: Cell) -> Outcome:
    """All weights trained. What would be stored is counted, but not kept: it is a whole model for each cell."""
    size = cell.backbone.table.element_size()
    return _tuned(
        cell, lambda: baselines.whole(cell.backbone), cell.adapt.full_finetuning, stored=size * cell.backbone.parameters
    )


def _tuned(
    cell: Cell,
    put: Callable[[], baselines.Placed],
    rates: Sequence[float],
    start: Mapping[str, Tensor] | None = None,
    stored: int = 0,
) -> Outcome:
    """Put the adapter in for each rate, train it from `start` (or as it comes), and answer with the best."""

    def trial(lr: float, pause: bool) -> Trial[dict[str, Tensor]]:
        watch = cell.watch_one(f"lr {lr:g}")
        with put() as inside:
            inside.set(start or {})
            fitted = baselines.tune_weights(
                cell.backbone, cell.data, inside, cell.plan, lr=lr, seed=cell.seed, watch=watch, pause=pause
            )
            return Trial(lr, {name: t.detach().clone() for name, t in inside.tensors.items()}, fitted)

    halves = cell.plan.halving_steps > 0
    trials = [trial(lr, halves) for lr in rates]
    if halves:  # the winner goes on from where it stopped
        winner = most_promising(trials).lr
        trials = [trial(winner, False) if tried.lr == winner else tried for tried in trials]
        for lr in rates:
            if checkpoint := cell.watch_one(f"lr {lr:g}").checkpoint:
                checkpoint.unlink(missing_ok=True)
    tensors = best(trials).trained
    with put() as inside:
        inside.set(tensors)
        priors = cell.priors(None)
        predictions = cell.answer(None, priors)
    if not stored:
        data = save({name: t.cpu().contiguous() for name, t in tensors.items()})
        write_atomically(cell.save_to.with_suffix("") / "adapter_model.safetensors", data)
        stored = len(data)
    return Outcome.of(predictions, sum(t.numel() for t in tensors.values()), stored, trials, priors=priors)
