"""Adapts a prompt's task again with the settings that its file records, beside canaries or on parts of the data: for audits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.task import Example, Splits, Task, TaskCard
from mpdd.errors import InputError
from mpdd.experiment.cells import dev_scorer
from mpdd.experiment.config import Limits
from mpdd.files import write_atomically
from mpdd.methods.cell import Cell
from mpdd.methods.options import Adapt, PromptOptions
from mpdd.methods.registry import METHODS, rates_of
from mpdd.progress import Tick
from mpdd.prompts.soft import initial_rows
from mpdd.prompts.store import PromptFile, load_prompt, task_card
from mpdd.training import baselines
from mpdd.training.passes import Row, add_gradients
from mpdd.training.private import Guarantee, Private, spent
from mpdd.training.tune import ChoiceLoss, Data, Watch

_STARTS = ("nothing", "metaprompt", "metaprompt if any")  # what a method may start from to be run again from one file


@dataclass(frozen=True)
class Recipe:
    """How a prompt was adapted, so that others can be adapted alike to other examples of the task.

    `guarantee` is the schedule of its differential privacy, `meta` the metaprompt that it started from; None where it had none.
    `shots` and `train_limit` say on how many of the card's training examples it was trained.
    """

    method: str
    card: TaskCard
    adapt: Adapt
    shape: PromptOptions
    seed: int = 0
    shots: int | Literal["all"] = "all"
    train_limit: int = Limits().train
    loss_per: Literal["task", "example"] = "task"
    choice_loss: ChoiceLoss = "likelihood"
    grounded: bool = False
    guarantee: Guarantee | None = None
    meta: PromptFile | None = None

    @classmethod
    def of(cls, file: PromptFile) -> Recipe:
        """That of a prompt file, with the metaprompt beside it. Raises `InputError` where the file does not say enough."""
        header, provenance, card = file.header, file.header.provenance, task_card(file)
        try:
            adapt = Adapt.model_validate(provenance["options"] if provenance.get("stage") == "adapt" else None)
        except (KeyError, TypeError, ValidationError):
            raise InputError(
                f"{file.path.name} does not say how it was adapted", wanted="the provenance that `mpdd adapt` writes",
                next_step="Audit a file before its provenance is stripped, or without canaries and shadow prompts.",
            ) from None  # fmt: skip
        recorded = provenance.get("recipe", {})
        method = recorded.get("method") or _method_of(file)
        if METHODS[method].starts_from not in _STARTS:
            raise InputError("An audit cannot adapt a prompt of this method again", found=method, wanted="mpdd or prompt tuning")
        start = recorded.get("start", "vocabulary")
        shape = PromptOptions(length=header.length, rank=header.rank or 1, depth=header.depth, start=start)
        settings = {
            name: recorded[name] for name in ("seed", "shots", "train_limit", "loss_per", "choice_loss") if name in recorded
        }
        guarantee = _guarantee(header.privacy) if header.privacy else None
        grounded = bool(provenance.get("decoding", {}).get("grounded"))
        meta = file.started_from() if METHODS[method].starts_from != "nothing" else None
        return cls(method, card, adapt, shape, **settings, grounded=grounded, guarantee=guarantee, meta=meta)

    @property
    def steps(self) -> int:
        """Training steps of all rates together."""
        rates = rates_of(self.method, self.shape.depth)
        return self.adapt.steps_of(len(getattr(self.adapt, rates))) if rates else 0

    def data(self, backbone: Backbone, train: Sequence[Example], dev: Sequence[Example]) -> Data:
        """The rows of such examples; where the prompt was private, with its schedule for as many units as these are."""
        data = self.plain_data(backbone, train, dev)
        if self.guarantee is None:
            return data
        documents = [example.document for example in train]
        return replace(data, private=Private.of(data.train, documents, self._for_units, self.guarantee.unit))

    def plain_data(self, backbone: Backbone, train: Sequence[Example], dev: Sequence[Example]) -> Data:
        """The same rows without a schedule."""
        length = max(self.shape.length, self.adapt.prompt_tuning_length)
        return Data.of(backbone, self.card, train, dev, length, loss_per=self.loss_per, choice_loss=self.choice_loss)

    def _for_units(self, units: int) -> Guarantee:
        """The same noise, clip and steps, with as many units a step on average, and what that spends."""
        assert self.guarantee is not None
        schedule = self.guarantee
        rate = min(1.0, schedule.sampling_rate * schedule.units / units)
        epsilon = spent(schedule.noise_multiplier, schedule.delta, rate, schedule.steps)
        return replace(schedule, units=units, sampling_rate=rate, epsilon=epsilon)


@dataclass(frozen=True)
class Adapted:
    """What was adapted: the `rows` of a prompt, or the file of an adapter (LoRA) that goes into the backbone."""

    rows: Tensor | None
    adapter: Path | None = None
    rank: int = 0

    @contextmanager
    def inside(self, backbone: Backbone) -> Iterator[Tensor | None]:
        """The rows to run examples under; an adapter is in the backbone meanwhile."""
        if self.adapter is None:
            yield self.rows
            return
        with baselines.lora(backbone, rank=self.rank, seed=0) as inside:
            inside.set(load_file(self.adapter))
            yield None


def adapt_again(
    recipe: Recipe, backbone: Backbone, train: Sequence[Example], dev: Sequence[Example], save_to: Path, *,
    tick: Tick = lambda _: None,
) -> Adapted:  # fmt: skip
    """Adapt to other training examples as the recipe says; what `save_to` holds already is taken from there.

    A fit that was stopped goes on from its last checkpoint beside the file, where it is not private.
    """
    adapter = save_to.with_suffix("") / "adapter_model.safetensors"
    if not (save_to.is_file() or adapter.is_file()):
        METHODS[recipe.method].run(_cell(recipe, backbone, train, dev, save_to, tick))
    if adapter.is_file():
        return Adapted(None, adapter, recipe.adapt.lora_rank)
    return Adapted(load_prompt(save_to, backbone).rows())


def seconds_of(recipe: Recipe, backbone: Backbone, train: Sequence[Example]) -> float:
    """About how long one such adaptation takes here: the time of one step, taken once, times all steps."""
    batch = recipe.plain_data(backbone, train[: recipe.adapt.batch_size], ()).train
    rows = initial_rows(backbone, recipe.shape.length, "vocabulary", depth=recipe.shape.depth, seed=0).to(backbone.device)
    began = time.perf_counter()
    add_gradients(backbone, [Row(row, "prompt") for row in batch], {"prompt": rows.requires_grad_()})
    return (time.perf_counter() - began) * recipe.steps


class _Alone(Cell):
    """A cell whose prompt answers nothing, so that it needs no scale of confidences."""

    def calibration(self, prompt: Tensor, priors: Mapping[str, Any] | None = None) -> dict[str, float]:
        """None."""
        return {}


def _cell(
    recipe: Recipe, backbone: Backbone, train: Sequence[Example], dev: Sequence[Example], save_to: Path, tick: Tick
) -> Cell:
    if recipe.meta is not None:  # a prompt of factors needs its metaprompt beside it
        write_atomically(save_to.with_name("metaprompt.safetensors"), recipe.meta.path.read_bytes())
    card, adapt = recipe.card, recipe.adapt
    task = Task(card, "user", (), lambda _: Splits((), (), ()), "not stated", "not stated")

    def watch_one(trial: str) -> Watch:
        checkpoint = save_to.with_name(f"{save_to.stem}-{trial.replace(' ', '-')}.checkpoint")
        return Watch(
            checkpoint, tick=lambda: tick(1), score_dev=dev_scorer(backbone, card, dev, adapt, grounded=recipe.grounded),
            by_accuracy=adapt.select_by == "accuracy",
        )  # fmt: skip

    return _Alone(
        backbone=backbone, task=task, data=recipe.data(backbone, train, dev), dev=dev, test=(), adapt=adapt, shape=recipe.shape,
        seed=recipe.seed, save_to=save_to, watch_one=watch_one, tick=tick, provenance={"stage": "audit"}, meta=recipe.meta,
        train=train, loss_per=recipe.loss_per, choice_loss=recipe.choice_loss,
    )  # fmt: skip


def _method_of(file: PromptFile) -> str:
    """The method of a file of an earlier version, which does not name it, by what it holds."""
    if file.header.derived_from_examples:
        return "mpdd-context"
    if file.header.kind == "soft":
        return "deep-prompt-tuning" if file.header.depth == "all" else "prompt-tuning"
    return "mpdd-full" if "shared" in file.tensors else "mpdd"


def _guarantee(privacy: Mapping[str, Any]) -> Guarantee:
    return Guarantee(**{name: privacy[name] for name in Guarantee.__dataclass_fields__})
