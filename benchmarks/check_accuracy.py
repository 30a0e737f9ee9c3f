"""What `mpdd check --rehearse` predicts against what `mpdd run` takes: wall time and peak memory, three configurations.

`python -m benchmarks.check_accuracy [--only NAME]`. Each prediction and each run is a process of its own.
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

CASES = {
    "two sources, one target": """
sources = ["ddi", "bc5cdr_ner"]
targets = ["ncbi_disease"]
methods = ["zero-shot", "prompt-tuning", "lora", "mpdd"]
limits = {train = 200, dev = 24, test = 40}
teach = {steps = 24, every = 12}
distil = {steps = 24, every = 12}
adapt = {steps = 16, every = 8}
""",
    "longer prompt, five sources, long texts": """
sources = ["covidqa", "medmcqa", "indiana_radiology", "biored_re", "neurotrialner"]
targets = ["check_covid", "meqsum"]
methods = ["zero-shot", "prompt-tuning", "mpdd"]
prompt = {length = 100}
limits = {train = 100, dev = 12, test = 30}
teach = {steps = 10, every = 10}
distil = {steps = 16, every = 8}
adapt = {steps = 12, every = 6}
""",
    "120 M, vocabulary of 128,256": """
backbone = "LARGE"
sources = ["medmcqa", "ddi"]
targets = ["meqsum"]
methods = ["prompt-tuning", "mpdd"]
limits = {train = 60, dev = 8, test = 8}
teach = {steps = 10, every = 10}
distil = {steps = 10, every = 10}
adapt = {steps = 8, every = 8, prompt_tuning = [0.01], mpdd = [0.01], lora = [0.001]}
""",
}


def main() -> None:
    """Predict and run each configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--run", nargs=2, metavar=("CONFIG", "OUT"), help="one run, for its peak memory")
    args = parser.parse_args()
    if args.run:
        config, out = map(Path, args.run)
        pipeline.run(read(config), out, Reporter())
        common.say_peak()
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        large = str(common.large_vocabulary(Path(folder) / "large"))
        for number, (name, text) in enumerate(CASES.items()):
            if args.only in (None, name):
                config = Path(folder) / f"{number}.toml"
                config.write_text(f'name = "case-{number}"\n' + text.replace("LARGE", large))
                found.append({"name": name, **compare(config, Path(folder) / str(number))})
    common.write("check_accuracy", {"cases": found})


def compare(config: Path, out: Path) -> dict[str, Any]:
    """Predicted and measured seconds and bytes."""
    check = [sys.executable, "-m", "mpdd", "check", str(config), "--rehearse", "--json"]
    began = time.perf_counter()
    said = json.loads(subprocess.run(check, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)["predicted"]
    rehearsed = time.perf_counter() - began
    began = time.perf_counter()
    peak = common.peak_memory("benchmarks.check_accuracy", "--run", str(config), str(out))
    return {
        "rehearsal_seconds": rehearsed,
        "by_stage": said["seconds"],
        "time": {"predicted": said["seconds"]["all"], "measured": time.perf_counter() - began},
        "peak_memory": {"predicted": said["peak_bytes"], "measured": peak},
    }


if __name__ == "__main__":
    main()
