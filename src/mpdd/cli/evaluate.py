"""`mpdd evaluate`: the scores of a prompt on labelled files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpdd.cli.predict import Grounded
from mpdd.cli.task import pairs
from mpdd.errors import InputError

if TYPE_CHECKING:
    from mpdd.data.cards.labelled import Naming
    from mpdd.data.task import Example
    from mpdd.evaluation.compare import Interval
    from mpdd.evaluation.labelled import Evaluation
    from mpdd.prompts.store import PromptFile

_SHOWN = 20  # errors on the screen; --json has all


def evaluate(
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT", help="The prompt file, hf://ORG/NAME, or a task that needs none (`mpdd tasks --ready`)."
        ),
    ],
    labelled: Annotated[
        list[Path], typer.Argument(metavar="LABELLED...", help="Labelled files, or a task card for its test split.")
    ],
    file_format: Annotated[str, typer.Option("--format", help="What the files are; left out: told by their content.")] = "",
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="OURS=THEIRS", help="What the files call a column; may be repeated.")
    ] = None,
    value: Annotated[
        list[str] | None, typer.Option("--value", metavar="THEIRS=OURS", help="Our label for theirs; may be repeated.")
    ] = None,
    headerless: Annotated[
        bool, typer.Option("--headerless", help="CSV and TSV have no header line: --column text=1 gives numbers.")
    ] = False,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", help="Labels of the files may be in any case.")] = False,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Show the words of errors, which are text of the notes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every error.")] = False,
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is, if not where the prompt says.")] = "",
    engine: Annotated[str, typer.Option("--engine", metavar="URL", help="A vLLM server that runs the backbone.")] = "",
    grounded: Grounded = None,
) -> None:
    """Answer labelled data with a prompt and score the answers, over all and for each label, with 95 % intervals."""
    from mpdd.api.scoring import score_examples
    from mpdd.data.cards.labelled import Naming
    from mpdd.inference.engines import open_engine
    from mpdd.progress import Reporter

    file = _prompt(prompt, backbone)
    columns, labels = pairs("--column", "A=B", column), pairs("--value", "A=B", value)
    examples, reading = _examples(file, labelled, Naming(file_format, columns, labels, ignore_case, headerless))
    answers = open_engine(backbone or file.header.backbone, engine, patience=float("inf"), grounded=grounded)
    with Reporter().job("examples", len(examples)) as tick:
        evaluation = score_examples(file, examples, answers, reading, show_text=show_text, tick=tick)
    if as_json:
        from mpdd.errors import printable_json

        print(printable_json(json.dumps(evaluation.to_dict(), indent=1, ensure_ascii=False)))
    else:
        _print(evaluation)


def _prompt(name: str, backbone: str) -> PromptFile:
    """A prompt file, or the prompt of a source task that comes with the package."""
    from mpdd.prompts.hub import is_on_hub
    from mpdd.prompts.ready import ready
    from mpdd.prompts.store import SUFFIX, load_prompt, one_task

    if is_on_hub(name) or Path(name).is_dir():
        return one_task(name)
    if name.endswith(SUFFIX) or Path(name).exists():
        return load_prompt(Path(name))
    (prompt,) = ready(backbone, [name])
    return prompt


def _examples(file: PromptFile, paths: list[Path], naming: Naming) -> tuple[list[Example], dict[str, int]]:
    """The examples of labelled files, or of the test split of a card of the same answers."""
    from mpdd.data import catalogue
    from mpdd.data.cards.labelled import Naming, read_labelled
    from mpdd.data.task import require_same_answers
    from mpdd.prompts.store import task_card

    task = task_card(file)
    if unknown := [label for label in naming.labels.values() if task.labels and label not in task.labels]:
        wanted = f"one of {', '.join(task.labels)}"
        raise InputError("--value names a label that the task does not have", found=unknown[0], wanted=wanted)
    if len(paths) > 1 or paths[0].suffix != ".toml":
        return read_labelled(task, paths, naming)
    if naming != Naming():
        options = "--format, --column, --value, --headerless or --ignore-case"
        raise InputError("A card says itself how its files are read", found=options, wanted="none of them")

    own = catalogue.get(str(paths[0]))
    require_same_answers(own.card, task, paths[0].name)
    if own.in_windows and task.window is not None:
        own = own.in_windows(task.window)
    splits = own.load(paths[0].parent)
    return list(splits.test), dict(splits.notes)


def _print(evaluation: Evaluation) -> None:
    from rich.text import Text

    from mpdd.cli.listing import print_grid, print_line
    from mpdd.cli.show import console
    from mpdd.errors import printable

    size = f"{evaluation.examples:,} examples of {evaluation.documents:,} documents"
    print_line(f"{evaluation.task}: {size}; 95 % intervals over documents")
    lines = [(name.replace("_", " "), _shown(interval)) for name, interval in evaluation.metrics.items()]
    print_grid(("metric", "score"), [*lines, ("without a model", f"{evaluation.baseline:.1f}")])
    if evaluation.labels:
        print_line("")
        print_grid(
            ("label", "precision", "recall", "F1", "gold", "predicted"),
            [
                (printable(name), _shown(s.precision), _shown(s.recall), _shown(s.f1), s.gold, s.predicted)
                for name, s in evaluation.labels.items()
            ],
        )
    for line in _remarks(evaluation):
        console().print(Text(printable(line)), soft_wrap=True)


def _remarks(evaluation: Evaluation) -> list[str]:
    """What else to know: unreadable answers, what was skipped, and the errors."""
    lines = [""] if evaluation.errors else []
    if evaluation.unparseable:
        lines.append(f"Answers that could not be read: {evaluation.unparseable:.1f} %.")
    if evaluation.cut_inputs:
        lines.append(f"Texts that were not read to their end: {evaluation.cut_inputs:,}.")
    lines += [f"{number:>8} {reason}" for reason, number in evaluation.reading.items()]
    lines += [f"{_error(error)}" for error in evaluation.errors[:_SHOWN]]
    if len(evaluation.errors) > _SHOWN:
        lines.append(f"{len(evaluation.errors) - _SHOWN:,} further errors; --json lists all.")
    return lines


def _error(error: Mapping[str, Any]) -> str:
    """One error on one line; a text in it is there only because it was asked for."""
    parts = [f"{error['error']:<14}", str(error["example"])]
    if "start" in error:
        parts.append(f"{error['start']}-{error['end']}")
    parts += [f"{name}: {' '.join(str(error[name]).split())}" for name in ("label", "gold", "predicted") if name in error]
    parts += [f"{name}: {' '.join(error[name].split())!r}" for name in ("text", "head", "tail", "around") if name in error]
    return "  ".join(parts)


def _shown(interval: Interval) -> str:
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"
