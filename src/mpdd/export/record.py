"""What every export has beside its weights: a record of its tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpdd.annotate.notes import takes_choices
from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.data.batch import around
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import candidates, render_input
from mpdd.errors import InputError
from mpdd.export import FOR_DEEP
from mpdd.files import distinct_names, write_atomically
from mpdd.prompts.store import PromptFile, require_backbone, task_card

RECORD = "mpdd_tasks.json"
FORMAT = 1


def require_exportable(prompt: PromptFile, backbone: Backbone | Vocabulary, *, takes_deep: bool = False) -> TaskCard:
    """The task of a prompt that can be exported: for one task, for this backbone, and, unless the format `takes_deep` prompts,
    with its rows at the input alone.

    Raises `InputError` on any other.
    """
    task = task_card(prompt)
    require_backbone(prompt.path.name, prompt.header, backbone)
    if prompt.header.width != backbone.width and not takes_deep:
        raise InputError(
            f"{prompt.path.name} is a deep prompt, which this format cannot take",
            found=f"rows of {prompt.header.width} numbers, a part of them before every layer",
            wanted=f"rows of {backbone.width}, at the input alone",
            next_step=f"Export it with {FOR_DEEP}, or make one at the input with `mpdd adapt CARD --exportable`.",
        )
    return task


def require_distinct_tasks(
    backbone: Backbone | Vocabulary, prompts: Sequence[PromptFile], *, takes_deep: bool = False
) -> dict[str, tuple[TaskCard, PromptFile]]:
    """The prompts by task, in the order given. Raises `InputError` for two of one task, and as `require_exportable` does."""
    tasks: dict[str, tuple[TaskCard, PromptFile]] = {}
    for prompt in prompts:
        task = require_exportable(prompt, backbone, takes_deep=takes_deep)
        if task.name in tasks:
            files = f"{tasks[task.name][1].path.name} and {prompt.path.name}"
            raise InputError(f"Two prompts are for the task {task.name}", found=files, wanted="one prompt for each task")
        tasks[task.name] = (task, prompt)
    return tasks


def file_names(tasks: Iterable[str], suffix: str) -> dict[str, str]:
    """A plain file name for each task, no two alike."""
    each = list(tasks)
    plain = (re.sub(r"[^\w-]+", "-", task).strip("-") or "task" for task in each)
    return {task: f"{name}{suffix}" for task, name in zip(each, distinct_names(plain), strict=True)}


def described(prompt: PromptFile, task: TaskCard, backbone: Backbone | Vocabulary) -> dict[str, Any]:
    """What a program must know to ask one task and to read its answer, as JSON values."""
    template = prompt.header.template or backbone.template
    before, after = around(backbone.tokenizer, template)
    priors = {"priors": dict(prompt.header.priors)} if prompt.header.priors else {}
    return {
        "before": {"text": template.before, "ids": before},
        "input": layout(task),
        "after": {"text": template.after, "ids": after},
        "answer_begins_with": " " if template.space else "",
        "answer": _answer(task),
        "card": task.to_dict(),
        "prompt": {"length": prompt.header.length, "digest": prompt.header.digest, "metaprompt": prompt.header.metaprompt},
        **priors,
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
