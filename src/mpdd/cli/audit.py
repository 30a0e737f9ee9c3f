"""`mpdd audit`: what a prompt file tells of the notes that it was trained on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpdd.errors import InputError

if TYPE_CHECKING:
    from mpdd.backbone.model import Backbone
    from mpdd.data.task import Example
    from mpdd.prompts.store import PromptFile

_FEWEST = 10  # examples of each kind, below which an attack says nothing


def audit(
    prompt: Annotated[Path, typer.Argument(metavar="PROMPT", help="The prompt file.")],
    card: Annotated[Path, typer.Argument(metavar="CARD.toml", help="The card of the task that it was trained on.")],
    shots: Annotated[int | None, typer.Option("--shots", help="As it was trained: so many examples; default all.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="As it was trained.")] = 0,
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is, if not where the prompt says.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Attack a prompt: can its training notes be told from fresh ones? No text is shown."""
    from mpdd.backbone.model import load as load_backbone
    from mpdd.evaluation.membership import FALSE_ALARMS, attacks
    from mpdd.prompts.store import load_prompt

    opened = load_backbone(backbone or load_prompt(prompt).header.backbone)
    file = load_prompt(prompt, opened)
    if file.header.card is None:
        raise InputError(f"{prompt.name} is not for one task", found=f"kind {file.header.kind}", wanted="a task's prompt file")
    members, fresh = _examples(card, opened, file, shots, seed)
    beside = file.metaprompt_file()
    reference = None if beside is None else load_prompt(beside).rows()
    results = attacks(opened, file.header.card, members, fresh, file.rows(), reference)
    report: dict[str, Any] = {
        "prompt": prompt.name,
        "training_examples": len(members),
        "fresh_examples": len(fresh),
        "reference": "the bare backbone" if beside is None else "the metaprompt",
        "false_alarms": FALSE_ALARMS,
        "attacks": [asdict(attack) for attack in results],
        "privacy": dict(file.header.privacy),
    }
    if as_json:
        print(json.dumps(report, indent=1))
        return
    print(f"{len(members)} training notes against {len(fresh)} fresh ones of {card.name}; reference: {report['reference']}.")
    for attack in results:
        print(
            f"By {attack.name}: training notes are told from fresh ones with an area under the curve of {attack.auc:.2f} "
            f"[{attack.low:.2f}, {attack.high:.2f}] (0.5 is guessing);\n  {100 * attack.found:.0f} % of them are found where "
            f"{100 * FALSE_ALARMS:.0f} % of the fresh ones are mistaken for such."
        )
    if file.header.privacy:
        print(
            "It was trained with differential privacy: epsilon {epsilon:.2f}, delta {delta:g}, for each {unit}.".format(
                **file.header.privacy
            )
        )
    else:
        print("It was trained without differential privacy; `mpdd adapt CARD.toml --epsilon E` bounds what can be told.")


def _examples(
    card: Path, backbone: Backbone, file: PromptFile, shots: int | None, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The examples that a prompt was trained on, as `mpdd adapt` draws them, and those of the test split."""
    from mpdd.data.cards import card_file
    from mpdd.data.cards.fitting import fitted
    from mpdd.data.mixture import few_shot
    from mpdd.experiment.config import Limits

    task = fitted(card_file.read(card), backbone.tokenizer, backbone.context, file.header.length, backbone.template)
    splits = task.load(card.parent)
    members = few_shot(splits.train, Limits().train, 0)
    members = members if shots is None else few_shot(members, shots, seed)
    if min(len(members), len(splits.test)) < _FEWEST:
        raise InputError(
            f"{card.name} has too few examples to attack", found=f"{len(members)} training and {len(splits.test)} test examples",
            wanted=f"at least {_FEWEST} of each",
        )  # fmt: skip
    return members, splits.test
