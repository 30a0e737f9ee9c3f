"""Adapts a metaprompt to a task in Python: from a task card, or from labelled examples in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpdd.api.examples import Examples, as_files
from mpdd.api.prompts import whole
from mpdd.data.cards import new as cards
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.evaluation.row import Row
from mpdd.experiment import TEST_EXAMPLES, own_task, pipeline
from mpdd.experiment.folder import alone_in
from mpdd.progress import Reporter, Silent
from mpdd.prompts.store import PromptFile, load_prompt

_KEYS = ("name", "type", "form", "instruction", "labels", "fields", "text_field", "max_answer_tokens", "window")


@dataclass(frozen=True)
class Adapted:
    """What an adaptation gives: the task's prompt, the test scores of every method, and the run folder with the report.

    `score` is the test score of the prompt, with its 95 % interval (`value`, `ci_low`, `ci_high`). Without a folder of one's own
    the run folder is temporary and gone, and `folder` is None; the prompt is whole by itself.
    """

    prompt: PromptFile
    score: Row
    rows: tuple[Row, ...]
    folder: Path | None


def adapt(
    task: str | Path | TaskCard, train: Examples = None, *, dev: Examples = None, test: Examples = None,
    columns: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None, out: str | Path | None = None,
    metaprompt: str | Path | None = None, backbone: str = "", methods: Sequence[str] = (), shots: int | None = None,
    steps: int | None = None, seed: int = 0, test_examples: int = TEST_EXAMPLES, quiet: bool = False,
    exportable: bool = False,
) -> Adapted:  # fmt: skip
    """Adapt a metaprompt to a task, and score the prompt on the task's test split.

    `task` is the path of a task card, or a `TaskCard` with labelled examples: `train`, and `dev` and `test`, which are cut
    from it where they are left out. Each is a path of any format that a card may name, a list of dicts, a pandas DataFrame
    or a `datasets.Dataset`; `columns` says what the examples call our columns, `labels` gives our label for their value. At
    most `test_examples` are scored (0: all). The other arguments are those of `mpdd adapt`; `exportable` is its `--exportable`.

    Raise `InputError` for what does not fit, before anything is trained.
    """
    with _card(task, {"train": train, "dev": dev, "test": test}, columns, labels) as card, _folder(out) as folder:
        available = Path(metaprompt) if metaprompt is not None else own_task.shipped_metaprompt(card, backbone)
        origin = own_task.at_input(available, is_chosen=metaprompt is not None) if exportable else available
        compared = tuple(dict.fromkeys((*own_task.METHODS, *methods)))
        experiment = own_task.experiment_for(
            card, origin, methods=compared, shots=shots, steps=steps, seed=seed, backbone=backbone, test_examples=test_examples
        )
        reporter = Silent() if quiet else Reporter()
        if origin is None:
            reporter.say(own_task.no_metaprompt(backbone) if available is None else own_task.NOT_DEEP)
        with alone_in(folder):
            rows = pipeline.run(experiment, folder, reporter, "mpdd.adapt")
        prompt = whole(load_prompt(own_task.prompt_path(experiment, folder)))
        score = next(row for row in rows if row.method == own_task.prompt_method(experiment))
        return Adapted(prompt, score, tuple(rows), folder if out is not None else None)


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="mpdd-run-") as folder:
        yield Path(folder) / "run"


@contextmanager
def _card(
    task: str | Path | TaskCard, examples: Mapping[str, Examples], columns: Mapping[str, str] | None,
    labels: Mapping[str, str] | None,
) -> Iterator[Path]:  # fmt: skip
    """The path of the task's card; one of examples in memory lies beside them for as long as it is needed."""
    given = {split: part for split, part in examples.items() if part is not None}
    if not isinstance(task, TaskCard):
        if given or columns or labels:
            raise InputError("A card names its own data", found="a card and examples", wanted="a TaskCard with examples")
        yield Path(task)
        return
    if "train" not in given:
        raise InputError("There are no examples to train on", wanted="train=...")
    with as_files(given) as paths, tempfile.TemporaryDirectory(prefix="mpdd-card-") as other:
        inside = [path.parent for split, path in paths.items() if not isinstance(given[split], str | Path)]
        card = (inside[0] if inside else Path(other)) / "card.toml"
        values: dict[str, Any] = {key: value for key, value in task.to_dict().items() if key in _KEYS}
        data = {split: str(path) for split, path in paths.items()} | {
            "columns": dict(columns or {}),
            "labels": dict(labels or {}),
        }
        card.write_text(cards.toml(cards.filled({**values, "data": data}), ()), encoding="utf-8")
        yield card
