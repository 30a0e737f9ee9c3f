"""Packs what can be shown of a finished run into `results/`: `python -m scripts.publish_results runs/open31` makes
`results/open31.tar.xz`. What lies deeper under `runs` lies as deep there.

The archive has the configuration, provenance and result rows as they are, all that the report is made of, and each cell with
its counts by test example, without the texts of its answers. So a run can go on from there, and others can compare their
method on the same documents. `mpdd report results/open31` makes the report of published results.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mpdd.evaluation.records import RECORDS, archive_of, name_of, packed, raw_files
from mpdd.files import write_atomically

RESULTS = Path(__file__).parent.parent / "results"


def publish(run: Path, to: Path) -> None:
    """Publish a run, finished or not, as the archive `to` (with its ending or without), in the place of what is there."""
    files, archive = raw_files(run), archive_of(to)
    records = {name: (files / name).read_bytes() for name in RECORDS if (files / name).is_file()}
    records |= {f"cells/{path.name}": _without_texts(path) for path in (files / "cells").glob("*.json")}
    archive.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(archive, packed(records))


def _without_texts(cell: Path) -> bytes:
    values = json.loads(cell.read_text(encoding="utf-8")) | {"outputs": {}}
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def place_of(run: Path) -> Path:
    """Where a run is published: as deep under `results` as it lies under `runs`."""
    return RESULTS / (run.relative_to(run.parts[0]) if run.parts[0] in ("runs", "results") else name_of(run))


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        publish(folder, place_of(folder))
