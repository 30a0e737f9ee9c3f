"""One task as a function of texts, in the manner of `transformers.pipeline`: results are lists of plain dicts in its shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, overload

from mpdd.annotate.annotator import Annotator, Text
from mpdd.annotate.answers.types import Span, TaskAnswer
from mpdd.api.prompts import load_prompts, ready_prompts
from mpdd.errors import InputError
from mpdd.inference.engines import Engine
from mpdd.prompts.hub import is_on_hub
from mpdd.prompts.store import SUFFIX, PromptFile

Result = list[dict[str, Any]]


class Pipeline:
    """Answers texts for one task.

    One text gives a list of dicts, several texts (a list) a list of such lists. An entity is `entity_group`, `score`, `word`,
    `start`, `end`; a label `label`, `score`; an answer to a question `answer`, `score`, and `start`, `end` where it was taken
    from the text; a summary `summary_text`; a relation `relation`, `score`, `head`, `tail`. A `score` is the confidence from 0 to
    1, None where it is not known. What could not be read gives an empty list.
    """

    def __init__(self, annotator: Annotator) -> None:
        (self.task,) = annotator.tasks
        self.annotator = annotator

    @overload
    def __call__(self, texts: Text) -> Result: ...
    @overload
    def __call__(self, texts: list[Any] | tuple[Any, ...]) -> list[Result]: ...
    def __call__(self, texts: Text | list[Any] | tuple[Any, ...]) -> Result | list[Result]:
        """Answer a text or a list of them, each a string or a mapping. Take and raise what `Annotator.annotate` does."""
        several = list(texts) if isinstance(texts, list | tuple) else [texts]
        results = [_result(note[self.task], self._chooses_label) for note in self.annotator.annotate(several)]
        return results if isinstance(texts, list | tuple) else results[0]

    @property
    def _chooses_label(self) -> bool:
        (prompt,) = self.annotator.prompts
        return prompt.header.card is not None and prompt.header.card.type in ("nli", "classification")

    def __repr__(self) -> str:
        return f"Pipeline({self.task}; {self.annotator.backbone.vocabulary.name})"


def pipeline(
    prompt: PromptFile | str | Path, backbone: Engine | str | Path | None = None, *, grounded: bool | None = None
) -> Pipeline:
    """Open one task as a function of texts.

    `prompt` is a prompt, a file or folder with one, `hf://ORG/NAME` on the Hugging Face hub, or the name of a task that is ready
    for the backbone. `backbone` is what `open_backbone` gives or a name; left out, the prompt's own. Raise `InputError` where
    there is no such prompt, or several.
    """
    prompts = [prompt] if isinstance(prompt, PromptFile) else _named(prompt, backbone)
    if len(prompts) != 1:
        names = ", ".join(found.path.name for found in prompts)
        raise InputError("A pipeline answers for one task", found=names, wanted="one prompt; an Annotator takes several")
    return Pipeline(Annotator(prompts, backbone, grounded=grounded))


def _named(prompt: str | Path, backbone: Engine | str | Path | None) -> list[PromptFile]:
    is_file = isinstance(prompt, Path) or is_on_hub(prompt) or prompt.endswith(SUFFIX) or Path(prompt).exists()
    if is_file:
        return load_prompts(prompt)
    return ready_prompts(str(prompt), backbone=str(backbone) if isinstance(backbone, str | Path) else "")


def _result(answer: TaskAnswer, chooses_label: bool) -> Result:
    """The answer to one text in the shapes of transformers' pipelines."""
    if answer.kind == "entities":
        return [{"entity_group": e.label, "score": e.confidence, **_place(e.span)} for e in answer.entities]
    if answer.kind == "relations":
        return [
            {"relation": r.label, "score": r.confidence, "head": _place(r.head), "tail": _place(r.tail)} for r in answer.relations
        ]
    if answer.kind == "labels":
        return [{"label": label, "score": answer.confidence} for label in answer.labels]
    if answer.answer is None:
        return []
    if answer.kind == "summary":
        return [{"summary_text": answer.answer}]
    span = {} if answer.span is None else {"start": answer.span.start, "end": answer.span.end}
    return [{"label" if chooses_label else "answer": answer.answer, "score": answer.confidence, **span}]


def _place(span: Span) -> dict[str, Any]:
    return {"word": span.text, "start": span.start, "end": span.end}
