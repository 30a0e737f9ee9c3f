"""The only training loop: AdamW over a few named tensors, best state by validation, resumable to the last checkpoint.

What is trained and how a step's losses come about is handed in; this file knows neither prompts nor tasks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mpdd.errors import MpddError
from mpdd.files import write_atomically

Losses = Mapping[str, Tensor]
Log = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Group:
    """Named tensors that share a learning rate."""

    tensors: Mapping[str, Tensor]
    lr: float


@dataclass(frozen=True)
class Plan:
    """How long and how: `steps` of `batch_size` examples, validated every `every` steps, warm-up then linear decay."""

    steps: int
    batch_size: int
    every: int
    warmup: float = 0.06
    clip: float = 1.0


@dataclass(frozen=True)
class Fitted:
    """What came of a run. The trained tensors hold the best validated state."""

    best_dev: float
    best_step: int
    steps: int
    examples: int
    seconds: float


def fit(
    groups: Sequence[Group],
    losses: Callable[[int], Losses],
    plan: Plan,
    *,
    validate: Callable[[], float],
    checkpoint: Path | None = None,
    log: Log = lambda _: None,
    tick: Callable[[], object] = lambda: None,
) -> Fitted:
    """Minimise `losses(step)["loss"]` and leave the best validated state in the tensors.

    `losses` must depend on the step alone, so that a resumed run repeats an unbroken one exactly. The state before
    the first step is validated too: training can only improve on it. Raises `MpddError` when the loss is not finite.
    """
    tensors = {name: t for group in groups for name, t in group.tensors.items()}
    optimizer = torch.optim.AdamW([{"params": list(g.tensors.values()), "lr": g.lr} for g in groups], weight_decay=0.0)
    state = _resume(checkpoint, tensors, optimizer) or _State(0, validate(), 0, 0.0, _copy(tensors))
    if state.step == 0:
        log({"step": 0, "dev_loss": state.best_dev})
    for step in range(state.step, plan.steps):
        began = time.perf_counter()
        found = losses(step)
        if not torch.isfinite(found["loss"]):
            raise MpddError(f"The loss is not finite at step {step}; a smaller learning rate usually helps.")
        _step(optimizer, found["loss"], list(tensors.values()), _scale(step, plan), plan.clip)
        state.seconds += time.perf_counter() - began
        state.step = step + 1
        tick()
        if state.step % plan.every == 0 or state.step == plan.steps:
            dev = validate()
            if dev < state.best_dev:
                state.best_dev, state.best_step, state.best = dev, state.step, _copy(tensors)
            log({"step": state.step, **{k: round(v.item(), 5) for k, v in found.items()}, "dev_loss": round(dev, 5)})
            _save(checkpoint, state, tensors, optimizer)
    _restore(tensors, state.best)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return Fitted(state.best_dev, state.best_step, plan.steps, plan.steps * plan.batch_size, state.seconds)


@dataclass
class _State:
    step: int
    best_dev: float
    best_step: int
    seconds: float
    best: dict[str, Tensor]


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, tensors: list[Tensor], scale: float, clip: float) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(tensors, clip)
    for group in optimizer.param_groups:
        group.setdefault("base_lr", group["lr"])
        group["lr"] = group["base_lr"] * scale
    optimizer.step()


def _scale(step: int, plan: Plan) -> float:
    warm = max(1, round(plan.warmup * plan.steps))
    return min((step + 1) / warm, (plan.steps - step) / max(1, plan.steps - warm), 1.0)


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in tensors.items()}


@torch.no_grad()
def _restore(tensors: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        tensor.copy_(saved[name])


def _save(path: Path | None, state: _State, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    if path is None:
        return
    parts = {f"now/{k}": v.detach().cpu().contiguous() for k, v in tensors.items()}
    parts |= {f"best/{k}": v.cpu().contiguous() for k, v in state.best.items()}
    parts |= {f"adam/{name}/{k}": v.cpu().contiguous() for name, k, v in _moments(tensors, optimizer)}
    described = {"step": state.step, "best_dev": state.best_dev, "best_step": state.best_step, "seconds": state.seconds}
    write_atomically(path, save(parts, metadata={"loop": json.dumps(described)}))


def _resume(path: Path | None, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> _State | None:
    if path is None or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            described = json.loads(file.metadata()["loop"])
        now, best = ({name: parts[f"{part}/{name}"].to(t.device) for name, t in tensors.items()} for part in ("now", "best"))
        moments = {name: {k: parts[f"adam/{name}/{k}"] for k in ("step", "exp_avg", "exp_avg_sq")} for name in tensors}
        state = _State(described["step"], described["best_dev"], described["best_step"], described["seconds"], best)
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None  # a damaged checkpoint: start over
    _restore(tensors, now)
    for name, tensor in tensors.items():
        step, first, second = moments[name].values()
        optimizer.state[tensor] = {"step": step, "exp_avg": first.to(tensor.device), "exp_avg_sq": second.to(tensor.device)}
    return state


def _moments(tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, str, Tensor]]:
    for name, tensor in tensors.items():
        for key, value in optimizer.state[tensor].items():
            yield name, key, value
