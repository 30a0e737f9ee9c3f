"""Prompts that work without any training of one's own: those of the packs and of the metaprompts' sources in the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mpdd.backbone import vocabulary
from mpdd.backbone.checkpoints.registry import EMBEDDED, metaprompts, pack_of, packed_tasks, ready_scores
from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.prompts.store import PromptFile, in_memory, load_prompt


def shipped(backbone: str) -> Path | None:
    """The metaprompt in the package that fits a backbone: by its known name, or, for a folder or a GGUF file, by its
    fingerprint. None where none of them fits."""
    name = _name_in_package(backbone)
    return metaprompts()[name] if name else None


def ready_tasks(backbone: str = "") -> tuple[str, ...]:
    """The tasks that can be asked of a backbone (the embedded one by default) without training: sources of its metaprompt, then
    the others of its pack. None where no metaprompt comes for it."""
    name = _name_in_package(backbone or EMBEDDED)
    if name is None:
        return ()
    return tuple(dict.fromkeys((*_tasks(load_prompt(metaprompts()[name])), *packed_tasks(pack_of(name)))))


def ready(backbone: str = "", tasks: Sequence[str] = ()) -> list[PromptFile]:
    """The prompts in the package of these tasks for a backbone; all of them by default. A prompt of the pack goes before
    that of the metaprompt's source. Each has its licence, and where it was scored its score, in its header.

    Raise `InputError` for a backbone that no metaprompt comes for, and for a task that is not ready.
    """
    name = _name_in_package(backbone or EMBEDDED)
    if name is None:
        raise InputError(
            f"No prompts come with the package for the backbone {backbone or EMBEDDED}",
            wanted=f"one of {', '.join(metaprompts())}",
            next_step="Or name prompt files of your own.",
        )
    meta, packed = load_prompt(metaprompts()[name]), packed_tasks(pack_of(name))
    known = tuple(dict.fromkeys((*_tasks(meta), *packed)))
    if unknown := [task for task in tasks if task not in known]:
        if others := [other for other in metaprompts() if unknown[0] in ready_tasks(other)]:
            raise InputError(
                f"No prompt for the task {unknown[0]} comes with the package for the backbone {name}",
                wanted=f"--backbone {' or '.join(others)}", next_step="`mpdd tasks --ready` says what is ready for which.",
            )  # fmt: skip
        near = get_close_matches(unknown[0].lower().replace("-", "_"), known, n=2)
        raise InputError(
            f"No prompt for the task {unknown[0]} comes with the package",
            wanted=f"perhaps {' or '.join(near)}" if near else f"one of {', '.join(known)}",
            next_step="`mpdd tasks --ready` says which are ready for which backbone.",
        )
    scores = ready_scores().get(name, {})
    return [
        _packed(meta, packed[task]) if task in packed else _source(meta, task, scores.get(task, {}))
        for task in dict.fromkeys(tasks or known)
    ]


def _name_in_package(backbone: str) -> str | None:
    """The name by which the package knows a backbone that it has a metaprompt for."""
    paths = metaprompts()
    if backbone in paths:
        return backbone
    if not paths or not Path(backbone).exists():
        return None
    fingerprint = vocabulary.load(backbone).fingerprint
    return next((name for name, path in paths.items() if load_prompt(path).header.fingerprint == fingerprint), None)


def _tasks(meta: PromptFile) -> tuple[str, ...]:
    """The tasks of a metaprompt that the catalogue still has."""
    names = set(catalogue.names())
    return tuple(task for task in meta.header.tasks if task in names)


def _packed(meta: PromptFile, path: Path) -> PromptFile:
    """A prompt of the pack; factors of the package's metaprompt with its shared rows, which are kept once for all tasks."""
    prompt = load_prompt(path)
    if "u" not in prompt.tensors or prompt.header.metaprompt != meta.header.digest:
        return prompt
    return PromptFile(path, prompt.header, {"shared": meta.tensors["shared"], **prompt.tensors})


def _source(meta: PromptFile, task: str, score: Mapping[str, Any]) -> PromptFile:
    """One source's factors with the shared rows, as a prompt file of its own."""
    place = meta.header.tasks.index(task)
    factors = {name: meta.tensors[name][place : place + 1] for name in ("u", "v")}
    header = replace(
        meta.header, kind="task", tasks=(task,), kinds=(), card=catalogue.get(task).card, metaprompt=meta.header.digest,
        licence=catalogue.get(task).licence,
        score={name: value for name, value in score.items() if name not in ("metaprompt", "training")},
        provenance={"metaprompt": meta.path.name, "made": "a source of the metaprompt, without further training"},
    )  # fmt: skip
    return in_memory(meta.path.with_name(f"{task} of {meta.path.name}"), {"shared": meta.tensors["shared"], **factors}, header)
