"""`mpdd review`: a report on what `mpdd predict` wrote, and which notes a person should look at first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpdd.errors import InputError

if TYPE_CHECKING:
    from mpdd.annotate.answers.review import Review, TaskReview

SORTS = ("notes", "uncertain")
Sort = Annotated[
    str,
    typer.Option("--sort", metavar="ORDER", help="notes: as they are given; uncertain: those the model is least sure of first."),
]


def review(
    answers: Annotated[Path, typer.Argument(metavar="ANSWERS", help="What mpdd predict --output wrote.")],
    first: Annotated[int, typer.Option("--first", min=0, metavar="N", help="List so many notes, the least certain first.")] = 10,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show words of answers, which are text of the notes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report on answers: counts and mean confidence by label, what could not be read, the least certain notes first."""
    from mpdd.annotate.answers import file
    from mpdd.annotate.answers import review as reviews
    from mpdd.data import catalogue

    read = file.read_answers(answers)
    catalogue_tasks = {answer.task for _, answer in read} & set(catalogue.names())
    classes = {name: catalogue.get(name).card.labels for name in catalogue_tasks}
    report = reviews.review(read, first=first, show_text=show_text, classes=classes)
    if as_json:
        from mpdd.errors import printable_json

        print(printable_json(json.dumps(report.to_dict(), indent=1, ensure_ascii=False)))
    else:
        _print(report)


def is_uncertain_first(sort: str) -> bool:
    """Whether `--sort` asks for the least certain notes first; `InputError` for an unknown order."""
    if sort not in SORTS:
        raise InputError("--sort", found=sort, wanted=f"one of {', '.join(SORTS)}")
    return sort == "uncertain"


def _print(report: Review) -> None:
    from mpdd.cli.listing import print_grid, print_line
    from mpdd.errors import counted, printable

    print_line(f"{counted(report.answers, 'answer')} to {counted(report.notes, 'note')}")
    print_grid(
        ("task", "answers", "naming nothing", "confidence", "not readable", "names not in the note", "note cut"),
        [
            (
                printable(t.task),
                t.answers,
                t.without,
                _share(t.confidence),
                *(_part(n, t) for n in (t.unparseable, t.ungrounded, t.cut)),
            )
            for t in report.tasks
        ],
    )
    labels = [
        (printable(t.task), printable(label), n.items, n.answers, _share(n.confidence))
        for t in report.tasks
        for label, n in t.labels.items()
    ]
    if labels:
        print_line("")
        print_grid(("task", "label", "items", "answers", "confidence"), labels)
    if report.least_certain:
        print_line("")
        doubts = [
            (
                printable(d.id),
                printable(d.task),
                "not readable" if d.unparseable else _share(d.confidence),
                printable(" ".join(d.text.split())),
            )
            for d in report.least_certain
        ]
        print_grid(("least certain note", "task", "confidence", ""), doubts)


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _part(number: int, task: TaskReview) -> str:
    return f"{number:,} ({100 * number / task.answers:.1f} %)"
