"""What an experiment says of its methods: their names, the length of their training and the rates that each tries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from mpdd.data.task import PROMPT_LENGTH
from mpdd.files.toml import Positive, Rate, Rates, Section
from mpdd.inference.decoding import GROUNDED
from mpdd.methods.registry import checked_name

MethodName = Annotated[str, AfterValidator(checked_name)]


class PromptOptions(Section):
    """The metaprompt's shape: virtual tokens, rank of the task factors, and what its rows start from.

    `depth`: virtual tokens at the input alone (as in the paper), or with rows of their own before every layer (as in
    P-tuning v2, Liu et al. 2022, arXiv 2110.07602), which are as many times as many numbers.
    """

    length: Positive = PROMPT_LENGTH
    rank: Positive = 1
    depth: Literal["input", "all"] = "input"
    start: Literal["vocabulary", "text", "random"] = "vocabulary"

    @model_validator(mode="after")
    def _fits(self) -> PromptOptions:
        if self.rank > self.length:
            raise ValueError(f"rank {self.rank} is above length {self.length}")
        return self


class Decoding(Section):
    """How answers are decoded at the targets, by every method alike.

    `grounded`: entities, relations, extracted answers and multiple labels can only name the card's labels and what stands in
    the text (`inference/decoding`). Answers to dev examples, which choose a step or fit a scale of confidences, are too.
    `priors`: after training the log-odds of "none", of ending a list and of each class are shifted to what makes the dev answers
    likeliest (`methods/priors.py`); methods that train nothing have none.
    """

    grounded: bool = GROUNDED
    priors: bool = False


class Steps(Section):
    """Length of a training run: steps of `batch_size` examples, validated every `every` steps.

    A run ends early after `patience` validations in a row without a better one (0: never).
    """

    steps: Positive = 200
    batch_size: Positive = 8
    every: Positive = 50
    patience: Annotated[int, Field(ge=0)] = 0


class Privacy(Section):
    """Differential privacy of stage 3 and its baselines (DP-SGD): what is published hides each `unit` of the training examples.

    `unit` is an example, or all examples of a document (a patient, where the card's `document` column names patients). A step
    draws `adapt.batch_size` units on average, clips the gradient of each to norm `clip` and adds noise, as much as `epsilon`
    and `delta` ask for. Every method has one rate, and the last state is kept: choosing by dev examples would not be private.
    """

    epsilon: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    delta: Annotated[float, Field(gt=0, lt=0.1)] = 1e-5
    unit: Literal["example", "document"] = "example"
    clip: Annotated[float, Field(gt=0, le=1000)] = 1.0


class Adapt(Steps):
    """Stage 3 and its baselines: one budget for all. Every method tries its own rates, equally many.

    `mpdd-full` trains the shared prompt at the rate tried, and the factors at `factor_ratio` times it. Prompt tuning has
    `prompt_tuning_length` virtual tokens at the input (0: as many as the metaprompt); deep prompt tuning is of the metaprompt's
    length, with rows before every layer. With `halving_steps` every method tries its rates for so many steps only, and goes
    on with the one that is then best on dev (0: to the end).

    Which step and which rate are kept is decided on dev for every method alike (`select_by`): by the `loss`; by the `accuracy`
    of answer tokens, gold tokens before them given; or by the headline `metric` of the answers to the first `select_examples`
    dev examples, for which they are decoded. The loss breaks ties.

    MPDD's target factors start from the `mean` of the sources', from the mean of those with answers of the same `kind`, from
    those of the source whose prompt fits the target's training examples best (`nearest`), or from a mix weighted by how well
    each fits (`weighted`). Without examples, `nearest` and `weighted` mean `kind`.

    `in_context_examples`: at most so many training examples stand in front of a question (`in-context`), or are made into
    prompt rows (`mpdd-examples`, `mpdd-context`); `example_rows`: the most rows made of them, all together. `row_dropout`: the
    share of these rows that `mpdd-context` leaves out at random in each training row.
    """

    prompt_tuning: Rates = (0.003, 0.01, 0.03)
    prompt_tuning_length: Annotated[int, Field(ge=0)] = 0
    deep_prompt_tuning: Rates = (0.03, 0.1, 0.3)
    mpdd: Rates = (0.003, 0.01, 0.03)
    lora: Rates = (0.0003, 0.001, 0.003)
    ia3: Rates = (0.003, 0.01, 0.03)
    full_finetuning: Rates = (0.00003, 0.0001, 0.0003)
    factor_ratio: Rate = 1.0
    factor_start: Literal["mean", "kind", "nearest", "weighted"] = "mean"
    lora_rank: Positive = 8
    select_by: Literal["loss", "accuracy", "metric"] = "loss"
    select_examples: Positive = 32
    halving_steps: Annotated[int, Field(ge=0)] = 0
    in_context_examples: Positive = 8
    example_rows: Positive = 64
    row_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    privacy: Privacy | None = None

    @field_validator("privacy")
    @classmethod
    def _chooses_nothing(cls, privacy: Privacy | None, others: ValidationInfo) -> Privacy | None:
        if privacy and others.data.get("factor_start") in ("nearest", "weighted"):
            raise ValueError("factor_start looks at the training examples, which is not private; wanted mean or kind")
        return privacy

    @field_validator("halving_steps")
    @classmethod
    def _ends_before_the_run(cls, halving_steps: int, others: ValidationInfo) -> int:
        if halving_steps >= others.data.get("steps", halving_steps + 1):
            raise ValueError(f"should be below the {others.data['steps']} steps of the run")
        return halving_steps

    def steps_of(self, rates: int) -> int:
        """The steps of all rates that a method tries, together."""
        return self.steps + (rates - 1) * (self.halving_steps or self.steps)
