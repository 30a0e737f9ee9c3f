"""Differentially private fits (DP-SGD, Abadi et al. 2016, arXiv 1607.00133): gradients clipped by unit, and Gaussian noise.

A unit is what the guarantee hides: one training example, or all examples of one document (a patient, where the data name
patients as documents). A step draws every unit with the same probability (Poisson sampling), clips the gradient of each to
norm `clip`, adds them and adds noise of `noise_multiplier` times `clip`. Nothing is chosen by dev examples, and no mean over
the training examples enters: losses are plain sums over the answer tokens of a unit, averaged over its examples. The noise
comes from a seed of the operating system that is never written down: who knew it could take the noise away.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Encoded
from mpdd.errors import InputError, MpddError
from mpdd.training.loop import Dev, Fitted, Group, Log, Losses, Plan, fit
from mpdd.training.passes import Row, add_gradients

Unit = Literal["example", "document"]
PromptOf = Callable[[str], Tensor | None]  # the prompt of a task by name; None: what is trained is in the backbone
ACCOUNTANT = "PRV accountant (Gopi et al. 2021, arXiv 2106.02848) of opacus"
NOISE = "Gaussian, seeded by the operating system apart from training; the seed was not kept"


@dataclass(frozen=True)
class Guarantee:
    """(epsilon, delta)-differential privacy for adding or removing one of `units`, and the schedule it follows from."""

    epsilon: float
    delta: float
    unit: Unit
    units: int
    sampling_rate: float
    steps: int
    clip: float
    noise_multiplier: float

    @classmethod
    def calibrated(
        cls, *, epsilon: float, delta: float, unit: Unit, units: int, batch: int, steps: int, clip: float
    ) -> Guarantee:
        """The guarantee with the least noise that keeps `epsilon`, for steps of `batch` units on average.

        `epsilon` of the result is what the accountant says of that noise, at most what was asked for. Raises `MpddError` without
        the library opacus, and `InputError` where the delta is no smaller than one unit in all or the epsilon is too small.
        """
        if delta >= 1 / units:
            raise InputError(
                "The delta is too large: it would allow one unit to be published whole",
                found=f"{delta:g} with {units} units ({unit}s)", wanted=f"well below {1 / units:.2g}",
            )  # fmt: skip
        rate = min(1.0, batch / units)
        noise = _noise(epsilon, delta, rate, steps)
        return cls(spent(noise, delta, rate, steps), delta, unit, units, rate, steps, clip, noise)

    def to_dict(self) -> dict[str, Any]:
        """As a prompt file keeps it."""
        covers = f"each {self.unit} of the training examples; not the dev and test examples, whose scores stay in the run folder"
        return {**asdict(self), "accountant": ACCOUNTANT, "noise": NOISE, "covers": covers}


@dataclass(frozen=True)
class Private:
    """The training rows of a task by unit, and the guarantee that a fit to them keeps."""

    units: tuple[tuple[Encoded, ...], ...]
    guarantee: Guarantee

    @classmethod
    def of(cls, rows: Sequence[Encoded], documents: Sequence[str], guarantee: Callable[[int], Guarantee], unit: Unit) -> Private:
        """Group rows by unit; `guarantee` is told their number. Losses become sums over tokens, whatever other rows hold."""
        groups: dict[str, list[Encoded]] = {}
        for number, (row, document) in enumerate(zip(rows, documents, strict=True)):
            key = document if unit == "document" else str(number)
            groups.setdefault(key, []).append(replace(row, mean_answer_tokens=1.0))
        return cls(tuple(map(tuple, groups.values())), guarantee(len(groups)))


def spent(noise_multiplier: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The epsilon of a schedule, by the accountant."""
    accountants = _accountants()
    accountant = accountants.PRVAccountant()
    accountant.history = [(noise_multiplier, sampling_rate, steps)]
    return float(accountant.get_epsilon(delta))


def fit_privately(
    backbone: Backbone, private: Private, groups: Sequence[Group], prompt: PromptOf, plan: Plan, *,
    log: Log = lambda _job, _values: None, tick: Callable[[], object] = lambda: None, secret: bytes | None = None,
) -> Fitted:  # fmt: skip
    """Train `groups`, of which the `prompt` of each task is made (None: they are in the backbone), and keep the last state.

    The loop is that of all fits, without a dev set, patience, halving_steps, clipping of the sum, or checkpoints: a fit that was
    stopped begins anew, as nothing of it was given away. `secret` (of the operating system, unless a test gives it) seeds what
    is drawn and the noise.
    """
    guarantee, secret = private.guarantee, secret or secrets.token_bytes(32)
    tensors = [tensor for group in groups for tensor in group.tensors.values()]

    def gradients(step: int, names: Sequence[str]) -> Mapping[str, Losses]:
        generator = _generator(secret, step)
        drawn = torch.rand(len(private.units), generator=generator) < guarantee.sampling_rate
        chosen = [unit for unit, is_drawn in zip(private.units, drawn.tolist(), strict=True) if is_drawn]
        summed, loss = clipped_sum(backbone, chosen, tensors, prompt, guarantee.clip)
        expected = guarantee.sampling_rate * len(private.units)
        for tensor, total in zip(tensors, summed, strict=True):
            noise = torch.randn(tensor.shape, generator=generator) * (guarantee.noise_multiplier * guarantee.clip)
            tensor.grad = (total + noise.to(total)) / expected
        return {name: {"loss": loss} for name in names}

    whole = replace(plan, every=plan.steps, patience=0, halving_steps=0, clip=math.inf)
    return fit({_JOB: groups}, gradients, whole, validate=_Latest(), log=log, tick=tick)[_JOB]


def clipped_sum(
    backbone: Backbone, units: Sequence[Sequence[Encoded]], tensors: Sequence[Tensor], prompt: PromptOf, clip: float
) -> tuple[list[Tensor], float]:
    """The sum over units of each one's gradient, clipped to norm `clip` over all tensors; and the mean loss of the units.

    Prompts: each unit stands under copies of its own, one for each of its tasks, so that one packed pass gives all gradients
    apart, and the chain to the trained tensors is taken for each. What is inside the backbone (LoRA) is run unit by unit.
    """
    total = [torch.zeros_like(tensor) for tensor in tensors]
    losses = []
    for loss, gradient in _by_unit(backbone, units, tensors, prompt):
        norm = torch.stack([part.norm() for part in gradient]).norm()
        scale = (clip / norm.clamp(min=1e-12)).clamp(max=1.0)
        for summed, part in zip(total, gradient, strict=True):
            summed += part * scale
        losses.append(loss)
    return total, sum(losses) / max(1, len(losses))


def _by_unit(
    backbone: Backbone, units: Sequence[Sequence[Encoded]], tensors: Sequence[Tensor], prompt: PromptOf
) -> list[tuple[float, list[Tensor]]]:
    """The loss and the gradient of each unit."""
    rows_of_prompt = {task: prompt(task) for task in dict.fromkeys(encoded.task for unit in units for encoded in unit)}
    prompts = {task: rows for task, rows in rows_of_prompt.items() if rows is not None}
    if len(prompts) < len(rows_of_prompt):
        return [_inside(backbone, unit, tensors) for unit in units]
    tasks = [list(dict.fromkeys(encoded.task for encoded in unit)) for unit in units]
    copies: dict[str, Tensor | None] = {
        f"{number} {task}": prompts[task].detach().clone().requires_grad_() for number, own in enumerate(tasks) for task in own
    }
    numbered = [(number, encoded) for number, unit in enumerate(units) for encoded in unit]
    rows = [Row(encoded, f"{number} {encoded.task}", 1 / len(units[number])) for number, encoded in numbered]
    if not rows:
        return []
    of_unit = [0.0] * len(units)
    for (number, _), row, loss in zip(numbered, rows, add_gradients(backbone, rows, copies)["loss"].tolist(), strict=True):
        of_unit[number] += row.weight * loss
    pairs = [[(prompts[task], copies[f"{number} {task}"]) for task in own] for number, own in enumerate(tasks)]
    return [(loss, _chain(of_one, tensors)) for loss, of_one in zip(of_unit, pairs, strict=True)]


def _chain(prompts: Sequence[tuple[Tensor, Tensor | None]], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of the tensors that prompts are made of, from those of their copies: zero for what no prompt is made of."""
    made, outputs = [rows for rows, _ in prompts], [None if copy is None else copy.grad for _, copy in prompts]
    found = torch.autograd.grad(made, tensors, outputs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(tensor) if part is None else part for tensor, part in zip(tensors, found, strict=True)]


def _inside(backbone: Backbone, unit: Sequence[Encoded], tensors: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
    for tensor in tensors:
        tensor.grad = None
    rows = [Row(encoded, _JOB, 1 / len(unit)) for encoded in unit]
    losses = add_gradients(backbone, rows, {_JOB: None})["loss"]
    gradient = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone() for tensor in tensors]
    return float(losses.mean()), gradient


class _Latest:
    """In place of a validation: each state counts as better than the one before, as no dev example may choose."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, jobs: Sequence[str]) -> Mapping[str, Dev]:
        self._calls += 1
        return {job: Dev(-float(self._calls)) for job in jobs}


_JOB = "private"


def _generator(secret: bytes, step: int) -> torch.Generator:
    seed = hashlib.sha256(secret + step.to_bytes(8, "big")).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(seed, "big", signed=True))


@cache
def _noise(epsilon: float, delta: float, rate: float, steps: int) -> float:
    _accountants()
    from opacus.accountants.utils import get_noise_multiplier

    asked = {"target_epsilon": epsilon, "target_delta": delta, "sample_rate": rate, "steps": steps}
    try:
        return float(get_noise_multiplier(**asked, accountant="prv"))
    except ValueError:  # no noise that opacus tries is enough
        raise InputError(
            "No amount of noise that can be used gives this privacy", found=f"epsilon {epsilon:g} in {steps} steps",
            wanted="a larger epsilon, as 1 to 10, or fewer steps",
        ) from None  # fmt: skip


def _accountants() -> Any:
    try:
        from opacus import accountants
    except ImportError as error:
        raise MpddError("Differential privacy needs one more library; `pip install 'mpdd[privacy]'` brings it.") from error
    return accountants
