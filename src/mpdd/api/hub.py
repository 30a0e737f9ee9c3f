"""Prompts as the folder of a model repository, ready to be uploaded to the Hugging Face hub. Nothing is uploaded here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mpdd.backbone.checkpoints import registry
from mpdd.errors import InputError
from mpdd.evaluation.results import read_results
from mpdd.evaluation.row import HEADLINES
from mpdd.export.hub_card import Score
from mpdd.prompts.store import PromptFile

_HUB_LICENSE = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def push_to_folder(
    prompts: PromptFile | Sequence[PromptFile], folder: str | Path, *, backbone: str = "", license: str = "other",
    base_model: str = "", results: str | Path | None = None,
) -> Path:  # fmt: skip
    """Write a new folder with the prompt files, an adapter of each that PEFT takes, and a model card; return the folder.

    `license` is spelled as on the hub. `base_model` is the backbone's id there, which is known for backbones that are named by
    it or by `mpdd backbone list`. `results` is the run with the scores, if not that in which the prompts lie. The folder loads
    again with `load_prompts`. Raise `InputError` where something does not fit or is there already; then nothing is written.
    """
    import torch

    from mpdd.backbone import model, vocabulary
    from mpdd.export.hub_folder import Publishing, write
    from mpdd.export.record import require_distinct_tasks
    from mpdd.files import new_folder, require_new

    chosen = [prompts] if isinstance(prompts, PromptFile) else list(prompts)
    if not chosen:
        raise InputError("There are no prompts to write", wanted="one prompt or more")
    _require_hub_names(license, base_model)
    require_new(Path(folder))
    name = backbone or chosen[0].header.backbone
    tokens = vocabulary.load(name)
    require_distinct_tasks(tokens, chosen, takes_deep=True)  # before weights are loaded
    has_deep = any(prompt.header.depth == "all" for prompt in chosen)
    scores = {prompt.header.card.name: scores_of(prompt, results) for prompt in chosen if prompt.header.card is not None}
    publishing = Publishing(license, base_model or hub_id(name), scores)
    with new_folder(Path(folder)) as new:
        loaded = model.load(name, dtype=torch.float32, device="cpu") if has_deep else tokens
        write(replace(loaded, name=base_model or _without_place(name)), chosen, new, publishing)
    return Path(folder)


def _require_hub_names(license: str, base_model: str) -> None:
    """Raise `InputError` for what the hub would refuse in a card: a licence in other letters, an id that cannot be one."""
    if not _HUB_LICENSE.fullmatch(license):
        raise InputError(
            "The licence is not spelled as on the hub", found=repr(license), wanted="for example apache-2.0, cc-by-4.0 or other"
        )
    if base_model and not _HUB_ID.fullmatch(base_model):
        raise InputError("The backbone's id cannot be one of the hub", found=repr(base_model), wanted="ORG/NAME")


def hub_id(backbone: str) -> str:
    """The id of a backbone on the hub: its own name, or that of a known backbone's original; empty for a folder or file."""
    if backbone in registry.table():
        return registry.get(backbone).original
    return backbone if _HUB_ID.fullmatch(backbone) and not Path(backbone).exists() else ""


def _without_place(backbone: str) -> str:
    """A backbone's name without the folders of this machine."""
    return backbone if hub_id(backbone) else Path(backbone).name


def scores_of(prompt: PromptFile, results: str | Path | None = None) -> list[Score]:
    """The headline scores that a run has for a prompt, found by the prompt's file name; without a run that of the prompt's
    header, which prompts of a pack have.

    `results` is a run folder or its `results.json`; by default that of the run in which the prompt lies. Raise `InputError`
    where it cannot be read.
    """
    path = Path(results) if results is not None else prompt.path.parent.parent / "results.json"
    path = path / "results.json" if path.is_dir() else path
    if results is None and not path.is_file():
        return _score_of_header(prompt)
    return [
        Score(**{name: getattr(row, name) for name in Score.__dataclass_fields__})
        for row in read_results(path)
        if f"{row.target}-{row.method}-{row.shots}-s{row.seed}" == prompt.path.stem and row.metric in HEADLINES[row.task_type]
    ]


def _score_of_header(prompt: PromptFile) -> list[Score]:
    card, score = prompt.header.card, prompt.header.score
    if card is None or not score:
        return []
    interval = {"value": score["value"], "ci_low": score["low"], "ci_high": score["high"]}
    shots = prompt.header.training.get("examples", 0)
    return [Score(card.name, card.type, score["metric"], **interval, n_examples=score["examples"], shots=shots)]
