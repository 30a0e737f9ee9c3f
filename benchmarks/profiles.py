"""Where the CPU time goes: of one cell of prompt tuning, and of the demo made smaller; and which operations a step consists of.

`python -m benchmarks.profiles cell|demo [--steps N]`. Each is a process of its own, its imports counted. The cell is 100 steps of
4 rows of `ncbi_disease` on SmolLM2 at one rate, validated on 16 examples every 20 steps, with 50 test examples. With fewer
`--steps` (20 or more) the time of steps and of validations after the first is multiplied to what 100 take; the rest is measured
whole.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

IMPORTED = time.process_time()  # what Python itself takes to start

from benchmarks import common  # noqa: E402
from mpdd.experiment import config, pipeline  # noqa: E402
from mpdd.experiment.config import Experiment  # noqa: E402
from mpdd.progress import Reporter  # noqa: E402

DEMO = Path(__file__).parents[1] / "src" / "mpdd" / "experiment" / "demo.toml"
SMALLER_DEMO = (  # a quarter of its steps and examples, and a validation as often among them
    "limits.dev=6", "limits.test=16", "teach.steps=10", "teach.every=5", "distil.steps=15", "distil.every=8",
    "adapt.steps=6", "adapt.every=2", "adapt.halving_steps=2",
)  # fmt: skip
STEPS, EVERY = 100, 20
CELL: Mapping[str, Any] = {
    "name": "cell", "targets": ["ncbi_disease"], "methods": ["prompt-tuning"], "shots": [32], "seeds": [0],
    "compute": {"context": 768},
    "limits": {"train": 1000, "dev": 16, "test": 50},
    "prompt": {"length": 20},
    "adapt": {"batch_size": 4, "every": EVERY, "halving_steps": 0, "select_by": "accuracy", "prompt_tuning": [0.1]},
}  # fmt: skip
PARTS = {  # what is shown, and the functions whose time it is, by file and name
    "loading the backbone": (("backbone/compute.py", "load_backbone"),),
    "steps": (("training/passes.py", "add_gradients"),),
    "validation": (("training/passes.py", "row_parts"),),
    "teachers' answers, once": (("training/targets.py", "cached"),),
    "answering test examples": (("inference/predict.py", "predict"),),
    "scores and intervals": (("evaluation/metrics.py", "score"), ("evaluation/compare.py", "bootstrap_interval")),
    "the report": (("report/page.py", "write_report"),),
}


def measure(case: str, steps: int = STEPS, backbone: str = common.SMOLLM2) -> dict[str, Any]:
    """CPU seconds by part of the work, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.profiles", case, "--steps", str(steps), "--backbone", backbone, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def profiled(experiment: Experiment) -> dict[str, float]:
    """CPU seconds of a run by part, of all, and of starting Python with its imports."""
    started = time.process_time()
    profile = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        profile.runcall(pipeline.run, experiment, Path(folder) / "run", Reporter())
    whole = time.process_time()
    stats: Any = pstats.Stats(profile)
    taken = {"starting Python, imports": started}
    for part, functions in PARTS.items():
        taken[part] = sum(
            cumulative
            for (file, _, name), (_, _, _, cumulative, _) in stats.stats.items()
            if any(file.endswith(ending) and name == function for ending, function in functions)
        )
    return {**taken, "the rest": whole - sum(taken.values()), "all": whole}


def scaled(taken: Mapping[str, float], steps: int) -> dict[str, float]:
    """The parts of a cell of `STEPS` steps, from one of `steps`."""
    validations = 1 + steps // EVERY
    factors = {"steps": STEPS / steps, "validation": (1 + STEPS // EVERY) / validations}
    grown = {part: seconds * factors.get(part, 1.0) for part, seconds in taken.items() if part != "all"}
    return {**grown, "all": sum(grown.values())}


def main() -> None:
    """Measure one case and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=("cell", "demo"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--backbone", default=common.SMOLLM2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.case == "demo":
        taken, about = profiled(config.read(DEMO, SMALLER_DEMO)), {"settings": SMALLER_DEMO}
    else:
        adapt = {**CELL["adapt"], "steps": args.steps}
        taken = scaled(profiled(config.build({**CELL, "backbone": args.backbone, "adapt": adapt}, "the cell")), args.steps)
        about = {"backbone": args.backbone, "steps_measured": args.steps}
    print(json.dumps({**about, "cpu_seconds": taken}, indent=None if args.json else 1))


if __name__ == "__main__":
    main()
