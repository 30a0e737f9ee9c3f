"""Scores a prompt on labelled data: files of any known format, or examples in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mpdd.api.examples import Examples, as_files
from mpdd.data.cards.labelled import Naming, read_labelled
from mpdd.data.cards.layout import Column
from mpdd.data.task import Example
from mpdd.evaluation.labelled import Evaluation, evaluated
from mpdd.inference.decoding.priors import Priors
from mpdd.inference.engines import Engine
from mpdd.inference.predict import Request
from mpdd.prompts.store import PromptFile, require_backbone, task_card


def evaluate(
    prompt: PromptFile, examples: Examples, backbone: Engine | str | Path | None = None, *,
    columns: Mapping[str, Column] | None = None, labels: Mapping[str, str] | None = None, format: str = "",
    show_text: bool = False,
) -> Evaluation:  # fmt: skip
    """Answer labelled examples under a prompt, and score the answers with 95 % intervals, over all and for each label.

    `examples` are a path of any format that a card may name, a list of dicts, a pandas DataFrame or a `datasets.Dataset`;
    `columns`, `labels` and `format` as in a card's `[data]`. `backbone` is what `open_backbone` gives, or a name; left out,
    the prompt's own. Raise `InputError` for what does not fit.
    """
    naming = Naming(format, dict(columns or {}), dict(labels or {}))
    with as_files({"labelled": examples}) as paths:
        read, counts = read_labelled(task_card(prompt), [paths["labelled"]], naming)
    return score_examples(prompt, read, _engine(prompt, backbone), counts, show_text=show_text)


def score_examples(
    prompt: PromptFile, examples: Sequence[Example], engine: Engine, reading: Mapping[str, int], *,
    show_text: bool = False, tick: Callable[[int], object] = lambda _: None,
) -> Evaluation:  # fmt: skip
    """Answer examples under a prompt, in the windows that they come in, and score the answers."""
    task, rows = task_card(prompt), prompt.rows()
    header = prompt.header
    require_backbone(prompt.path.name, header, engine.vocabulary)
    priors = Priors.of(header.priors)
    requests = [Request(task, example, rows, header.template, priors=priors, digest=header.digest) for example in examples]
    predictions = engine.predict(requests, tick=tick)
    cut = sum(prediction.cut > 0 for prediction in predictions)
    parsed = [prediction.parsed for prediction in predictions]
    return evaluated(task, examples, parsed, cut_inputs=cut, reading=reading, show_text=show_text)


def _engine(prompt: PromptFile, backbone: Engine | str | Path | None) -> Engine:
    from mpdd.annotate.annotator import open_backbone

    given = prompt.header.backbone if backbone is None else backbone
    return open_backbone(given) if isinstance(given, str | Path) else given
