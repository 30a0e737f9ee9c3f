"""The training curves of a run: `metrics.jsonl` read back and grouped into panels of one question each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

LOSS_PARTS = {"loss": "total loss", "task_loss": "task loss", "kl": "KL to the teacher", "hidden": "hidden states"}
_POINTS = 120
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """One training run: (step, loss) points in order of steps."""

    run: str
    method: str
    points: tuple[tuple[float, float], ...]

    @property
    def lowest(self) -> float:
        """The lowest loss it reached."""
        return min(loss for _, loss in self.points)


@dataclass(frozen=True)
class Panel:
    """Curves that belong in one picture; `dev` tells whether the loss is on development or on training data."""

    title: str
    curves: tuple[Curve, ...]
    dev: bool

    def best(self) -> tuple[Curve, ...]:
        """Return each method's run with the lowest dev loss; training losses choose none, so all."""
        if not self.dev:
            return self.curves
        lowest: dict[str, Curve] = {}
        for curve in self.curves:
            key = curve.method or curve.run
            if key not in lowest or curve.lowest < lowest[key].lowest:
                lowest[key] = curve
        return tuple(lowest.values())


def read_metrics(path: Path) -> tuple[list[Record], int]:
    """Return the records of `metrics.jsonl`, and how many lines could not be read (a run may stop mid-line)."""
    records, unread = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip():
            record = _record(line)
            records += [record] if record else []
            unread += record is None
    return records, unread


def _record(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and _finite(record.get("step")) else None


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def panels_by_task(records: Iterable[Record], stage: str) -> tuple[Panel, ...]:
    """Return a panel for each task of a stage: the dev loss where there is one, else the training loss."""
    tasks: dict[str, list[Record]] = {}
    for record in records:
        if record.get("stage") == stage:
            tasks.setdefault(str(record.get("task", "")), []).append(record)
    panels = (_panel(task, some) for task, some in sorted(tasks.items()))
    return tuple(panel for panel in panels if panel.curves)


def panels_by_part(records: Iterable[Record], stage: str) -> tuple[Panel, ...]:
    """Return a panel for each part of a stage's loss, and for its dev loss."""
    chosen = [record for record in records if record.get("stage") == stage]
    panels = [Panel(title, _curves(chosen, name), dev=False) for name, title in LOSS_PARTS.items()]
    panels.append(Panel("dev loss", _curves(chosen, "dev_loss"), dev=True))
    return tuple(panel for panel in panels if panel.curves)


def _panel(title: str, records: Sequence[Record]) -> Panel:
    dev = _curves(records, "dev_loss")
    return Panel(title, dev or _curves(records, "loss"), dev=bool(dev))


def _curves(records: Iterable[Record], name: str) -> tuple[Curve, ...]:
    runs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for record in records:
        if _finite(record.get(name)):
            runs.setdefault(_run(record), []).append((float(record["step"]), float(record[name])))
    return tuple(
        Curve(f"{run}, seed {seed}" if seed else run, method, _thinned(sorted(points)))
        for (method, run, seed), points in runs.items()
    )


def _run(record: Record) -> tuple[str, str, str]:
    method, run, seed = (str(record.get(name, "")) for name in ("method", "run", "seed"))
    return method, run, seed


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Average neighbours until about `_POINTS` are left: a picture shows no more."""
    size = math.ceil(len(points) / _POINTS)
    if size <= 1:
        return tuple(points)
    chunks = (points[start : start + size] for start in range(0, len(points), size))
    return tuple((fmean(step for step, _ in chunk), fmean(loss for _, loss in chunk)) for chunk in chunks)
