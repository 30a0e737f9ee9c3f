"""The only training loop: AdamW over many independent jobs at once, the best state of each, resumable.

A job is one thing to fit (a task's prompt at one learning rate, say). Jobs share the passes over the backbone but
nothing else: each has its own moments, gradient norm, best state and, with patience, its own end. What is trained and
how gradients come about is handed in; this file knows neither prompts nor tasks.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mpdd.errors import MpddError
from mpdd.files import write_atomically

Losses = Mapping[str, float]


@dataclass(frozen=True)
class Dev:
    """The outcome of a validation: the loss, and the headline metric (0 to 100, higher is better) where answers were scored."""

    loss: float
    metric: float | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """Orders outcomes, the best lowest: by the metric where there is one, and the loss breaks ties."""
        return (0.0 if self.metric is None else -self.metric, self.loss)

    @property
    def logged(self) -> dict[str, float]:
        """The outcome as `metrics.jsonl` has it."""
        metric = {} if self.metric is None else {"dev_metric": round(self.metric, 3)}
        return {"dev_loss": round(self.loss, 5), **metric}


Gradients = Callable[[int, Sequence[str]], Mapping[str, Losses]]
Validate = Callable[[Sequence[str]], Mapping[str, Dev]]
Log = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Group:
    """Named tensors that share a learning rate."""

    tensors: Mapping[str, Tensor]
    lr: float


@dataclass(frozen=True)
class Plan:
    """How long and how: `steps` of `batch_size` examples a job, validated every `every` steps, warm-up then linear decay.

    A job ends early after `patience` validations in a row without a better one (0: never). Of jobs that are rivals, as the
    rates tried for one task are, only the one that did best on dev since its first step goes on after `halving_steps` steps (0:
    all go on): the state before it is the same for all, and tells nothing of a rate.
    """

    steps: int
    batch_size: int
    every: int
    patience: int = 0
    halving_steps: int = 0
    warmup: float = 0.06
    clip: float = 1.0


@dataclass(frozen=True)
class Fitted:
    """What came of a job. The trained tensors hold the best validated state; `seconds` is its share of the time.

    `since_start` is the best validation but that of the state before the first step (None: there was no other).
    """

    best_dev: Dev
    best_step: int
    steps: int
    examples: int
    seconds: float
    since_start: Dev | None = None

    @property
    def promise(self) -> tuple[float, float]:
        """Orders rivals at the plan's halving, the best lowest."""
        return (self.since_start or self.best_dev).rank


def fit(
    jobs: Mapping[str, Sequence[Group]],
    gradients: Gradients,
    plan: Plan,
    *,
    validate: Validate,
    checkpoint: Path | None = None,
    log: Log = lambda _job, _values: None,
    tick: Callable[[], object] = lambda: None,
    rivals: Callable[[str], str] | None = None,
    pause: bool = False,
) -> dict[str, Fitted]:
    """Minimise each job's loss and leave its best validated state in its tensors.

    Jobs of which `rivals` gives the same are rivals at the plan's halving. With `pause`, for rivals that must run one after the
    other, the fit stops at the halving and keeps its checkpoint, from which a call without it goes on.

    `gradients(step, jobs)` adds the gradients of these jobs' losses and returns each one's loss and its parts; it must
    depend on the step alone, so that a resumed run repeats an unbroken one exactly. The state before the first step is
    validated too: training can only improve on it. A job whose loss is not finite ends there; raises `MpddError` when
    that happened to all.
    """
    tensors = {(job, name): t for job, groups in jobs.items() for group in groups for name, t in group.tensors.items()}
    groups = [{"params": list(g.tensors.values()), "lr": g.lr} for groups in jobs.values() for g in groups]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    last = plan.halving_steps if pause and plan.halving_steps else plan.steps
    state = _resume(checkpoint, tensors, optimizer)
    if state is None:
        state = _State({job: _Best(dev) for job, dev in validate(list(jobs)).items()}, _copy(tensors))
        for job, best in state.jobs.items():
            log(job, {"step": 0, **best.dev.logged})
    while state.step < last and (active := [job for job, best in state.jobs.items() if not best.ended]):
        began = time.perf_counter()
        optimizer.zero_grad()
        losses = gradients(state.step, active)
        for job in [job for job in active if not math.isfinite(losses[job]["loss"])]:
            _give_up(state, job, tensors)
            active.remove(job)
            log(job, {"step": state.step, "diverged": True})
        for job in active:
            torch.nn.utils.clip_grad_norm_([t for (owner, _), t in tensors.items() if owner == job], plan.clip)
        _step(optimizer, _scale(state.step, plan))
        state.step += 1
        for job in active:
            state.jobs[job].seconds += (time.perf_counter() - began) / len(active)
            state.jobs[job].steps = state.step
        tick()
        if active and (state.step % plan.every == 0 or state.step in (plan.halving_steps, plan.steps)):
            for job, dev in validate(active).items():
                _judge(state, job, dev, tensors, plan)
                log(job, {"step": state.step, **{k: round(v, 5) for k, v in losses[job].items()}, **dev.logged})
            if rivals is not None and state.step == plan.halving_steps:
                _decide(state, active, rivals, plan)
            _save(checkpoint, state, tensors, optimizer)
    _restore(tensors, state.best)
    if checkpoint is not None and last == plan.steps:
        checkpoint.unlink(missing_ok=True)
    return {job: best.fitted(plan) for job, best in state.jobs.items()}


def _give_up(state: _State, job: str, tensors: Tensors) -> None:
    """End a job whose loss is not finite, at its best state; raise `MpddError` where that was the last one that had any."""
    state.jobs[job].ended = state.jobs[job].diverged = True
    for (owner, _), tensor in tensors.items():
        if owner == job:
            tensor.grad = None
    if all(best.diverged for best in state.jobs.values()):
        raise MpddError(f"The loss of {job} is not finite at step {state.step}; a smaller learning rate usually helps.")


@dataclass
class _Best:
    """A job's best validation and its step; steps taken, seconds spent, validations since, whether and how it is over, and the
    best validation but the first."""

    dev: Dev
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    since: int = 0
    ended: bool = False
    diverged: bool = False
    since_start: Dev | None = None

    def fitted(self, plan: Plan) -> Fitted:
        """What came of the job."""
        return Fitted(self.dev, self.step, self.steps, self.steps * plan.batch_size, self.seconds, self.since_start)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> _Best:
        """From a checkpoint."""
        devs = {name: Dev(**values[name]) for name in ("dev", "since_start") if values.get(name)}
        return cls(**{**values, **devs})


Tensors = Mapping[tuple[str, str], Tensor]  # by job and name


@dataclass
class _State:
    jobs: dict[str, _Best]
    best: dict[tuple[str, str], Tensor]
    step: int = field(default=0)


def _judge(state: _State, job: str, dev: Dev, tensors: Tensors, plan: Plan) -> None:
    """Keep a job's state if it is its best; end the job if it has had enough patience."""
    best = state.jobs[job]
    if best.since_start is None or dev.rank < best.since_start.rank:
        best.since_start = dev
    if dev.rank < best.dev.rank:
        best.dev, best.step, best.since = dev, state.step, 0
        state.best |= _copy({key: t for key, t in tensors.items() if key[0] == job})
    else:
        best.since += 1
        best.ended = 0 < plan.patience <= best.since


def _decide(state: _State, jobs: Sequence[str], rivals: Callable[[str], str], plan: Plan) -> None:
    """End every job but the most promising of each group of rivals, the first of equals."""
    groups: dict[str, list[str]] = {}
    for job in jobs:
        groups.setdefault(rivals(job), []).append(job)
    for group in groups.values():
        winner = min(group, key=lambda job: state.jobs[job].fitted(plan).promise)
        for job in group:
            state.jobs[job].ended |= job != winner


def _step(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """One step of every job that has gradients; the others stay as they are."""
    for group in optimizer.param_groups:
        group.setdefault("base_lr", group["lr"])
        group["lr"] = group["base_lr"] * scale
    optimizer.step()


def _scale(step: int, plan: Plan) -> float:
    warm = max(1, round(plan.warmup * plan.steps))
    return min((step + 1) / warm, (plan.steps - step) / max(1, plan.steps - warm), 1.0)


def _copy(tensors: Tensors) -> dict[tuple[str, str], Tensor]:
    return {key: t.detach().clone() for key, t in tensors.items()}


@torch.no_grad()
def _restore(tensors: Tensors, saved: Tensors) -> None:
    for key, tensor in tensors.items():
        tensor.copy_(saved[key])


def _save(path: Path | None, state: _State, tensors: Tensors, optimizer: torch.optim.Optimizer) -> None:
    if path is None:
        return
    parts = {f"now/{'/'.join(k)}": v.detach().cpu().contiguous() for k, v in tensors.items()}
    parts |= {f"best/{'/'.join(k)}": v.cpu().contiguous() for k, v in state.best.items()}
    parts |= {f"adam/{'/'.join(k)}/{m}": v.cpu().contiguous() for k, m, v in _moments(tensors, optimizer)}
    described = {"step": state.step, "jobs": {job: asdict(best) for job, best in state.jobs.items()}}
    write_atomically(path, save(parts, metadata={"loop": json.dumps(described)}))


def _resume(path: Path | None, tensors: Tensors, optimizer: torch.optim.Optimizer) -> _State | None:
    if path is None or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            described = json.loads(file.metadata()["loop"])
        now, best = ({k: parts[f"{part}/{'/'.join(k)}"].to(t.device) for k, t in tensors.items()} for part in ("now", "best"))
        stepped = [k for k in tensors if f"adam/{'/'.join(k)}/step" in parts]  # all but jobs that diverged at once
        moments = {k: {m: parts[f"adam/{'/'.join(k)}/{m}"] for m in ("step", "exp_avg", "exp_avg_sq")} for k in stepped}
        state = _State({job: _Best.read(values) for job, values in described["jobs"].items()}, best, described["step"])
        if state.jobs.keys() != {job for job, _ in tensors}:
            return None
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None  # a damaged checkpoint: start over
    _restore(tensors, now)
    for key, (step, first, second) in ((key, moment.values()) for key, moment in moments.items()):
        tensor = tensors[key]
        optimizer.state[tensor] = {"step": step, "exp_avg": first.to(tensor.device), "exp_avg_sq": second.to(tensor.device)}
    return state


def _moments(tensors: Tensors, optimizer: torch.optim.Optimizer) -> Iterator[tuple[tuple[str, str], str, Tensor]]:
    for key, tensor in tensors.items():
        for name, value in optimizer.state[tensor].items():
            yield key, name, value
