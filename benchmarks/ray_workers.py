"""20,000 short notes by two Ray workers, one of which is killed midway, against one process.

`python -m benchmarks.ray_workers [--notes N] [--workers N]` (needs `mpdd[ray]` and psutil): sentences of four public sets of the
suite, cut at 300 characters, are asked one question with two answers, under an untrained prompt: what is measured is the work,
not its quality. Both are whole commands with their start, one after the other; the time that the killed worker costs is in.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil
import pyarrow
from pyarrow import parquet

from benchmarks import common
from mpdd.annotate.ray import KEY, read_answers
from mpdd.data import catalogue
from mpdd.data.task import TaskCard
from mpdd.experiment.folder import commit
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, save_prompt

SETS = ("bionlp13cg", "phee", "chemprot", "ddi")
CARD = TaskCard("adverse_event", "classification", "Does the text speak of an adverse event?", ("yes", "no"))


def main() -> None:
    """Answer the notes both ways; compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        different = write_notes(folder / "notes.parquet", args.notes)
        prompt = write_prompt(folder / "task.safetensors")
        command = [sys.executable, "-m", "mpdd", "predict", str(prompt), str(folder / "notes.parquet"), "--output"]
        workers = [str(folder / "out"), "--workers", str(args.workers)]
        ray, killed_at = timed([*command, *workers], kill=folder / "out", of=args.notes)
        alone, _ = timed([*command, str(folder / "alone.jsonl")])
        found = compare(read_answers(folder / "out"), [json.loads(line) for line in (folder / "alone.jsonl").open()])
    values = {"notes": args.notes, "different_notes": different, "workers": args.workers, "killed_after_notes": killed_at}
    times = {"seconds_ray": round(ray, 1), "seconds_one_process": round(alone, 1), "throughput_ratio": round(alone / ray, 3)}
    print(json.dumps({**common.made_on(commit()), **values, **times, **found}, indent=1))


def write_notes(path: Path, count: int) -> int:
    """Short real sentences with an id each, in row groups as writers make them; how many different ones there are."""
    texts = list(dict.fromkeys(one.text[:300] for name in SETS for one in catalogue.load(name).train))
    chosen = list(islice(cycle(texts), count))
    parquet.write_table(pyarrow.table({"id": [f"n{i}" for i in range(count)], "text": chosen}), path, row_group_size=4096)
    return min(count, len(texts))


def write_prompt(path: Path) -> Path:
    """An untrained prompt of the benchmarks' length."""
    backbone = common.load()
    header = Header("soft", backbone.name, backbone.fingerprint, common.LENGTH, backbone.width, card=CARD)
    return save_prompt(path, {"rows": from_vocabulary(backbone, common.LENGTH, seed=0)}, header).path


def timed(command: Sequence[str], kill: Path | None = None, of: int = 0) -> tuple[float, int]:
    """Seconds of a command, one of whose workers is killed when half of the notes are in the folder `kill`; how many were."""
    began, killed_at = time.monotonic(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        if kill is not None and not killed_at and (there := written(kill)) >= of / 2:
            next(workers_of(process.pid)).send_signal(signal.SIGKILL)
            killed_at = there
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - began, killed_at


def written(output: Path) -> int:
    """Rows in an output folder."""
    return sum(parquet.read_metadata(path).num_rows for path in output.glob("part-*.parquet"))


def workers_of(pid: int) -> Iterator[psutil.Process]:
    """Ray's processes that answer, under a process."""
    for one in psutil.Process(pid).children(recursive=True):
        if one.name().startswith("ray::") and "Worker" in " ".join(one.cmdline()):
            yield one


def compare(rows: Sequence[dict[str, Any]], alone: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether all is there once, and how much of it equals what one process gave."""
    expected = {(row["id"], row["task"]): row for row in alone}
    found = {(row["id"], row["task"]): row["result"] for row in rows}
    return {
        "rows": len(rows),
        "missing": len(expected.keys() - found.keys()),
        "duplicates": len(rows) - len({tuple(row[name] for name in KEY) for row in rows}),
        "same_answer": sum(found[key]["answer"] == row["answer"] for key, row in expected.items()),
        "same_confidence": sum(found[key]["confidence"] == row["confidence"] for key, row in expected.items()),
    }


if __name__ == "__main__":
    main()
