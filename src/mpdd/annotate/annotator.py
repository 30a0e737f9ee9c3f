"""Annotates texts: prompts and the backbone they were made for, held together and ready to answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpdd.annotate.answers.results import answer_of
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.note_files import note_of
from mpdd.annotate.notes import Note, answer_notes, require_inputs
from mpdd.errors import InputError
from mpdd.inference.engines import Engine, open_engine
from mpdd.prompts.store import PromptFile, require_backbone, require_distinct_tasks, task_card

Text = str | Mapping[str, Any] | Note


def open_backbone(name: str | Path = "embedded", *, engine: str = "", grounded: bool | None = None) -> Engine:
    """Open a backbone by its name, folder, GGUF file or hub id, to be used by several annotators.

    With `engine`, the address of a vLLM server, that server runs it. `grounded` answers can only name the card's labels and
    what stands in the text. Raise `InputError` for a backbone that is not there.
    """
    return open_engine(str(name), engine, patience=float("inf"), grounded=grounded)


class Annotator:
    """Answers texts for the tasks of some prompts, all in mixed batches over one backbone.

    `backbone` is what `open_backbone` gives, or a name to open; left out, it is the one that the prompts name. Raise
    `InputError` for prompts of another backbone, without a task, or of the same task.
    """

    def __init__(
        self,
        prompts: PromptFile | Sequence[PromptFile],
        backbone: Engine | str | Path | None = None,
        *,
        grounded: bool | None = None,
    ) -> None:
        self.prompts = (prompts,) if isinstance(prompts, PromptFile) else tuple(prompts)
        if not self.prompts:
            raise InputError("An annotator needs prompts", found="none", wanted="what load_prompts or ready_prompts gives")
        require_distinct_tasks(self.prompts)
        given = self.prompts[0].header.backbone if backbone is None else backbone
        self.backbone = open_backbone(given, grounded=grounded) if isinstance(given, str | Path) else given
        if grounded and not self.backbone.grounded:
            raise InputError(
                "This backbone was opened for free answers", found="grounded=True", wanted="open_backbone(..., grounded=True)"
            )
        for prompt in self.prompts:
            require_backbone(prompt.path.name, prompt.header, self.backbone.vocabulary)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks, in the order of the prompts."""
        return tuple(task_card(prompt).name for prompt in self.prompts)

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The labels that answers to whole texts are chosen from, by task; other tasks are left out."""
        cards = (task_card(prompt) for prompt in self.prompts)
        return {task.name: task.labels for task in cards if task.labels and task.type not in ("ner", "re")}

    def annotate(self, texts: Iterable[Text]) -> list[AnnotatedNote]:
        """Answer every text for every task, in order, as `mpdd predict` does.

        A text is a string, or a mapping with `text` and as needed `id`, `choices` and the further inputs that a task asks
        about ("Question"). A text without an id is called by its number, from 1 on. Raise `InputError`, never quoting a text,
        for anything else, and for an input that is missing.
        """
        notes = _notes(texts)
        require_inputs(self.prompts, notes)
        results = answer_notes(self.backbone, self.prompts, notes)
        return [
            AnnotatedNote(note.id, note.text, tuple(answer_of(next(results)) for _ in self.prompts)) for note in notes
        ]  # fmt: skip

    def __repr__(self) -> str:
        return f"Annotator({', '.join(self.tasks)}; {self.backbone.vocabulary.name})"


def _notes(texts: Iterable[Text]) -> list[Note]:
    if isinstance(texts, str | Mapping | Note):
        raise InputError("Texts are annotated as a list", found=type(texts).__name__, wanted="a list, for example [text]")
    return [_note(number, text) for number, text in enumerate(texts, start=1)]


def _note(number: int, text: object) -> Note:
    if isinstance(text, Note):
        return text
    values = text if isinstance(text, Mapping) else {"text": text}
    return note_of(Path("texts"), number, values)
