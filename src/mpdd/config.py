"""An experiment as a value: read from TOML, checked all at once, written back as resolved."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mpdd.errors import InputError

Shots = int | Literal["all"]
Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, le=10)]
Share = Annotated[float, Field(ge=0)]
MethodName = Literal[
    "zero-shot", "prompt-tuning", "mpdd", "mpdd-zero-shot", "mpdd-factors", "mpdd-no-teachers", "lora"
]  # fmt: skip


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """The most examples a task gives to each use; drawn once, the same for every method and seed."""

    train: Positive = 1000
    dev: Positive = 64
    test: Positive = 500


class PromptOptions(_Section):
    """The metaprompt's shape: virtual tokens, rank of the task factors, and what its rows start from."""

    length: Positive = 16
    rank: Positive = 1
    start: Literal["vocabulary", "text", "random"] = "vocabulary"


class Steps(_Section):
    """Length of a training run: steps of `batch_size` examples, validated every `every` steps."""

    steps: Positive = 200
    batch_size: Positive = 8
    every: Positive = 50


class Teach(Steps):
    """Stage 1; each source takes the rate with the lowest dev loss."""

    lrs: tuple[Rate, ...] = (0.01,)


class Distil(Steps):
    """Stage 2. `start` takes the mean of the teachers or fresh rows; weights of the loss parts; rates."""

    start: Literal["teachers", "fresh"] = "teachers"
    lr_shared: Rate = 0.01
    lr_factors: Rate = 0.01
    kl: Share = 0.9
    hidden: Share = 0.9
    temperature: Rate = 1.0
    stochastic: bool = True


class Adapt(Steps):
    """Stage 3 and its baselines: one budget for all. Every method tries its own rates, equally many.

    MPDD trains the shared prompt at the rate tried and the factors at `factor_ratio` times it.
    """

    prompt_tuning: tuple[Rate, ...] = (0.003, 0.01, 0.03)
    mpdd: tuple[Rate, ...] = (0.003, 0.01, 0.03)
    lora: tuple[Rate, ...] = (0.0003, 0.001, 0.003)
    factor_ratio: Rate = 1.0
    lora_rank: Positive = 8


class Experiment(_Section):
    """Everything that a run depends on."""

    name: str
    backbone: str = "embedded"
    sources: tuple[str, ...] = Field(min_length=2)
    targets: tuple[str, ...] = Field(min_length=1)
    methods: tuple[MethodName, ...] = Field(
        default=("zero-shot", "prompt-tuning", "lora", "mpdd-zero-shot", "mpdd-factors", "mpdd"), min_length=1
    )
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    shots: tuple[Shots, ...] = Field(default=("all",), min_length=1)
    limits: Limits = Limits()
    prompt: PromptOptions = PromptOptions()
    teach: Teach = Teach()
    distil: Distil = Distil()
    adapt: Adapt = Adapt()

    def problems(self) -> list[str]:
        """What types alone cannot see, one sentence each."""
        trials = {len(self.adapt.prompt_tuning), len(self.adapt.mpdd), len(self.adapt.lora)}
        both = sorted(set(self.sources) & set(self.targets))
        return [
            *(["adapt: every method must try equally many rates, or the comparison is not fair"] if len(trials) > 1 else []),
            *([f"targets: {', '.join(both)} stand among the sources too; a target must be held out"] if both else []),
            *([f"prompt.rank: {self.prompt.rank} is above prompt.length"] if self.prompt.rank > self.prompt.length else []),
            *(f"shots: {shots} is not a positive count" for shots in self.shots if shots != "all" and shots <= 0),
        ]


def read(path: Path) -> Experiment:
    """Read an experiment file; raise one `InputError` that lists every problem in it."""
    try:
        return build(tomllib.loads(path.read_text(encoding="utf-8")), path.name)
    except FileNotFoundError as error:
        raise InputError("There is no such experiment file", found=str(path), wanted="a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is not valid TOML", found=str(error).splitlines()[0]) from error


def build(values: dict[str, Any], where: str) -> Experiment:
    """Build an experiment from plain values; raise one `InputError` that lists every problem."""
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        found = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()]
        raise InputError(f"{where} has {len(found)} problem(s): " + "; ".join(found)) from error
    if problems := experiment.problems():
        raise InputError(f"{where} has {len(problems)} problem(s): " + "; ".join(problems))
    return experiment


def to_toml(experiment: Experiment) -> str:
    """The experiment as resolved, defaults included."""
    return tomli_w.dumps(experiment.model_dump(mode="json"))
