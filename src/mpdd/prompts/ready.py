"""Prompts that work without any training: those of the source tasks inside the metaprompts that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from mpdd.backbone import vocabulary
from mpdd.backbone.checkpoints.registry import EMBEDDED, metaprompts
from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.prompts.store import PromptFile, in_memory, load_prompt


def shipped(backbone: str) -> Path | None:
    """The metaprompt in the package that fits a backbone: by its known name, or, for a folder or a GGUF file, by its
    fingerprint. None where none of them fits."""
    paths = metaprompts()
    if backbone in paths:
        return paths[backbone]
    if not paths or not Path(backbone).exists():
        return None
    fingerprint = vocabulary.load(backbone).fingerprint
    return next((path for path in paths.values() if load_prompt(path).header.fingerprint == fingerprint), None)


def ready_tasks(backbone: str = "") -> tuple[str, ...]:
    """The source tasks that can be asked of a backbone (the embedded one by default) without training; none where no
    metaprompt comes for it."""
    path = shipped(backbone or EMBEDDED)
    return _tasks(load_prompt(path)) if path else ()


def ready(backbone: str = "", tasks: Sequence[str] = ()) -> list[PromptFile]:
    """The prompts of source tasks for a backbone; all of its tasks by default.

    Raise `InputError` for a backbone that no metaprompt comes for, and for a task that is not among its sources.
    """
    name = backbone or EMBEDDED
    path = shipped(name)
    if path is None:
        raise InputError(
            f"No prompts come with the package for the backbone {name}", wanted=f"one of {', '.join(metaprompts())}",
            next_step="Or name prompt files of your own.",
        )  # fmt: skip
    meta = load_prompt(path)
    ready_tasks = _tasks(meta)
    if unknown := [task for task in tasks if task not in ready_tasks]:
        near = get_close_matches(unknown[0].lower().replace("-", "_"), ready_tasks, n=2)
        raise InputError(
            f"No prompt for the task {unknown[0]} comes with the package",
            wanted=f"perhaps {' or '.join(near)}" if near else f"one of {', '.join(ready_tasks)}",
            next_step="`mpdd tasks` says which are ready for which backbone.",
        )
    return [_of(meta, task) for task in dict.fromkeys(tasks or ready_tasks)]


def _tasks(meta: PromptFile) -> tuple[str, ...]:
    """The tasks of a metaprompt that the catalogue still has."""
    names = set(catalogue.names())
    return tuple(task for task in meta.header.tasks if task in names)


def _of(meta: PromptFile, task: str) -> PromptFile:
    """One source's factors with the shared rows, as a prompt file of its own."""
    place = meta.header.tasks.index(task)
    factors = {name: meta.tensors[name][place : place + 1] for name in ("u", "v")}
    header = replace(
        meta.header, kind="task", tasks=(task,), kinds=(), card=catalogue.get(task).card, metaprompt=meta.header.digest,
        provenance={"metaprompt": meta.path.name, "made": "a source of the metaprompt, without further training"},
    )  # fmt: skip
    return in_memory(meta.path.with_name(f"{task} of {meta.path.name}"), {"shared": meta.tensors["shared"], **factors}, header)
