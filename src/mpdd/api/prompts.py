"""Prompts in Python: load them from files and folders, take those that come with the package, save them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mpdd.errors import InputError
from mpdd.prompts.ready import ready
from mpdd.prompts.store import SUFFIX, PromptFile, in_memory, load_prompt, load_tasks
from mpdd.prompts.store import save_prompt as write_prompt


def load_prompts(*paths: str | Path) -> list[PromptFile]:
    """The task prompts of files and folders, in order; metaprompts in folders are passed over.

    `hf://ORG/NAME` or `hf://ORG/NAME@REVISION` is a repository on the Hugging Face hub: its prompts are fetched once and kept in
    the hub's own cache; nothing else goes to the network. Raise `InputError` for a file that is no prompt file, a named file that
    is a metaprompt, a folder without task prompts, and a repository that cannot be fetched.
    """
    return load_tasks(paths)


def ready_prompts(tasks: str | Iterable[str] = (), *, backbone: str = "") -> list[PromptFile]:
    """The prompts that come with the package for a backbone, by task, usable without any training; all by default.

    Raise `InputError` for a backbone that none come for, and for a task that is not among them.
    """
    return ready(backbone, [tasks] if isinstance(tasks, str) else list(tasks))


def save_prompt(prompt: PromptFile, path: str | Path) -> PromptFile:
    """Write a prompt as one file that needs no other, and return it as written.

    A prompt of factors alone is written with its metaprompt's shared rows. Raise `InputError` for a name that does not end in
    `.safetensors`.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise InputError("The name of a prompt file has another ending", found=path.name, wanted=f"one that ends in {SUFFIX}")
    complete = whole(prompt)
    return write_prompt(path, complete.tensors, complete.header)


def whole(prompt: PromptFile) -> PromptFile:
    """The prompt with the shared rows of its metaprompt, so that it needs no other file."""
    beside = prompt.metaprompt_file()
    if beside is None:
        return prompt
    return in_memory(prompt.path, {**prompt.tensors, "shared": load_prompt(beside).tensors["shared"]}, prompt.header)
