"""Copies what can be shown of a finished run into `results/`: `python -m scripts.publish_results runs/open31`. What lies deeper
under `runs` lies as deep there.

The configuration, the results with all that the report is made of, and each cell with its counts by test example, without the
texts of its answers, so that a run can go on from there and others can hold their method against it on the same documents.
The report is made anew from what was copied. A run that is not finished is published without one.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from mpdd.evaluation.report import write_report

RESULTS = Path(__file__).parent.parent / "results"
FILES = (
    "config.toml", "results.json", "comparisons.json", "metrics.json", "metrics.jsonl", "failures.json", "reliability.json",
    "transfer.json", "provenance.json",
)  # fmt: skip


def publish(run: Path, to: Path) -> None:
    """Copy the run in the folder `run` to `to`, in the place of what is there."""
    shutil.rmtree(to, ignore_errors=True)
    (to / "cells").mkdir(parents=True)
    for name in FILES:
        if (run / name).is_file():
            shutil.copy(run / name, to / name)
    for path in sorted((run / "cells").glob("*.json")):
        cell = json.loads(path.read_text(encoding="utf-8")) | {"outputs": {}}
        (to / "cells" / path.name).write_text(json.dumps(cell, separators=(",", ":")) + "\n", encoding="utf-8")
    if (to / "results.json").is_file():
        write_report(to)


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        publish(folder, RESULTS / (folder.relative_to("runs") if folder.parts[:1] == ("runs",) else folder.name))
