"""What every export has beside its weights: a record of its tasks, and a folder that is written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mpdd.backbone import Backbone
from mpdd.data.batch import around
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import candidates, render_input
from mpdd.errors import InputError
from mpdd.files import write_atomically
from mpdd.notes import card, takes_choices
from mpdd.prompts.store import PromptFile, require_backbone
from mpdd.vocabulary import Vocabulary

RECORD = "mpdd_tasks.json"
FORMAT = 1


def require_new(folder: Path) -> None:
    """Raise `InputError` where there is something already: no export is mixed with other files."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        found = "a folder with files" if folder.is_dir() else "a file"
        raise InputError(f"{folder} is there already", found=found, wanted="the name of a new folder")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes `folder` when all went well and is removed when not.

    Raises `InputError` where there is something already, and where nothing can be written.
    """
    require_new(folder)
    made: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        yield made
        for path in (made, *made.rglob("*")):  # some writers keep what they write to themselves
            path.chmod(0o755 if path.is_dir() else 0o644)
        if folder.is_dir():
            folder.rmdir()
        os.replace(made, folder)
    except (OSError, SafetensorError) as error:
        found = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"Cannot write {folder}", found=found, wanted="a writable folder with room") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def require_exportable(prompt: PromptFile, backbone: Backbone | Vocabulary) -> TaskCard:
    """The task of a prompt that can be exported: for one task, for this backbone, its rows at the input alone.

    Raises `InputError` on any other.
    """
    task = card(prompt)
    require_backbone(prompt.path.name, prompt.header, backbone)
    if prompt.header.width != backbone.width:
        raise InputError(
            f"{prompt.path.name} is a deep prompt, which no other program can take",
            found=f"rows of {prompt.header.width} numbers, a part of them before every layer",
            wanted=f"rows of {backbone.width}, at the input alone",
            next_step='Train it with prompt.depth = "input".',
        )
    return task


def described(prompt: PromptFile, task: TaskCard, backbone: Backbone | Vocabulary) -> dict[str, Any]:
    """What a program must know to ask one task and to read its answer, as JSON values."""
    template = prompt.header.template or backbone.template
    before, after = around(backbone.tokenizer, template)
    return {
        "before": {"text": template.before, "ids": before},
        "input": layout(task),
        "after": {"text": template.after, "ids": after},
        "answer_begins_with": " " if template.space else "",
        "answer": _answer(task),
        "card": task.to_dict(),
        "prompt": {"length": prompt.header.length, "digest": prompt.header.digest, "metaprompt": prompt.header.metaprompt},
    }


def layout(task: TaskCard) -> str:
    """An input without its template, with {text}, {a field's name}, and {first}, {second} where a note brings options."""
    return render_input(task, _blank(task))


def write_record(folder: Path, backbone: Backbone | Vocabulary, tasks: Mapping[str, Any], **more: Any) -> None:
    """Write the record: the backbone, what else is given, and the tasks by name."""
    about = {"name": backbone.name, "fingerprint": backbone.fingerprint, "context": backbone.context}
    end = {"id": backbone.end, "text": backbone.tokenizer.decode([backbone.end])}
    values = {"format": FORMAT, "backbone": about, "end": end, **more, "tasks": tasks}
    write_atomically(folder / RECORD, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def _blank(task: TaskCard) -> Example:
    fields = tuple((name, f"{{{name}}}") for name in task.fields)
    return Example("", "", "{text}", Answer(), fields, ("{first}", "{second}") if takes_choices(task) else ())


def _answer(task: TaskCard) -> dict[str, Any]:
    """An answer is a space, its text and the end token; of options, the likeliest is the answer."""
    options = candidates(task, _blank(task))
    if options is None:
        return {"max_new_tokens": task.max_answer_tokens}
    if takes_choices(task):
        return {"options": None, "likeliest_by": "mean log-probability of a token"}
    return {"options": list(options), "likeliest_by": "sum of log-probabilities"}
