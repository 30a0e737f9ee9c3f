"""How long one note takes by `mpdd predict` with its start: a task of the package, the embedded backbone, one sentence.

`python -m benchmarks.cold_start [--rounds N]`. CPU seconds of the whole process beside those of `import torch` alone, which any
program on torch needs; CPU time, so that it can be measured on a machine that does other work, too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import common

NOTE = "A 61-year-old woman with hypertension developed acute renal failure after two weeks of ibuprofen.\n"
PREDICT = ("-m", "mpdd", "predict", "--task", "bc5cdr_ner", "note.txt", "--json")
CASES: dict[str, Sequence[str]] = {"import torch": ("-c", "import torch"), "mpdd predict": PREDICT}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    print(json.dumps(measure(parser.parse_args().rounds), indent=1))


def measure(rounds: int) -> dict[str, Any]:
    """CPU and wall seconds of each case, in turns, after one that does not count; the ratio of their CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "note.txt").write_text(NOTE, encoding="utf-8")
        for case in CASES.values():
            measured(case, folder)  # its files are in the system's cache from here on
        taken = [{name: measured(case, folder) for name, case in CASES.items()} for _ in range(rounds)]
    times = {
        name: {what: common.spread([figures[name][place] for figures in taken]) for what, place in (("cpu", 0), ("wall", 1))}
        for name in CASES
    }
    predict, torch = ([figures[name][0] for figures in taken] for name in ("mpdd predict", "import torch"))
    return {"seconds": times, "to_import_of_torch": common.ratio(predict, torch)}


def measured(arguments: Sequence[str], folder: str) -> tuple[float, float]:
    """CPU and wall seconds of a Python process with some arguments; it must end well."""
    before, begun = children(), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    return children() - before, time.perf_counter() - begun


def children() -> float:
    """CPU seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
