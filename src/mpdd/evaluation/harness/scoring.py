"""What a folder of exported tasks calls inside lm-evaluation-harness: reads its splits, and scores outputs with our metrics.

The harness collects what `process_results` gives for each example and hands the list to the metric's aggregation. Here that
is a metric's counts for one example and the value of their sum, from 0 to 100, exactly as `evaluation.metrics.score` has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from mpdd.data.task import Example, TaskCard
from mpdd.data.types import candidates, parse
from mpdd.evaluation.metrics import metrics_for, value_of

if TYPE_CHECKING:
    import datasets

RECORD = "tasks.json"
EXAMPLE = TypeAdapter(Example)


def rows_of(folder: Path, file: str) -> Iterator[dict[str, Any]]:
    """The rows of one split's file, in order."""
    with (folder / file).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def load(folder: Path, task: str) -> dict[str, datasets.Dataset]:
    """The splits of a task by name, held in memory, so that no text goes to the cache of `datasets`."""
    from datasets import Dataset

    files = _record(folder)[task]["files"]
    return {split: Dataset.from_list(list(rows_of(folder, file))) for split, file in files.items()}


def process_results(folder: Path, row: Mapping[str, Any], results: Sequence[Any]) -> dict[str, list[float]]:
    """The counts of each metric of a row's task for one output.

    `results` is the written text, or for tasks with options a pair (log-likelihood, whether greedy) for each option.
    """
    card = TaskCard.from_dict(_record(folder)[row["task"]]["card"])
    example = EXAMPLE.validate_json(row["example"])
    parsed = parse(card, example, _output(card, example, row, results))
    return {metric.name: metric.counts(card, example, parsed).tolist() for metric in metrics_for(card)}


def aggregation(metric: str) -> Callable[[Sequence[Sequence[float]]], float]:
    """The function that makes a metric's value, from 0 to 100, of the counts of all examples."""
    value = value_of(metric)

    def aggregate(counts: Sequence[Sequence[float]]) -> float:
        return value(np.asarray(counts, dtype=np.float64).sum(axis=0))

    return aggregate


def _output(card: TaskCard, example: Example, row: Mapping[str, Any], results: Sequence[Any]) -> str:
    """The text of an answer: what was written, or the likeliest of the options, the first of equals."""
    options = candidates(card, example)
    if options is None:
        return str(results[0])
    scores = [result[0] / length for result, length in zip(results, row["lengths"], strict=True)]
    return options[max(range(len(scores)), key=scores.__getitem__)]


@cache
def _record(folder: Path) -> dict[str, Any]:
    tasks: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))["tasks"]
    return tasks
