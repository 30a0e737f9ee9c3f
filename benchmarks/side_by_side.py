"""A short run of all stages by one process on all cores, and by two side by side (`mpdd run --processes 2`).

`python -m benchmarks.side_by_side [--rounds N]`: the demo's experiment with fewer steps, whole commands with their start, in
turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import common
from mpdd.experiment.folder import commit

DEMO = Path(__file__).parents[1] / "src" / "mpdd" / "experiment" / "demo.toml"
FEWER = {
    "limits.dev": 12, "limits.test": 16, "teach.steps": 6, "teach.every": 6, "distil.steps": 8, "distil.every": 8,
    "adapt.steps": 8, "adapt.every": 4, "adapt.halving_steps": 4,
}  # fmt: skip
PROCESSES = 2


def main() -> None:
    """Measure both in turn; write the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    pairs = [(seconds(1), seconds(PROCESSES)) for _ in range(parser.parse_args().rounds)]
    one, several = zip(*pairs, strict=True)
    times = {"seconds_one_process": common.spread(one), "seconds_side_by_side": common.spread(several)}
    result = {"processes": PROCESSES, "settings": FEWER, **times, "ratio": common.ratio(one, several)}
    print(json.dumps({**common.made_on(commit()), **result}, indent=1))


def seconds(processes: int) -> float:
    """How long a run by so many processes takes, in a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        settings = [word for name, value in FEWER.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "mpdd", "run", str(DEMO), "--out", f"{place}/run", *settings]
        options = ["--processes", str(processes)] if processes > 1 else []
        began = time.perf_counter()
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
