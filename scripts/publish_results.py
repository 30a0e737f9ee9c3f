"""Copies what can be shown of a finished run into `results/`: `python -m scripts.publish_results runs/open31`. What lies deeper
under `runs` lies as deep there.

The configuration, provenance and result rows as they are; in one archive all that the report is made of, and each cell with
its counts by test example, without the texts of its answers. So a run can go on from there, and others can compare their
method on the same documents. `mpdd report results/open31` makes the report of published results.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from mpdd.evaluation.records import ARCHIVE, BESIDE, RECORDS, packed, raw_files

RESULTS = Path(__file__).parent.parent / "results"


def publish(run: Path, to: Path) -> None:
    """Publish the run in the folder `run`, finished or not, as the folder `to`, in the place of what is there."""
    files = raw_files(run)
    beside = {name: (files / name).read_bytes() for name in BESIDE if (files / name).is_file()}
    records = {name: (files / name).read_bytes() for name in RECORDS if (files / name).is_file()}
    records |= {f"cells/{path.name}": _without_texts(path) for path in (files / "cells").glob("*.json")}
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    for name, content in beside.items():
        (to / name).write_bytes(content)
    (to / ARCHIVE).write_bytes(packed(records))


def _without_texts(cell: Path) -> bytes:
    values = json.loads(cell.read_text(encoding="utf-8")) | {"outputs": {}}
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def place_of(run: Path) -> Path:
    """Where a run is published: as deep under `results` as it lies under `runs`."""
    return RESULTS / (run.relative_to(run.parts[0]) if run.parts[0] in ("runs", "results") else run.name)


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        publish(folder, place_of(folder))
