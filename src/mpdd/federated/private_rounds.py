"""A site's rounds with differential privacy: DP-SGD on the site's own examples, one schedule over all rounds of a run.

The noise is chosen for all steps of the run together, and the accountant is asked after every round what the steps so far have
spent. So a site's epsilon holds for all that it has sent: each round's prompt, and its factors where it shares them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mpdd.experiment.config import Experiment
from mpdd.experiment.setup import Run, source_data
from mpdd.federated.federation import DisagreementError
from mpdd.methods.options import Privacy
from mpdd.prompts.meta import MetaPrompt
from mpdd.training.loop import Fitted, Group, Log, Plan
from mpdd.training.private import Guarantee, Private, fit_privately, spent

COVERS = "each {} of the training examples of a site, over all rounds; not dev examples, of which one mean loss a round leaves it"


def require_private(experiment: Experiment) -> None:
    """Raise `DisagreementError` where a site's stage 2 would use its examples other than by clipped gradients."""
    options = experiment.distil
    using = {
        "distil.kl": options.kl, "distil.hidden": options.hidden, "distil.examples": options.examples,
        "distil.held_out_share": options.held_out_share,
    }  # fmt: skip
    wrong = [f"{name} {value:g}" for name, value in using.items() if value]
    if wrong:
        raise DisagreementError(
            "This site cannot train with differential privacy as it is set", found=", ".join(wrong), wanted="0"
        )


def units_of(run: Run, options: Privacy) -> Private:
    """The training examples of all of a site's sources by unit, and the guarantee of all rounds together.

    With the unit document, what has the same document in several sources is one unit. Raises `MpddError` without the library
    opacus, and `InputError` where the delta is too large for so few units.
    """
    rows, documents = [], []
    for name in run.sources:
        part = run.tasks[name]
        rows += list(source_data(run, part).train)
        documents += [example.document for example in part.train]
    distil = run.experiment.distil
    schedule: Callable[..., Guarantee] = partial(
        Guarantee.calibrated, **dict(options), batch=distil.batch_size, steps=distil.steps
    )
    return Private.of(rows, documents, lambda units: schedule(units=units), options.unit)


def spent_after(guarantee: Guarantee, steps: int) -> dict[str, Any]:
    """What a site has spent after so many `steps` of its schedule, as a prompt file has it."""
    epsilon = spent(guarantee.noise_multiplier, guarantee.delta, guarantee.sampling_rate, steps)
    so_far = replace(guarantee, epsilon=epsilon, steps=steps)
    return {**so_far.to_dict(), "covers": COVERS.format(guarantee.unit)}


def train_privately(
    run: Run, private: Private, meta: MetaPrompt, plan: Plan, *, lr_shared: float, lr_factors: float, log: Log
) -> Fitted:
    """Train P* and the site's factors for the steps of one round; the last state is kept, as no dev example may choose."""
    groups = [Group({"shared": meta.shared}, lr_shared), Group({"u": meta.u, "v": meta.v}, lr_factors)]
    return fit_privately(run.backbone, private, groups, meta, plan, log=log)


def worst(guarantees: Sequence[Mapping[str, Any]], asked: Privacy) -> dict[str, Any]:
    """The guarantee of a joint metaprompt: that of the site with the largest epsilon.

    Each unit is at one site, and what other sites do with that site's prompt costs nothing more. Raises `DisagreementError`
    where a site kept less than was asked.
    """
    for guarantee in guarantees:
        if guarantee["unit"] != asked.unit or guarantee["delta"] > asked.delta or guarantee["epsilon"] > asked.epsilon:
            raise DisagreementError(
                "A site kept less privacy than the federation asks",
                found=f"epsilon {guarantee['epsilon']:.3g}, delta {guarantee['delta']:g}, unit {guarantee['unit']}",
                wanted=f"epsilon {asked.epsilon:g}, delta {asked.delta:g}, unit {asked.unit}",
            )
    largest = max(guarantees, key=lambda guarantee: float(guarantee["epsilon"]))
    return {**largest, "covers": f"{largest['covers']}; the largest epsilon of {len(guarantees)} sites"}
