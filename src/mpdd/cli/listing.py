"""What `mpdd tasks` prints: the catalogue, one task in detail, or the leak audit; tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table as Grid
from rich.text import Text

from mpdd.backbone.checkpoints.registry import ready_for, ready_scores
from mpdd.cli.show import console, print_pairs
from mpdd.data import cache, catalogue, counts, store
from mpdd.data.task import SPLITS, Task

ROLES = ("source", "target", "spare", "user")
FILES_SHOWN = 4


def print_tasks(tasks: Sequence[Task], as_json: bool) -> None:
    """The catalogue, sources first, with the sizes of the splits; no data is needed."""
    rows = [_listed(task) for task in (tasks if as_json else sorted(tasks, key=lambda task: ROLES.index(task.role)))]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    print_line(_title(tasks))
    lines: list[tuple[str | int, ...]] = [
        (r["name"], r["role"], r["type"], *r["examples"].values(), _short(r["licence"]), r["data"] + ", cached" * r["cached"])
        for r in rows
    ]
    print_grid(("task", "role", "type", *SPLITS, "licence", "data"), lines)
    print_line("Ready without training (`mpdd predict --task NAME --backbone BACKBONE NOTE.txt`), scores by --ready:")
    groups = {f"{role}s": {task.name for task in tasks if task.role == role} for role in ("source", "target")}
    for backbone, names in ready_for().items():
        print_line(f"  {backbone}: {_ready_line(names, groups)}")


def _ready_line(names: Sequence[str], groups: Mapping[str, set[str]]) -> str:
    """Names of tasks, those of a group as their number where all of it are there."""
    whole = {group: members for group, members in groups.items() if members and members <= set(names)}
    others = set(names).difference(*whole.values())
    return ", ".join((*(f"all {len(m)} {group}" for group, m in whole.items()), *(name for name in names if name in others)))


def print_ready(as_json: bool) -> None:
    """The tasks that need no training: the score of each on test examples of its own data, by backbone."""
    scores, ready = ready_scores(), ready_for()
    rows = {name: {b: scores.get(b, {}).get(name) for b, names in ready.items() if name in names} for name in _ready_names(ready)}
    if as_json:
        print(json.dumps([{"name": name, "scores": row} for name, row in rows.items()], indent=1))
        return
    print_line("Ready without training: `mpdd predict --task NAME --backbone BACKBONE NOTE.txt`.")
    print_line("Scores on test examples of the task's own data, with 95 % intervals; in brackets: without a model.")
    print_line("Then: how many of the test examples were scored, and on how many examples a prompt of a pack was trained.")
    lines = []
    for name, row in rows.items():
        shown = next((score for score in row.values() if score), None)
        lines.append(
            (
                name,
                catalogue.get(name).card.kind,
                shown["metric"] if shown else "",
                *(_score(row.get(b)) for b in ready),
            )
        )
    print_grid(("task", "type", "metric", *ready), lines)


def _ready_names(ready: Mapping[str, Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in ready.values() for name in names if name in catalogue.names()))


def _score(score: Mapping[str, Any] | None) -> str:
    if score is None or "value" not in score:
        return "not scored"
    training = f", trained on {score['training']['examples']:,}" if score.get("training") else ""
    tested = f"{score['examples']:,} of {score['test_examples']:,}"
    return f"{score['value']:.1f} [{score['low']:.1f}, {score['high']:.1f}] ({score['baseline']:.1f}), {tested}{training}"


def print_task(task: Task, as_json: bool) -> None:
    """One task: what it asks, its files, its sizes and what its reader dropped or cut."""
    row, card = _row(task), task.card
    shown = _listed(task) | {"instruction": card.instruction, "labels": list(card.labels), "citation": task.citation}
    shown |= {"documents": _by_split(row["documents"]), "notes": row.get("notes", {}), "counts_from": row["source"]}
    if as_json:
        print(json.dumps([shown | {"files": list(task.files)}], indent=1))
    else:
        print_pairs(shown | {"files": _folder(task.files)})


def print_audit(report: Mapping[str, Any], as_json: bool) -> None:
    """What the tests share with the sources and with training text, and what is left of it."""
    if as_json:
        print(json.dumps(report, indent=1))
        return
    touched = {name: row for name, row in report["sources"].items() if row["found"] or row["remaining"]}
    print_line(f"Train and dev of the sources against the tests of {len(report['tests'])} targets: examples.")
    _print_figures("source", ("examples", "found", "removed", "remaining"), touched)
    print_line(f"The other {len(report['sources']) - len(touched)} share nothing.\n")
    heads = ("shared_documents", "shared_runs", "test_examples", "texts")
    _print_figures("source and target", heads, {f"{pair['source']} {pair['target']}": pair for pair in report["pairs"]})
    if text := report.get("text"):
        print_line("\nTraining text before and after the backbones' leak filter: documents.")
        _print_figures("file", ("documents", "found", "filtered", "remaining"), text["files"])
    print_line(f"\nData: upstream.tsv, sha256 {report['data_sha256']}")


def print_line(line: str) -> None:
    """A line of plain text."""
    console().print(Text(line))


def _listed(task: Task) -> dict[str, Any]:
    path = cache.place(task)
    return {
        "name": task.name,
        "role": task.role,
        "type": task.card.type,
        "headline": task.headline,
        "licence": task.licence,
        "data": "yours" if task.role == "user" else store.locate(task),
        "cached": path is not None and os.path.isfile(path),
        "ready_for": [backbone for backbone, names in ready_for().items() if task.name in names],
        "examples": _by_split(_row(task)["examples"]),
    }


def _row(task: Task) -> Mapping[str, Any]:
    """A task's row of the table of counts; one that is not of the catalogue is counted here."""
    if task.role != "user" and task.name in counts.table():
        return counts.table()[task.name]
    return counts.measure(task.load(store.fetch(task.files))) | {"source": "measured here"}


def _by_split(figures: Sequence[int]) -> dict[str, int]:
    return dict(zip(SPLITS, figures, strict=True))


def _title(tasks: Sequence[Task]) -> str:
    number = Counter(task.role for task in tasks)
    return (
        f"{number['source'] + number['target']} tasks: {number['source']} sources, {number['target']} targets, "
        f"{number['spare']} spare"
    )


def _short(licence: str) -> str:
    """A licence up to its first remark; `mpdd tasks NAME` gives the whole."""
    first = re.split(r" \(|;", licence)[0]
    return first if first == licence else f"{first} …"


def _folder(files: Sequence[str]) -> list[str]:
    """A few files as they are, many as the folder that they lie in."""
    if len(files) <= FILES_SHOWN:
        return list(files)
    return [f"{len(files):,} files in {os.path.commonpath(files)}"]


def _print_figures(first: str, keys: Sequence[str], rows: Mapping[str, Mapping[str, int]]) -> None:
    lines: list[tuple[str | int, ...]] = [(name, *(row[key] for key in keys)) for name, row in rows.items()]
    print_grid((first, *(key.replace("_", " ") for key in keys)), lines)


def print_grid(heads: Sequence[str], lines: Sequence[Sequence[str | int]]) -> None:
    """Print a table without lines; numbers stand to the right."""
    grid = Grid(box=None, padding=(0, 1, 0, 0))
    for place, head in enumerate(heads):
        number = bool(lines) and isinstance(lines[0][place], int)
        grid.add_column(head, justify="right" if number else "left", overflow="fold")
    for line in lines:
        grid.add_row(*(f"{cell:,}" if isinstance(cell, int) else Text(cell) for cell in line))
    console().print(grid)
