"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from mpdd.errors import printable, printable_json
from mpdd.evaluation.row import Row
from mpdd.evaluation.table import Cell, results_tables

if TYPE_CHECKING:
    from mpdd.prompts.store import PromptFile


def console() -> Console:
    """Standard output; wide when it is not a terminal, so that logs are not folded."""
    stdout = Console(highlight=False)
    return stdout if stdout.is_terminal else Console(highlight=False, width=160)


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


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """What `mpdd check` found."""
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        print_pairs(facts)


def print_header(file: PromptFile, as_json: bool) -> None:
    """What a prompt file says of itself."""
    header = {"file": file.path.name, "stored_bytes": file.stored_bytes, **asdict(file.header)}
    header["tensors"] = {name: list(t.shape) for name, t in file.tensors.items()}
    if as_json:
        print(json.dumps(header, indent=1))
    else:
        print_pairs(header)


def print_results(results: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Answers to notes."""
    if as_json:
        shown = json.dumps(results[0] if len(results) == 1 else list(results), indent=1, ensure_ascii=False)
        print(printable_json(shown))
        return
    for result in results:
        console().print(Text(printable(f"{result['id']}  {result['task']}"), style="bold"))
        for line in _answer_lines(result):
            console().print(Text(printable("  " + line)))


def print_pairs(values: Mapping[str, Any], indent: int = 0) -> None:
    """Names with their values, one a line."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            console().print(Text(printable(f"{' ' * indent}{key}")))
            print_pairs(value, indent + 2)
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            console().print(Text(printable(f"{' ' * indent}{key:<{24 - indent}} {shown}")))


def _answer_lines(result: Mapping[str, Any]) -> Iterator[str]:
    for entity in result.get("entities", ()):
        yield f"{entity['start']:>6} {entity['end']:>6}  {entity['label']:<16} {_on_one_line(entity['text'])}"
    for relation in result.get("relations", ()):
        head, tail = (_on_one_line(relation[end]["text"]) for end in ("head", "tail"))
        yield f"{head}  {relation['label']}  {tail}"
    if "labels" in result:
        yield "; ".join(result["labels"]) or "none"
    yield from (_words(result[name]) for name in ("answer", "summary") if name in result)
    if result["unparseable"]:
        yield "(the model's output could not be read in full)"
    if result["ungrounded"] and isinstance(result.get("answer"), Mapping):
        yield "(these words are not in the text)"
    elif result["ungrounded"] and "labels" in result:
        yield f"({result['ungrounded']} named labels are not the task's and were left out)"
    elif result["ungrounded"]:
        yield f"({result['ungrounded']} named items are not in the text and were left out)"
    if result["cut_characters"]:
        yield f"({result['cut_characters']} characters at the end did not fit the context and were not read)"


def _on_one_line(words: str) -> str:
    return " ".join(words.split())


def _words(answer: Any) -> str:
    """A choice or a summary as it is, an extracted answer with its place."""
    if not isinstance(answer, Mapping):
        return str(answer)
    place = "" if answer["start"] is None else f"{answer['start']:>6} {answer['end']:>6}  "
    return f"{place}{_on_one_line(answer['text'])}"


def _score(cell: Cell | None) -> str:
    return "" if cell is None else f"{cell.value:.1f} [{cell.low:.1f}, {cell.high:.1f}]"


def _size(count: int) -> str:
    return "0" if count == 0 else f"{count / 1024:.1f} KB"
