"""A run folder as one self-contained page: scores, costs, learning curves, examples and where it all came from.

The page loads nothing, runs no script and holds no date: the same files give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mpdd.errors import InputError
from mpdd.evaluation.differences import DifferenceTable, Gap, difference_tables, mean_gap
from mpdd.evaluation.records import archive_of, name_of, run_files
from mpdd.evaluation.reliability import reliability_tables
from mpdd.evaluation.report import plots, wording
from mpdd.evaluation.report.curves import Panel, panels_by_part, panels_by_task, read_metrics
from mpdd.evaluation.report.failure_tables import failure_tables
from mpdd.evaluation.results import Cell, Column, Line, Table, read_json, read_results, results_tables, write_atomically
from mpdd.evaluation.row import OURS, ours
from mpdd.evaluation.transfer import transfer_tables

_EXAMPLES = 20  # shown for each target


def write_report(run: Path) -> Path:
    """Write RUN/report.html from RUN/results.json and, where they exist, the run's other records; return its path.

    RUN may also be published results, `NAME.tar.xz` or `NAME`; their report is `NAME.html` beside them. Raise `InputError`
    where a file cannot be read.
    """
    files = run_files(run)
    report = run / "report.html" if run.is_dir() else archive_of(run).with_name(f"{name_of(run)}.html")
    run = files
    provenance = _mapping(run / "provenance.json")
    tables = results_tables(read_results(run / "results.json"))
    differences = difference_tables(run / "comparisons.json")
    page = _template().render(
        {
            **_scores(tables, differences),
            **_curves(run / "metrics.jsonl"),
            "synthetic": bool(provenance) and provenance.get("data") == "synthetic",
            "provenance": list(_flat(provenance)),
            "warnings": _warnings(provenance),
            "differences": differences,
            "transfers": transfer_tables(run / "transfer.json"),
            "failures": failure_tables(run / "failures.json", _best_first(tables[0])),
            "reliability": reliability_tables(run / "reliability.json", _best_first(tables[0])),
            "metric_tables": _metric_tables(run / "metrics.json"),
            "examples": _examples(_mapping(run / "examples.json")),
            "shown_examples": _EXAMPLES,
        }
    )
    write_atomically(report, page)
    return report


def _warnings(provenance: Mapping[str, Any]) -> list[str]:
    """Return what the run warned of, such as gold that was lost on reading."""
    warnings = provenance.get("warnings")
    return [_text(message) for message in warnings.values()] if isinstance(warnings, dict) else []


@cache
def _template() -> Any:
    """The report's template, compiled once in a process."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(wording=wording, ours=OURS, legend_mark=plots.legend_mark, style=plots.style)
    return environment.from_string(resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8"))


def _mapping(path: Path) -> dict[str, Any]:
    """Read an optional JSON object; without the file, an empty one."""
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is not what a run writes", found=type(content).__name__, wanted="a JSON object")
    return content


# Scores


@dataclass(frozen=True)
class Section:
    """A table with its pictures, its heading and what its cells are to be marked with."""

    table: Table
    title: str
    tops: tuple[Cell | None, ...]
    top_mean: Cell | None
    score_plots: tuple[tuple[Column, Markup], ...]
    cost_plot: Markup | None
    seeds: str


def _scores(tables: Sequence[Table], differences: Sequence[DifferenceTable]) -> dict[str, Any]:
    backbones = {table.backbone: [t for t in tables if t.backbone == table.backbone] for table in tables}
    methods = {line.method for table in tables for line in table.lines}
    return {
        "summary": first_words(tables, differences),
        "main": tables[0],
        "backbones": list(backbones),
        "sections": [_section(table, several=len(backbones) > 1) for table in tables],
        "shots_plots": [(name, plot) for name, some in backbones.items() if (plot := plots.shots_plot(some))],
        "methods": [method for method in wording.METHOD_NOTES if method in methods],
        "metrics": sorted({column.metric for table in tables for column in table.columns}),
    }


def _section(table: Table, several: bool) -> Section:
    title = wording.shots_name(table.shots)
    return Section(
        table=table,
        title=f"{table.backbone}, {title}" if several else title[0].upper() + title[1:],
        tops=tuple(_top([line.cells[i] for line in table.lines]) for i in range(len(table.columns))),
        top_mean=_top([line.mean for line in table.lines]) if len(table.columns) > 1 else None,
        score_plots=tuple((column, plots.score_plot(table, column)) for column in table.columns),
        cost_plot=plots.cost_plot(table),
        seeds=_seeds(table),
    )


def _top(cells: Sequence[Cell | None]) -> Cell | None:
    """The cell with the highest value, where the values as shown differ."""
    present = [cell for cell in cells if cell]
    differ = len({wording.score(cell.value) for cell in present}) > 1
    return max(present, key=lambda cell: cell.value) if differ else None


def _seeds(table: Table) -> str:
    counts = {cell.seeds for line in table.lines for cell in line.cells if cell}
    if len(counts) > 1:
        return f"{min(counts)} to {max(counts)} seeds"
    return f"{max(counts)} seed{'s' if max(counts) > 1 else ''}"


def first_words(tables: Sequence[Table], differences: Sequence[DifferenceTable] = ()) -> str:
    """The first words of a report: the most training examples and, where the run has several numbers of them, the fewest."""
    most, *others = [table for table in tables if table.backbone == tables[0].backbone]
    if not others or not _ranked(others[-1]):
        return summary(most, differences)
    first, *rest = _ranked(others[-1])
    fewest = f"{first.method} scores {_spoken(first)}; {_beside(first, rest, others[-1], differences)}."
    few, many = wording.shots_name(others[-1].shots), wording.shots_name(most.shots)
    return f"With {many}, {summary(most, differences)} With {few}, {fewest}"


def summary(table: Table, differences: Sequence[DifferenceTable] = ()) -> str:
    """Say in one sentence how mpdd (else the best method) did, at what size, and how it stands to the best other one.

    The paired difference of the two decides, where the run has one. Without it, intervals that overlap decide nothing; nor
    does an interval that holds chance, and the sentence says so.
    """
    ranked = _ranked(table)
    if not ranked:
        methods = f"{len(table.lines)} methods were" if len(table.lines) > 1 else f"{table.lines[0].method} was"
        return f"{methods} run on {len(table.columns)} targets, but none on all of them, so there is no common mean."
    first, *others = ranked
    where = f"on average over {len(table.columns)} targets" if len(table.columns) > 1 else f"on {table.columns[0].target}"
    opening = f"{first.method} scores {_spoken(first)} {where}, {_size(first)}; "
    return f"{opening}{_beside(first, others, table, differences)}; {_against_chance(first, table.chance)}."


def _beside(first: Line, others: Sequence[Line], table: Table, differences: Sequence[DifferenceTable]) -> str:
    if not others:
        return "no other method was run to compare with"
    return _against(first, others[0], len(others), mean_gap(differences, table.shots, first.method, others[0].method))


def _ranked(table: Table) -> list[Line]:
    """The methods with every target: mpdd, then the others from the best on."""
    lead = ours(line.method for line in table.lines if line.mean)
    return sorted((line for line in table.lines if line.mean), key=lambda line: (line.method != lead, -_mean(line).value))


def _best_first(table: Table) -> list[str]:
    """The methods in the order in which they are to speak for the run."""
    return [ours(line.method for line in table.lines), *(line.method for line in _ranked(table))]


def _mean(line: Line) -> Cell:
    if line.mean is None:
        raise InputError(f"{line.method} has no mean", wanted="a score on every target")
    return line.mean


def _spoken(line: Line) -> str:
    mean = _mean(line)
    return f"{wording.score(mean.value)} (95{wording.SPACE}% interval {wording.interval(mean.low, mean.high)})"


def _size(line: Line) -> str:
    if line.trainable_parameters == 0:
        return "without training on them"
    number, share = wording.whole(line.trainable_parameters), wording.percent(line.trainable_fraction)
    return f"training {number} parameters ({share} of the backbone)"


def _against(lead: Line, other: Line, count: int, gap: Gap | None) -> str:
    mine, its = _mean(lead), _mean(other)
    rank = f"the best of the {count} other methods" if count > 1 else "the only other method"
    name = f"{other.method}, {rank}, scores {wording.score(its.value)} ({wording.interval(its.low, its.high)})"
    if gap:
        between = f"{wording.signed(gap.low)} to {wording.signed(gap.high)}"
        paired = f"{lead.method} minus {other.method} is {wording.signed(gap.value)} ({between}) on the same documents"
        if gap.clear:
            return f"{name}, and is {'worse' if gap.value > 0 else 'better'}: {paired}"
        return f"{name}; {paired}, so this run does not show which of the two is better"
    if mine.low <= its.high and its.low <= mine.high:
        return f"{name}, and the intervals overlap, so this run does not show which of the two is better"
    return f"{name}, which is {'lower' if its.value < mine.value else 'higher'}, and the intervals do not overlap"


def _against_chance(lead: Line, chance: float) -> str:
    if _mean(lead).low > chance:
        return f"chance level is {wording.score(chance)}"
    return f"{lead.method} is not clearly above the chance level of {wording.score(chance)}"


# All metrics


@dataclass(frozen=True)
class MetricTable:
    """Every metric of one target: a column each, and a line for each method, shots and seed."""

    target: str
    metrics: tuple[str, ...]
    lines: tuple[tuple[str, str, tuple[str, ...]], ...]


def _metric_tables(path: Path) -> list[MetricTable]:
    """One table for each target; none where the run has no such record."""
    cells = read_json(path) if path.exists() else []
    try:
        by_target: dict[str, list[Any]] = {}
        for cell in cells:
            by_target.setdefault(cell["target"], []).append(cell)
        return [_metric_table(target, of_target) for target, of_target in by_target.items()]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is not what a run writes", wanted="a list of objects with target, method and values") from error


def _metric_table(target: str, cells: Sequence[Any]) -> MetricTable:
    names = tuple(dict.fromkeys(name for cell in cells for name in cell["values"]))
    lines = (
        (
            str(cell["method"]),
            f"{wording.shots_name(cell['shots'])}, seed {cell['seed']}",
            tuple(wording.score(cell["values"][name]) if name in cell["values"] else "" for name in names),
        )
        for cell in cells
    )
    return MetricTable(target, names, tuple(lines))


# Training curves


@dataclass(frozen=True)
class CurveGroup:
    """Panels under one heading, with the methods they show."""

    title: str
    note: str
    panels: tuple[tuple[Panel, Markup], ...]
    methods: tuple[str, ...]
    folded: bool


def _curves(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"curves": [], "unread_metrics": 0}
    records, unread = read_metrics(path)
    groups = [
        _group("Training on each target", "adapt", panels_by_task(records, "adapt"), _ADAPT_NOTE),
        _group("Distilling the metaprompt", "distil", panels_by_part(records, "distil"), _DISTIL_NOTE),
        _group("Teachers, one for each source task", "teach", panels_by_task(records, "teach"), _TEACH_NOTE, folded=True),
    ]
    return {"curves": [group for group in groups if group.panels], "unread_metrics": unread}


_ADAPT_NOTE = (
    "Strong: each method's run with the lowest loss. Faint: its other trials and seeds. What lies far above, as in the "
    "first steps, leaves the frame."
)
_DISTIL_NOTE = "Each part of the loss by itself, on its own scale."
_TEACH_NOTE = "Loss of each source task's own soft prompt."


def _group(title: str, stage: str, panels: Sequence[Panel], note: str, folded: bool = False) -> CurveGroup:
    drawn = tuple((panel, plots.curve_plot(panel, f"{stage}-{i}")) for i, panel in enumerate(panels))
    drawn_methods = {curve.method for panel in panels for curve in panel.curves}
    return CurveGroup(title, note, drawn, tuple(m for m in wording.METHOD_NOTES if m in drawn_methods), folded)


# Examples and provenance


def _examples(targets: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Keep what is an example; the template shows `id`, `input`, `gold` and (method, text, equals gold) triples."""
    return {
        target: [_example(item) for item in items[:_EXAMPLES] if isinstance(item, dict)]
        for target, items in targets.items()
        if isinstance(items, list)
    }


def _example(item: Mapping[str, Any]) -> dict[str, Any]:
    gold, predictions = _text(item.get("gold")), item.get("predictions")
    texts = {str(m): _text(text) for m, text in (predictions if isinstance(predictions, dict) else {}).items()}
    order = [method for method in wording.METHOD_NOTES if method in texts]
    order += [method for method in texts if method not in order]
    return {
        "id": _text(item.get("id")),
        "input": _text(item.get("input")),
        "gold": gold,
        "predictions": [(method, texts[method], texts[method].strip() == gold.strip()) for method in order],
    }


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and text of every leaf of nested objects; a list of plain values is one leaf."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from _flat(inner, (*path, str(number)))
    else:
        yield path, ", ".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    """A leaf as people read it; what is unknown or not a finite number is a dash."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
