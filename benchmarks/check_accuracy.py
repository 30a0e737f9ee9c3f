"""What `mpdd check --rehearse` predicts against what `mpdd run` takes: wall time and peak memory of a small experiment.

`python -m benchmarks.check_accuracy`. The prediction and the run are a process each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from mpdd.experiment import pipeline
from mpdd.experiment.config import read
from mpdd.progress import Reporter

EXPERIMENT = """
name = "two-sources"
sources = ["ddi", "bc5cdr_ner"]
targets = ["ncbi_disease"]
methods = ["prompt-tuning", "lora", "mpdd"]
limits = {train = 100, dev = 12, test = 24}
teach = {steps = 12, every = 6}
distil = {steps = 12, every = 6}
adapt = {steps = 8, every = 4}
"""


def main() -> None:
    """Predict and run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", nargs=2, metavar=("CONFIG", "OUT"), help="one run, for its peak memory")
    args = parser.parse_args()
    if args.run:
        config, out = map(Path, args.run)
        pipeline.run(read(config), out, Reporter())
        common.report_peak()
        return
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    """Predicted and measured seconds and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "experiment.toml"
        config.write_text(EXPERIMENT, encoding="utf-8")
        check = [sys.executable, "-m", "mpdd", "check", str(config), "--rehearse", "--json"]
        answer = subprocess.run(check, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        predicted = json.loads(answer)["predicted"]
        began = time.perf_counter()
        peak = common.peak_memory("benchmarks.check_accuracy", "--run", str(config), f"{folder}/run")
        taken = time.perf_counter() - began
    return {
        "time": {"predicted": predicted["seconds"]["all"], "measured": taken},
        "peak_memory": {"predicted": predicted["peak_bytes"], "measured": peak},
    }


if __name__ == "__main__":
    main()
