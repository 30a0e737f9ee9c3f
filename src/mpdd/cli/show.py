"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from mpdd.data import catalogue, store
from mpdd.data.task import SPLITS, Task
from mpdd.errors import MpddError
from mpdd.evaluation.row import Row
from mpdd.evaluation.table import Cell, results_tables

if TYPE_CHECKING:
    from mpdd.prompts.store import PromptFile


def console() -> Console:
    """Standard output; wide when it is not a terminal, so that logs are not folded."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=160)


def print_table(rows: Sequence[Row]) -> None:
    """The results: methods by targets with 95 % intervals, the mean, and what each method trains and stores."""
    for table in results_tables(rows):
        size = f"{table.backbone_parameters / 1e6:.1f} M parameters"
        title = Text(f"{table.backbone} ({size}), {table.shots} training examples a target", style="italic")
        grid = Grid(title=title, title_justify="left")
        grid.add_column("method")
        for column in table.columns:
            grid.add_column(f"{column.target}\n{column.metric}", justify="right")
        for name in ("mean", "trainable", "% of backbone", "stored"):
            grid.add_column(name, justify="right")
        for line in table.lines:
            trained = (f"{line.trainable_parameters:,}", f"{100 * line.trainable_fraction:.4f}", _size(line.stored_bytes))
            grid.add_row(line.method, *map(_score, line.cells), f"{line.mean.value:.1f}" if line.mean else "", *trained)
        grid.add_row("(chance)", *(f"{c.chance:.1f}" for c in table.columns), f"{table.chance:.1f}", "", "", "", style="dim")
        console().print(grid)


def print_tasks(tasks: Sequence[Task], detailed: bool, as_json: bool) -> None:
    """The catalogue, or one task with the sizes of its splits."""
    described = [_task(task, detailed) for task in tasks]
    if as_json:
        print(json.dumps(described, indent=1, ensure_ascii=False))
    elif detailed:
        _print_pairs(described[0])
    else:
        grid = Grid(box=None)
        for name in ("task", "role", "type", "metric", "licence", "data"):
            grid.add_column(name)
        for d in described:
            grid.add_row(*(Text(str(d[k])) for k in ("name", "role", "type", "headline", "licence", "data")))
        console().print(grid)


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """What `mpdd check` found."""
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _print_pairs(facts)


def print_header(file: PromptFile, as_json: bool) -> None:
    """What a prompt file says of itself."""
    header = {"file": file.path.name, "stored_bytes": file.stored_bytes, **asdict(file.header)}
    header["tensors"] = {name: list(t.shape) for name, t in file.tensors.items()}
    if as_json:
        print(json.dumps(header, indent=1))
    else:
        _print_pairs(header)


def print_results(results: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Answers to notes."""
    if as_json:
        print(json.dumps(results[0] if len(results) == 1 else list(results), indent=1, ensure_ascii=False))
        return
    for result in results:
        console().print(Text(f"{result['id']}  {result['task']}", style="bold"))
        for line in _answer_lines(result):
            console().print(Text("  " + line))


def _answer_lines(result: Mapping[str, Any]) -> Iterator[str]:
    for entity in result.get("entities", ()):
        yield f"{entity['start']:>6} {entity['end']:>6}  {entity['label']:<16} {entity['text']}"
    for relation in result.get("relations", ()):
        yield f"{relation['head']['text']}  {relation['label']}  {relation['tail']['text']}"
    yield from (_words(result[name]) for name in ("answer", "summary") if name in result)
    if result["unparseable"]:
        yield "(the model's output could not be read in full)"
    if result["ungrounded"] and isinstance(result.get("answer"), Mapping):
        yield "(these words are not in the text)"
    elif result["ungrounded"]:
        yield f"({result['ungrounded']} named items are not in the text and were left out)"
    if result["cut_characters"]:
        yield f"({result['cut_characters']} characters at the end did not fit the context and were not read)"


def _words(answer: Any) -> str:
    """A choice or a summary as it is, an extracted answer with its place."""
    if not isinstance(answer, Mapping):
        return str(answer)
    place = "" if answer["start"] is None else f"{answer['start']:>6} {answer['end']:>6}  "
    return f"{place}{answer['text']}"


def _task(task: Task, detailed: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": task.name,
        "role": task.role,
        "type": task.card.type,
        "headline": task.headline,
        "licence": task.licence,
        "data": store.locate(task),
    }
    if detailed:
        described |= {"instruction": task.card.instruction, "labels": list(task.card.labels), "citation": task.citation}
        described |= {"files": list(task.files), **_sizes(task)}
    return described


def _sizes(task: Task) -> dict[str, Any]:
    if store.locate(task) == "missing":
        return {"examples": f"unknown until `mpdd data get {task.name}`"}
    try:
        splits = catalogue.load(task.name)
    except MpddError as error:
        return {"examples": str(error)}
    return {"examples": {name: len(splits[name]) for name in SPLITS}, "notes": dict(splits.notes)}


def _print_pairs(values: Mapping[str, Any], indent: int = 0) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            console().print(Text(f"{' ' * indent}{key}"))
            _print_pairs(value, indent + 2)
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            console().print(Text(f"{' ' * indent}{key:<{24 - indent}} {shown}"))


def _score(cell: Cell | None) -> str:
    return "" if cell is None else f"{cell.value:.1f} [{cell.low:.1f}, {cell.high:.1f}]"


def _size(count: int) -> str:
    return "0" if count == 0 else f"{count / 1024:.1f} KB"
