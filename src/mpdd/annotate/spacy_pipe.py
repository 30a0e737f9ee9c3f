"""The spaCy pipe `mpdd`: `nlp.add_pipe("mpdd", config={"prompts": [...]})`, known to spaCy by an entry point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from spacy.language import Language

from mpdd.annotate import spacy_docs
from mpdd.errors import InputError

if TYPE_CHECKING:
    from spacy.tokens import Doc

    from mpdd.annotate.annotator import Annotator

BATCH = 64  # texts that are answered together
_DEFAULTS = {"prompts": [], "tasks": [], "backbone": "", "grounded": False, "set_ents": True}


class AnnotatingPipe:
    """Answers the texts of Docs with an annotator, and fills in what it finds (`mpdd.annotate.spacy_docs`)."""

    def __init__(self, annotator: Annotator, *, set_ents: bool = True) -> None:
        self._annotator, self._set_ents = annotator, set_ents
        spacy_docs.register()

    def __call__(self, doc: Doc) -> Doc:
        """Fill one Doc."""
        return self._filled([doc])[0]

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = BATCH) -> Iterator[Doc]:
        """Fill Docs, `batch_size` of them in one go."""
        docs = iter(stream)
        while batch := list(islice(docs, batch_size)):
            yield from self._filled(batch)

    def _filled(self, docs: Sequence[Doc]) -> list[Doc]:
        notes = self._annotator.annotate([doc.text for doc in docs])
        labels = self._annotator.labels
        return [spacy_docs.fill(doc, note, entities=self._set_ents, labels=labels) for doc, note in zip(docs, notes, strict=True)]


def create(
    nlp: Language, name: str, prompts: list[str], tasks: list[str], backbone: str, grounded: bool, set_ents: bool
) -> AnnotatingPipe:
    """Make the pipe from a pipeline's config. Raise `InputError` where neither prompts nor tasks are named, or do not fit."""
    from mpdd.annotate.annotator import Annotator
    from mpdd.prompts.ready import ready
    from mpdd.prompts.store import load_tasks

    if not prompts and not tasks:
        raise InputError("The pipe mpdd has no task", wanted='config={"prompts": [...]} or config={"tasks": [...]}')
    loaded = load_tasks(prompts) if prompts else []
    where = backbone or (loaded[0].header.backbone if loaded else "")
    loaded += ready(where, tasks) if tasks else []
    return AnnotatingPipe(Annotator(loaded, where or None, grounded=grounded), set_ents=set_ents)


_factory: Any = Language.factory  # spaCy has no types that mypy knows
_factory("mpdd", default_config=_DEFAULTS, func=create)
