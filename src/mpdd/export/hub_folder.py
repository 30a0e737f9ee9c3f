"""Prompts as the folder of a model repository on the Hugging Face hub: the prompt files, adapters for PEFT, a model card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.export import peft, peft_prefix
from mpdd.export.hub_card import CardFacts, Score, model_card
from mpdd.export.record import described, file_names, require_distinct_tasks, write_record
from mpdd.files import remove_folder, write_atomically
from mpdd.prompts import signature
from mpdd.prompts.store import SUFFIX, PromptFile, load_prompt, save_prompt

PEFT_FOLDER = "peft"


@dataclass(frozen=True)
class Publishing:
    """What a repository says beside its prompts: a `license` as the hub spells it, the backbone's id on the hub (`base_model`,
    empty: it is not there), and the `scores` of each task."""

    license: str = "other"
    base_model: str = ""
    scores: Mapping[str, Sequence[Score]] = field(default_factory=dict)


def write(backbone: Backbone | Vocabulary, prompts: Sequence[PromptFile], folder: Path, publishing: Publishing) -> None:
    """Write the folder of a model repository; deep prompts have an adapter for PEFT only where `backbone` is loaded.

    Raise `InputError` for prompts that cannot be exported, two for one task, and a prompt whose rows were made of examples, which
    can be read back from them.
    """
    tasks = require_distinct_tasks(backbone, prompts, takes_deep=True)
    for prompt in prompts:
        _require_trained(prompt)
    files = file_names(tasks, SUFFIX)
    without: dict[str, str] = {}
    for name, (_, prompt) in tasks.items():
        _write_prompt(prompt, folder / files[name])
        if reason := _write_adapter(backbone, prompt, folder / PEFT_FOLDER / files[name].removesuffix(SUFFIX)):
            without[name] = reason
    record = {name: {"file": files[name], **described(prompt, task, backbone)} for name, (task, prompt) in tasks.items()}
    write_record(folder, backbone, record)
    cards: Mapping[str, TaskCard] = {name: task for name, (task, _) in tasks.items()}
    headers = {name: prompt.header for name, (_, prompt) in tasks.items()}
    facts = CardFacts(publishing.license, publishing.base_model, backbone.name, cards, headers, files, publishing.scores, without)
    write_atomically(folder / "README.md", model_card(facts).encode())


def _require_trained(prompt: PromptFile) -> None:
    if count := prompt.header.derived_from_examples:
        raise InputError(
            f"{prompt.path.name} has rows that were made of {count} examples, whose text can be read from them",
            wanted="a prompt that was only trained",
            next_step="Make one with `mpdd adapt` without --steps 0.",
        )


def _write_prompt(prompt: PromptFile, path: Path) -> None:
    """The prompt file as it is, byte for byte, with its signature and its metaprompt where it has them; one that lies in no file
    is written anew."""
    if not (prompt.path.is_file() and load_prompt(prompt.path).header.digest == prompt.header.digest):
        save_prompt(path, prompt.tensors, prompt.header)
        return
    write_atomically(path, prompt.path.read_bytes())
    signed = prompt.path.with_name(prompt.path.name + signature.SUFFIX)
    if signed.is_file():
        shutil.copyfile(signed, path.with_name(path.name + signature.SUFFIX))
    if (beside := prompt.metaprompt_file()) is not None:
        shutil.copyfile(beside, path.with_name(f"metaprompt-{prompt.header.metaprompt[:12]}{SUFFIX}"))


def _write_adapter(backbone: Backbone | Vocabulary, prompt: PromptFile, folder: Path) -> str:
    """Write the adapter of a prompt; say why where PEFT does not take it."""
    try:
        if prompt.header.depth == "input":
            peft.write(backbone, prompt, folder, record=False)
        elif isinstance(backbone, Backbone):
            peft_prefix.write(backbone, prompt, folder, record=False)
        else:
            return "rows before every layer, and the backbone was not loaded"
    except InputError as error:
        remove_folder(folder)
        return str(error)
    return ""
