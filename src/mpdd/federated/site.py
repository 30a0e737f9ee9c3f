"""One site's part: stage 2 on its own sources from the P* that it is given; its factors stay in its run folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mpdd.errors import InputError
from mpdd.experiment import config
from mpdd.experiment.setup import Run, kinds_of, source_data
from mpdd.experiment.sources import save_metaprompt, teach_sources, weights_of
from mpdd.federated.agreement import Agreement
from mpdd.federated.federation import DisagreementError
from mpdd.federated.private_rounds import require_private, spent_after, train_privately, units_of
from mpdd.methods.cell import plan_of
from mpdd.methods.options import Privacy
from mpdd.progress import Reporter
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import PromptFile, load_prompt
from mpdd.training.distil import distil
from mpdd.training.private import Private
from mpdd.training.tune import Data, mean_losses

SEEDS_APART = 1_000_003  # between rounds, so that each draws other examples and the first draws what plain training draws


@dataclass(frozen=True)
class Turn:
    """Round `number` of `rounds`, from 1, in the federated run with the name `run`."""

    run: str
    number: int
    rounds: int


@dataclass(frozen=True)
class Site:
    """A site's experiment, opened in its run folder."""

    run: Run

    @classmethod
    def open(cls, experiment: Path, out: Path | None, reporter: Reporter) -> Site:
        """Load the site's backbone and data. Raises `InputError` without sources, and what `Run.open` raises."""
        read = config.read(experiment)
        if not read.sources:
            raise InputError(f"{experiment.name} has no sources to train the shared prompt on", wanted="two or more sources")
        return cls(Run.open(read, out or Path("runs") / read.name, reporter, "mpdd federate"))

    @property
    def agreement(self) -> Agreement:
        """What must be alike at all sites."""
        return Agreement.of(self.run.backbone, self.run.experiment.prompt)

    @property
    def examples(self) -> int:
        """Training examples over all sources: the weight of this site in the average (n_k of arXiv 1602.05629, algorithm 1)."""
        return sum(len(self.run.tasks[name].train) for name in self.run.sources)

    def train(
        self, shared: Float[Tensor, "length width"], turn: Turn, privacy: Privacy | None = None
    ) -> Float[Tensor, "length width"]:
        """Train P* and the site's factors for one round and return P*; the factors are kept.

        The rates fall from round to round as they fall within one; the optimizer starts anew. What comes back is the state
        with the lowest loss on the site's own dev examples, the one that was given among them; with `privacy` the last state.
        """
        if privacy is not None:
            return self._train_privately(shared, turn, privacy)
        options, meta = self.run.experiment.distil, self._metaprompt(shared, turn)
        steps = _share(options.steps, turn)
        teachers = self._teachers()
        cache = self.run.folder.path / "checkpoints" / "teachers-say-federated"
        watch = self.run.folder.watch(f"federated-{turn.number}", lambda: None, stage="distil", method="mpdd", task="all")
        left = (turn.rounds - turn.number + 1) / turn.rounds
        fitted = distil(
            self.run.backbone,
            self._data(),
            teachers,
            meta,
            replace(plan_of(options), steps=steps),
            lr_shared=options.lr_shared * left,
            lr_factors=options.lr_factors * left,
            weights=weights_of(options),
            seed=self.run.experiment.seeds[0] + SEEDS_APART * (turn.number - 1),
            cache=cache,
            kinds=kinds_of(self.run),
            watch=replace(watch, checkpoint=None),
        )
        shutil.rmtree(cache, ignore_errors=True)
        self.run.reporter.say(f"  round {turn.number} of {turn.rounds}: dev loss {fitted.best_dev.loss:.3f} with its own prompt")
        self._save(meta, turn, {})
        return meta.shared.detach().cpu()

    def _train_privately(self, shared: Tensor, turn: Turn, privacy: Privacy) -> Tensor:
        require_private(self.run.experiment)
        options, meta = self.run.experiment.distil, self._metaprompt(shared, turn, is_private=True)
        steps, left = _share(options.steps, turn), (turn.rounds - turn.number + 1) / turn.rounds
        watch = self.run.folder.watch(f"federated-{turn.number}", lambda: None, stage="distil", method="mpdd", task="all")
        train_privately(
            self.run, self._private(privacy), meta, replace(plan_of(options), steps=steps), lr_shared=options.lr_shared * left,
            lr_factors=options.lr_factors * left, log=watch.log,
        )  # fmt: skip
        guarantee = self._spent(turn, privacy)
        self.run.reporter.say(f"  round {turn.number} of {turn.rounds}: epsilon {guarantee['epsilon']:.2f} so far")
        self._save(meta, turn, guarantee)
        return meta.shared.detach().cpu()

    def _private(self, privacy: Privacy) -> Private:
        """The site's units with the guarantee of all rounds; the accountant is slow, and its answers are kept."""
        return units_of(self.run, privacy)

    def _spent(self, turn: Turn, privacy: Privacy | None) -> dict[str, Any]:
        """The guarantee that the rounds so far have kept; empty without one."""
        if privacy is None:
            return {}
        return spent_after(self._private(privacy).guarantee, self.run.experiment.distil.steps * turn.number // turn.rounds)

    def settle(
        self, shared: Float[Tensor, "length width"], turn: Turn, privacy: Privacy | None = None
    ) -> tuple[float, dict[str, Any]]:
        """Take the average P* as the site's own, beside its factors; return the mean dev loss in nats over its sources, and the
        guarantee that the rounds so far have kept (empty without `privacy`)."""
        meta = self._metaprompt(shared, turn, is_private=privacy is not None, is_trained=True)
        guarantee = self._spent(turn, privacy)
        dev = {task: part.dev for task, part in self._data().items()}
        with torch.no_grad():
            losses = mean_losses(self.run.backbone, dev, {task: meta(task) for task in meta.tasks})
        mean = sum(losses.values()) / len(losses)
        self.run.reporter.say(f"  round {turn.number} of {turn.rounds}: dev loss {mean:.3f} with the shared prompt")
        self._save(meta, turn, guarantee)
        return mean, guarantee

    @property
    def _path(self) -> Path:
        return self.run.folder.prompt("metaprompt")

    def _save(self, meta: MetaPrompt, turn: Turn, guarantee: Mapping[str, Any]) -> None:
        provenance = {"federation": {"run": turn.run, "round": turn.number, "rounds": turn.rounds}}
        save_metaprompt(self.run, self._path, meta, provenance, privacy=guarantee)

    def _metaprompt(self, shared: Tensor, turn: Turn, *, is_private: bool = False, is_trained: bool = False) -> MetaPrompt:
        """P* with the site's factors, where they were trained in this run or beside this very P*; else with fresh ones.

        With `is_private` only factors of this run's own private rounds are taken; `is_trained`: this round has been trained.
        """
        meta = MetaPrompt(shared, self.run.sources, self.run.experiment.prompt.rank, seed=self.run.experiment.seeds[0])
        before = self._earlier()
        fits = before is not None and (
            before.header.provenance["federation"]["run"] == turn.run or torch.equal(before.tensors["shared"], shared)
        )
        if is_private and before is not None:
            is_own = before.header.provenance["federation"]["run"] == turn.run and bool(before.header.privacy)
            fits = is_own and (turn.number > 1 or is_trained)
        if before is not None and fits:
            with torch.no_grad():
                meta.u.copy_(before.tensors["u"])
                meta.v.copy_(before.tensors["v"])
        return meta.to(self.run.backbone.device)

    def _earlier(self) -> PromptFile | None:
        """What an earlier round left."""
        if not self._path.is_file():
            return None
        prompt = load_prompt(self._path, self.run.backbone)
        if "federation" not in prompt.header.provenance:
            raise InputError(
                f"The folder {self.run.folder.path} holds a metaprompt that was not made in a federation",
                wanted="a folder of its own for the federation",
                next_step='Name another with out="..." in the node\'s configuration.',
            )
        return prompt

    def _teachers(self) -> Mapping[str, Tensor]:
        """The rows of the site's own teachers, taught before the first round where its experiment weighs them."""
        if not weights_of(self.run.experiment.distil).needs_teachers:
            return {}
        taught = teach_sources(self.run)
        return {task: file.rows().to(self.run.backbone.device) for task, file in taught.items()}

    def _data(self) -> dict[str, Data]:
        return {name: source_data(self.run, self.run.tasks[name]) for name in self.run.sources}


def _share(steps: int, turn: Turn) -> int:
    """The steps of one round, so that all rounds together have `steps`. Raises `DisagreementError` where that leaves none."""
    if turn.rounds > steps:
        raise DisagreementError(
            "This site has fewer steps than the federation has rounds", found=f"distil.steps {steps}",
            wanted=f"{turn.rounds} or more",
        )  # fmt: skip
    return steps * turn.number // turn.rounds - steps * (turn.number - 1) // turn.rounds


@lru_cache(maxsize=8)
def opened(experiment: str, out: str) -> Site:
    """The site of an experiment file, kept for the next message where that comes to the same process."""
    return Site.open(Path(experiment), Path(out) if out else None, Reporter())


def saved_metaprompt(experiment: str, out: str) -> PromptFile:
    """The metaprompt that a site has, without opening the site. Raises `InputError` before the first round."""
    folder = Path(out) if out else Path("runs") / config.read(Path(experiment)).name
    return load_prompt(folder / "prompts" / "metaprompt.safetensors")
