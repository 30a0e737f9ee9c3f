"""What a method of the comparison is given, and what it gives back: its answers on the test examples, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.task import Example, Task
from mpdd.inference.confidence import fit, units
from mpdd.inference.decoding.priors import Priors
from mpdd.inference.predict import Prediction, Request, predict
from mpdd.methods.options import Adapt, PromptOptions, Steps
from mpdd.methods.priors import fit_priors
from mpdd.prompts.store import PromptFile
from mpdd.training.loop import Plan
from mpdd.training.tune import ChoiceLoss, Data, Trial, Watch, best


def plan_of(options: Steps) -> Plan:
    """The length of a training run as the loop takes it."""
    return Plan(options.steps, options.batch_size, options.every, options.patience)


@dataclass(frozen=True)
class Cell:
    """One target at one number of shots and one seed, with all that a method may use.

    `train` are the examples of which `data` has the encoded rows. From the sources it has the metaprompt to start from (`meta`),
    the teachers' prompts by task, and the tensors of LoRA or IA3 trained on them (`adapter`), where the method asks for them.
    `grounded` says how its answers are decoded, `fits_priors` whether their priors are fitted on dev (`methods/priors.py`).
    """

    backbone: Backbone
    task: Task
    data: Data
    dev: Sequence[Example]
    test: Sequence[Example]
    adapt: Adapt
    shape: PromptOptions
    seed: int
    save_to: Path
    watch_one: Callable[[str], Watch]
    tick: Callable[[int], object]
    provenance: Mapping[str, Any]
    meta: PromptFile | None = None
    teachers: Mapping[str, PromptFile] = field(default_factory=dict)
    adapter: Mapping[str, Tensor] = field(default_factory=dict)
    train: Sequence[Example] = ()
    loss_per: Literal["task", "example"] = "task"
    grounded: bool = False
    fits_priors: bool = False
    choice_loss: ChoiceLoss = "likelihood"

    @property
    def watch(self) -> Watch:
        """The watch over all trials of a method that runs them at once."""
        return self.watch_one("trials")

    @property
    def plan(self) -> Plan:
        """The training budget that every method gets for each rate it tries."""
        return replace(plan_of(self.adapt), halving_steps=self.adapt.halving_steps)

    def data_for(self, length: int) -> Data:
        """The training and validation rows, encoded for a prompt of `length` rows."""
        return Data.of(self.backbone, self.task.card, self.train, self.dev, length, 0.0, self.loss_per, self.choice_loss)

    def priors(self, prompt: Tensor | None) -> dict[str, Any]:
        """The priors of answers after training, fitted on the dev examples, as a prompt file has them; empty where not asked,
        and where training is private, as they would tell of dev examples.

        `prompt` is None where what is trained stands in the backbone.
        """
        return self.priors_by(self.requests(prompt, self.dev))

    def priors_by(self, requests: Sequence[Request]) -> dict[str, Any]:
        """The same, fitted on these requests for dev examples."""
        return fit_priors(self.backbone, requests) if self.fits_priors and not self.data.private else {}

    def calibration(self, prompt: Tensor, priors: Mapping[str, Any] | None = None) -> dict[str, float]:
        """The scale of confidences under `prompt`, fitted on the dev examples, as a prompt file has it; empty for texts, and
        where training is private, as the file would tell of dev examples."""
        card = self.task.card
        if self.data.private or card.type == "summarization" or card.form == "free":
            return {}
        answers = predict(self.backbone, self.requests(prompt, self.dev, priors))
        scored = units(self.backbone.tokenizer, card, self.dev, answers)
        scale = fit([p for p, _ in scored], [right for _, right in scored])
        return {"slope": scale.slope, "shift": scale.shift, "units": len(scored)}

    @property
    def privacy(self) -> dict[str, Any]:
        """The guarantee that the training of this cell keeps, as a prompt file has it; empty without one."""
        return self.data.private.guarantee.to_dict() if self.data.private else {}

    def answer(self, prompt: Tensor | None, priors: Mapping[str, Any] | None = None) -> list[Prediction]:
        """Answer the test examples under `prompt`, with these priors of answers."""
        return predict(self.backbone, self.requests(prompt, self.test, priors), tick=self.tick)

    def requests(
        self, prompt: Tensor | None, examples: Sequence[Example], priors: Mapping[str, Any] | None = None
    ) -> list[Request]:
        """Requests for examples of the task under `prompt`, decoded as the experiment wants."""
        class_priors = Priors.of(priors or {})
        return [Request(self.task.card, e, prompt, grounded=self.grounded, priors=class_priors) for e in examples]


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
    calibration: Mapping[str, float] = field(default_factory=dict)
    priors: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        predictions: list[Prediction],
        trainable: int,
        stored: int,
        trials: Sequence[Trial[Any]],
        calibration: Mapping[str, float] | None = None,
        priors: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """The outcome of the best of `trials`, at the cost of all."""
        chosen = best(trials)
        return cls(
            predictions,
            trainable,
            stored,
            sum(trial.fitted.examples for trial in trials),
            sum(trial.fitted.seconds for trial in trials),
            len(trials),
            chosen.lr,
            chosen.fitted.best_step,
            calibration or {},
            priors or {},
        )
