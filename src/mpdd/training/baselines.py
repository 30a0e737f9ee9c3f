"""What trains the backbone's own weights, or adds to them: LoRA and IA3 through the `peft` library, and full fine-tuning.

All in the same loop and on the same rows as our own methods. Whatever a block puts into the backbone is gone after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Encoded
from mpdd.data.mixture import mixed
from mpdd.errors import InputError
from mpdd.training.loop import Dev, Fitted, Group, Losses, Plan, fit
from mpdd.training.passes import Row, add_gradients, set_master
from mpdd.training.tune import Data, Job, Watch, mean_losses, tune

_WEIGHTS = "weights"


@dataclass(frozen=True)
class Inside:
    """Trainable tensors that take part in the backbone's passes; `follow` must be called when they have changed."""

    tensors: Mapping[str, Tensor]
    follow: Callable[[], None] = lambda: None

    @torch.no_grad()
    def set(self, values: Mapping[str, Tensor]) -> None:
        """Take over values by name."""
        for name, value in values.items():
            self.tensors[name].copy_(value)
        self.follow()


Placed = AbstractContextManager[Inside]  # while its block runs; after it, the backbone is exactly what it was


def lora(backbone: Backbone, *, rank: int, seed: int) -> Placed:
    """LoRA (Hu et al. 2021, arXiv 2106.09685; alpha = 2 rank) on every linear layer."""
    return _lora(backbone, rank, "all-linear", seed)


def lora_within(backbone: Backbone, *, budget: int, seed: int) -> Placed:
    """LoRA of rank 1 on as many linear layers as come to at most `budget` numbers.

    Query and value projections come first, as in the LoRA paper, then all others; of each kind from the last layer of the
    backbone down. Raises `InputError` where not even one fits.
    """
    left, chosen = budget, []
    for name, linear in sorted(_linear_layers(backbone), key=_preference):
        numbers = linear.in_features + linear.out_features
        if numbers <= left:
            chosen.append(name)
            left -= numbers
    if not chosen:
        raise InputError("No LoRA is small enough for the numbers that it may train", found=budget, wanted="a longer prompt")
    return _lora(backbone, 1, chosen, seed)


def least_numbers(backbone: Backbone) -> int:
    """The numbers of the smallest LoRA that there is: of rank 1, on one linear layer."""
    return min(linear.in_features + linear.out_features for _, linear in _linear_layers(backbone))


def ia3(backbone: Backbone, *, seed: int) -> Placed:
    """IA3 (Liu et al. 2022, arXiv 2205.05638), where `peft` puts it for this architecture.

    Raises `InputError` for an architecture that `peft` has no places for.
    """
    from peft import IA3Config
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as KNOWN

    kind = backbone.model.config.model_type
    if kind not in KNOWN:
        raise InputError(f"IA3 has no place in a {kind} model", wanted=f"one of {', '.join(sorted(KNOWN))}")
    return _adapter(backbone, IA3Config(task_type="CAUSAL_LM"), seed)


@contextmanager
def whole(backbone: Backbone) -> Iterator[Inside]:
    """All weights of the backbone, trainable as fp32 copies that its own weights follow."""
    weights = dict(backbone.model.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        backbone.model.requires_grad_(True)
        with _masters(weights) as inside:
            yield inside
    finally:
        backbone.model.requires_grad_(False)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])


@contextmanager
def _masters(weights: Mapping[str, nn.Parameter]) -> Iterator[Inside]:
    """fp32 copies of weights that may be less precise: gradients go to the copies, and the weights follow them."""
    copies = {name: weight.detach().float().clone().requires_grad_() for name, weight in weights.items()}

    def hand_over(weight: Tensor, copy: Tensor) -> None:
        gradient, weight.grad = weight.grad, None
        assert gradient is not None
        copy.grad = gradient.float() if copy.grad is None else copy.grad + gradient.float()

    @torch.no_grad()
    def follow() -> None:
        for name, weight in weights.items():
            weight.copy_(copies[name])

    hooks = []
    for name, weight in weights.items():
        set_master(weight, copies[name])
        to_copy = partial(hand_over, copy=copies[name])
        hooks.append(weight.register_post_accumulate_grad_hook(to_copy))  # type: ignore[no-untyped-call]
    try:
        yield Inside(copies, follow)
    finally:
        for hook in hooks:
            hook.remove()
        for weight in weights.values():
            set_master(weight, None)


def tune_weights(
    backbone: Backbone, data: Data, inside: Inside, plan: Plan, *,
    lr: float, seed: int, watch: Watch | None = None, pause: bool = False,
) -> Fitted:  # fmt: skip
    """Train what is inside the backbone on one task; one rate runs at a time, with `pause` until the plan's halving."""
    job = Job(data, [Group(inside.tensors, lr)], inside.follow)
    return tune(backbone, {_WEIGHTS: job}, plan, seed=seed, watch=watch, pause=pause)[_WEIGHTS]


def tune_on_all(
    backbone: Backbone, data: Mapping[str, Data], inside: Inside, plan: Plan, *,
    lr: float, seed: int, stochastic: bool = True, proportion: float = 0.0, watch: Watch | None = None,
) -> Fitted:  # fmt: skip
    """Train what is inside the backbone on the mixed batches that stage 2 draws from all tasks of `data`."""
    watch = watch or Watch()
    pools = {name: part.train for name, part in data.items()}

    def draw(step: int) -> list[Encoded]:
        return mixed(pools, size=plan.batch_size, step=step, seed=seed, stochastic=stochastic, proportion=proportion)

    def gradients(step: int, names: Sequence[str]) -> Mapping[str, Losses]:
        inside.follow()
        rows = [Row(encoded, _WEIGHTS, 1 / plan.batch_size) for encoded in draw(step)]
        losses = add_gradients(backbone, rows, {_WEIGHTS: None})["loss"]
        return {name: {"loss": float(losses.mean())} for name in names}

    def validate(names: Sequence[str]) -> Mapping[str, Dev]:
        inside.follow()
        dev = mean_losses(backbone, {task: part.dev for task, part in data.items()}, dict.fromkeys(data))
        return {name: Dev(sum(dev.values()) / len(dev)) for name in names}

    jobs = {_WEIGHTS: [Group(inside.tensors, lr)]}
    return fit(jobs, gradients, plan, validate=validate, checkpoint=watch.checkpoint, log=watch.log, tick=watch.tick)[_WEIGHTS]


def _lora(backbone: Backbone, rank: int, where: str | list[str], seed: int) -> Placed:
    from peft import LoraConfig

    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=where, task_type="CAUSAL_LM")
    return _adapter(backbone, config, seed)


@contextmanager
def _adapter(backbone: Backbone, config: Any, seed: int) -> Iterator[Inside]:
    from peft import get_peft_model

    torch.manual_seed(seed)
    adapted = get_peft_model(backbone.model, config, autocast_adapter_dtype=False)  # computed in the backbone's own precision
    try:
        with _masters({name: p for name, p in adapted.named_parameters() if p.requires_grad}) as inside:
            yield inside
    finally:
        adapted.unload()
        backbone.model.requires_grad_(False)


def _linear_layers(backbone: Backbone) -> Iterator[tuple[str, nn.Linear]]:
    head = backbone.model.get_output_embeddings()
    for name, module in backbone.model.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            yield name, module


def _preference(named: tuple[str, nn.Linear]) -> tuple[bool, int, str]:
    name = named[0]
    number = next((int(part) for part in name.split(".") if part.isdigit()), 0)
    return not name.endswith(("q_proj", "v_proj")), -number, name
