"""The audit of one prompt file: attacks on it, extraction, canaries in a fresh adaptation, shadow prompts; all as one record.

What has to be adapted lies in a folder of its own, by settings and data, so that the same audit goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.cards import card_file
from mpdd.data.cards.fitting import fitted
from mpdd.data.mixture import few_shot
from mpdd.data.task import Example, TaskCard, require_same_answers
from mpdd.errors import InputError
from mpdd.evaluation import membership
from mpdd.evaluation.canaries import FORMAT, Canary, Exposure, canaries, exposure
from mpdd.evaluation.extraction import WRITTEN, extraction
from mpdd.evaluation.membership import FALSE_ALARMS, LIKELIHOOD_RATIO, Attack, attack, attacks, losses
from mpdd.experiment.again import Adapted, Recipe, adapt_again, seconds_of
from mpdd.experiment.config import Limits
from mpdd.experiment.folder import alone_in
from mpdd.progress import Reporter
from mpdd.prompts.store import PromptFile, load_prompt, task_card

_FEWEST = 10  # examples of each kind, below which an attack says nothing
FEWEST_SHADOWS = 2


@dataclass(frozen=True)
class Parts:
    """The examples that a prompt was trained on, those that chose its state, and those of the test split."""

    members: tuple[Example, ...]
    dev: tuple[Example, ...]
    fresh: tuple[Example, ...]


def audit(
    file: PromptFile, card: Path, backbone: Backbone, *, canary_count: int = 0, shadow_count: int = 0, shots: int | None = None,
    seed: int | None = None, out: Path | None = None, reporter: Reporter,
) -> dict[str, Any]:  # fmt: skip
    """Attack a prompt and return the record that `evaluation.privacy_page` puts into words. No text of a note is in it.

    `shots` and `seed` say on which examples it was trained, where its file does not. With canaries or shadow prompts the
    task is adapted again, in `out` (`runs/audit-NAME` by default). Raises `InputError` where the prompt, the card or the numbers
    do not fit.
    """
    task = task_card(file)
    if shadow_count and shadow_count < FEWEST_SHADOWS:
        raise InputError("One shadow prompt compares with nothing", found=shadow_count, wanted=f"{FEWEST_SHADOWS} or more")
    again = Recipe.of(file) if canary_count or shadow_count else None
    parts = parts_of(card, backbone, file, shots, seed)
    beside = file.metaprompt_file()
    reference = None if beside is None else load_prompt(beside).rows()
    results = attacks(backbone, task, parts.members, parts.fresh, file.rows(), reference)
    record: dict[str, Any] = {
        "prompt": file.path.name,
        "task": task.name,
        "backbone": Path(file.header.backbone).name,
        "training_examples": len(parts.members),
        "fresh_examples": len(parts.fresh),
        "reference": "the bare backbone" if beside is None else "the metaprompt",
        "false_alarms": FALSE_ALARMS,
        "privacy": dict(file.header.privacy),
        "extraction": _extraction(backbone, task, parts, file.rows()),
    }
    if again:
        folder = out or Path("runs") / f"audit-{file.path.stem}"
        with alone_in(folder):
            adaptations = Fresh(again, backbone, parts, folder, reporter)
            adaptations.announce(canary_count, shadow_count)
            if canary_count:
                record["canaries"] = adaptations.exposures(canary_count, file.rows())
            if shadow_count:
                results.append(adaptations.likelihood_ratio(shadow_count, file.rows()))
                record["shadows"] = shadow_count
    return record | {"attacks": [asdict(result) for result in results]}


def parts_of(card: Path, backbone: Backbone, file: PromptFile, shots: int | None, seed: int | None) -> Parts:
    """The examples that a prompt was trained on, as `mpdd adapt` draws them, those of dev, and those of the test split."""
    own = card_file.read(card)
    require_same_answers(own.card, task_card(file), card.name)
    task = fitted(own, backbone.tokenizer, backbone.context, file.header.length, backbone.template)
    splits, recorded = task.load(card.parent), file.header.provenance.get("recipe", {})
    limits, count = Limits(), shots or recorded.get("shots", "all")
    members = few_shot(splits.train, recorded.get("train_limit", limits.train), 0)
    if count != "all":
        members = few_shot(members, int(count), recorded.get("seed", 0) if seed is None else seed)
    if min(len(members), len(splits.test)) < _FEWEST:
        raise InputError(
            f"{card.name} has too few examples to attack", found=f"{len(members)} training and {len(splits.test)} test examples",
            wanted=f"at least {_FEWEST} of each",
        )  # fmt: skip
    return Parts(members, few_shot(splits.dev, limits.dev, 0), splits.test)


def _extraction(backbone: Backbone, task: TaskCard, parts: Parts, rows: Tensor) -> dict[str, Any]:
    of_kind = {"training": parts.members, "fresh": parts.fresh}
    under = {name: asdict(extraction(backbone, task, part, rows)) for name, part in of_kind.items()}
    return {"written_tokens": WRITTEN, **under}


@dataclass(frozen=True)
class Fresh:
    """Fresh adaptations of a prompt's task by its recipe, in a folder that keeps them."""

    recipe: Recipe
    backbone: Backbone
    parts: Parts
    folder: Path
    reporter: Reporter

    def announce(self, canary_count: int, shadow_count: int) -> None:
        """Say what will be adapted, and about how long that takes."""
        runs = bool(canary_count) + shadow_count
        seconds = runs * seconds_of(self.recipe, self.backbone, self.parts.members)
        what = [f"1 beside {canary_count} canaries"] * bool(canary_count)
        what += [f"{shadow_count} on halves of the {len(self.parts.members)} training examples"] * bool(shadow_count)
        self.reporter.say(
            f"The audit adapts {runs} time{'s' * (runs > 1)} ({' and '.join(what)}), {self.recipe.steps} steps each: about "
            f"{_duration(seconds)} here, less what is in {self.folder} already. The same command goes on where it was stopped. "
            "That folder is as confidential as the notes."
        )

    def exposures(self, count: int, audited: Tensor) -> dict[str, Any]:
        """The exposure of canaries beside which the task was adapted, and as a baseline under the audited prompt, which never saw
        them."""
        inserted = canaries(self.recipe.card, count, self.recipe.seed)
        train = [*self.parts.members, *(canary.example for canary in inserted)]
        adapted = self.adapted(f"canaries-{count}", train)
        with adapted.inside(self.backbone) as rows:
            trained = self._exposure(inserted, rows)
        return {"format": FORMAT, "inserted": asdict(trained), "never_seen": asdict(self._exposure(inserted, audited))}

    def likelihood_ratio(self, count: int, audited: Tensor) -> Attack:
        """The attack with so many shadow prompts, each adapted to half of the training documents.

        Fresh notes are in no shadow's examples; half of the shadows are left out for them as well, so that both are judged alike.
        """
        pool = [*self.parts.members, *self.parts.fresh]
        inside = membership.halves([example.document for example in pool], count, self.recipe.seed)
        members = len(self.parts.members)
        under = []
        for number, chosen in enumerate(inside, start=1):
            self.reporter.say(f"  shadow prompt {number} of {count}")
            train = [example for example, is_in in zip(self.parts.members, chosen[:members], strict=True) if is_in]
            with self.adapted(f"shadow-{number}-of-{count}", train).inside(self.backbone) as rows:
                under.append(losses(self.backbone, self.recipe.card, pool, rows))
        target = membership.log_odds(losses(self.backbone, self.recipe.card, pool, audited))
        scores = membership.likelihood_ratio(target, membership.log_odds(np.array(under)), ~inside)
        return attack(LIKELIHOOD_RATIO, scores[:members], scores[members:])

    def adapted(self, name: str, train: Sequence[Example]) -> Adapted:
        """The task adapted to these examples, taken from the folder where it is there for the same settings and examples."""
        recipe, meta = self.recipe, self.recipe.meta.header.digest if self.recipe.meta else ""
        options = (recipe.method, recipe.adapt, recipe.shape, recipe.seed, recipe.card, recipe.guarantee, meta)
        content = repr((options, self.backbone.fingerprint, list(train), list(self.parts.dev)))
        key = hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()[:12]
        with self.reporter.job(name, self.recipe.steps) as tick:
            path = self.folder / f"{name}-{key}.safetensors"
            return adapt_again(self.recipe, self.backbone, train, self.parts.dev, path, tick=tick)

    def _exposure(self, inserted: Sequence[Canary], rows: Tensor | None) -> Exposure:
        return exposure(inserted, lambda examples: losses(self.backbone, self.recipe.card, examples, rows), seed=self.recipe.seed)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
