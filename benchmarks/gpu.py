"""The paper's backbones at their true shape on one GPU, ours and peers: steps, distillation and prediction, random weights.

`python -m benchmarks.gpu [--out FILE] [--budget SECONDS] [--only NAME ...] [--small]`, in bf16, at most ten minutes. Weights are
made on the device and rows are random tokens, so that nothing but this checkout is needed; the tokenizer is the embedded one,
whose ids are among the model's. Speed and memory do not depend on what weights say, but for two things: how evenly tokens go
to experts, and when a row ends. Peers are PEFT under the HF Trainer, and transformers' `generate` in a padded batch.

What counts as needed is in `gpu_cost`. After each part the file is written anew. At the end of each shape, `night` says what
training Open-31 would take at the speeds measured. `--small` tries the same code on a CPU with tiny shapes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import transformers

from benchmarks import common, device
from benchmarks.gpu_case import EXPERIMENTS, SMALL, Case, Found, Sizes, make
from benchmarks.gpu_parts import MORE, PARTS
from mpdd.backbone.model import Backbone
from mpdd.experiment import check, config
from mpdd.experiment.config import Experiment
from mpdd.experiment.shape import Shape

NAMES = ("llama-3.1-8b", "gpt-oss-20b")
NIGHT = 10.0  # hours


def main() -> None:
    """Measure the device, then each shape in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=common.RESULTS / "gpu.json")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds after which no part begins")
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, *MORE], default=[*PARTS, *MORE])
    parser.add_argument("--small", action="store_true", help="tiny shapes, for a try without a GPU")
    args = parser.parse_args()
    sizes = SMALL if args.small else Sizes()
    record = Record(args.out, args.budget, {**common.made_on(args.commit), "seed": args.seed, "small": args.small})
    best = measure_device(record, args.small)
    for number, name in enumerate(args.only, 1):
        measure(record, name, sizes, best, args.seed, number / len(args.only), args.parts)
        device.tidy()
    record.show()


class Record:
    """The results so far, written after every part; a part that fails says why, and the others go on."""

    def __init__(self, path: Path, budget: float, values: Found) -> None:
        self.began, self._path, self._budget = time.perf_counter(), path, budget
        self.values = {**values, "transformers": transformers.__version__, "shapes": {}}

    def part(self, place: Found, name: str, work: Callable[[], Found], share: float = 1.0) -> None:
        """Put what `work` finds into `place`, with its seconds and peak memory, if so much of the budget is not used up."""
        if self.seconds > share * self._budget:
            place[name] = {"skipped": f"after {self.seconds:.0f} s"}
            return
        device.tidy()
        before, began = device.held_bytes(), self.seconds
        try:
            found = work()
        except Exception as error:  # whatever it is, the other parts are worth their time
            found = {"failed": type(error).__name__, "said": " ".join(str(error).split())[:300]}
        place[name] = {**found, "peak_bytes": device.peak_bytes(), "held_before": before, "part_seconds": self.seconds - began}
        print(f"{self.seconds:6.1f} s  {name}: {json.dumps(place[name])[:200]}", flush=True)
        self.write()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.began

    def write(self) -> None:
        """Write the file anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({**self.values, "seconds": self.seconds}, indent=1) + "\n", encoding="utf-8")

    def show(self) -> None:
        """A line for each part."""
        for shape, parts in self.values["shapes"].items():
            for name, found in parts.items():
                seconds, peak = found.get("seconds", {}).get("median"), found.get("peak_bytes")
                said = found.get("failed") or found.get("skipped") or ""
                numbers = [
                    f"{seconds:.4f} s" if seconds else "",
                    f"{peak / 1e9:.1f} GB" if peak else "",
                    f"{100 * found['utilisation']:.0f} %" if "utilisation" in found else "",
                ]
                print(f"{shape:14} {name:28} " + " ".join(f"{number:>11}" for number in numbers), said)


def measure_device(record: Record, small: bool) -> dict[str, float]:
    """What the device does at best; nothing where that could not be measured."""
    found: Found = {}
    record.values["device"] = found
    record.part(found, "product", lambda: device.product(256 if small else 8192))
    record.part(found, "copy", lambda: device.copying(2**20 if small else 2**32))
    names = {"product": "operations_a_second", "copy": "bytes_a_second"}
    return {name: found[name][key] for name, key in names.items() if key in found[name]}


def measure(
    record: Record, name: str, sizes: Sizes, best: Mapping[str, float], seed: int, share: float, wanted: Sequence[str]
) -> None:
    """All parts of one shape; those that can be done without only while its share of the budget lasts."""
    found: Found = {}
    record.values["shapes"][name] = found
    made: list[Backbone] = []
    record.part(found, "made", lambda: make(name, sizes is SMALL, seed, made))
    if not made:
        return
    experiment = config.read(EXPERIMENTS / f"{name}.toml")
    case = Case(made.pop(), experiment, sizes, best, seed)
    for part in wanted:
        work = (PARTS | MORE)[part]
        record.part(found, part, partial(work, case), share if part in MORE else 1.0)
    record.part(found, "night", lambda: night(experiment, case.shape, found))


def night(experiment: Experiment, shape: Shape, parts: Found) -> Found:
    """Hours of the whole experiment at the speeds measured, by arithmetic; how many times as fast all would have to be for
    `NIGHT` hours, and what share of the product training would have then.

    Rows of training as long as those measured, at the fastest of the steps that were measured; every cell answers all of its
    target's test examples. Validations are left out.
    """
    facts = check.facts(experiment, shape)
    steps = [parts[name] for name in ("prompt_tuning_step", "step_of_a_full_pass", "step_with_layers_kept") if name in parts]
    fastest = max((step for step in steps if "rows" in step), key=lambda step: float(step["rows"] / step["seconds"]["median"]))
    prediction = parts["mixed_prediction"]
    training = facts["examples_trained_on"] * fastest["seconds"]["median"] / fastest["rows"] / 3600
    answering = facts["cells"] * experiment.limits.test * prediction["seconds"]["median"] / prediction["requests"] / 3600
    return {
        "rows_trained_on": facts["examples_trained_on"],
        "answers": facts["cells"] * experiment.limits.test,
        "training_hours": training,
        "answering_hours": answering,
        "times_as_fast_for_a_night": (training + answering) / NIGHT,
        "share_of_product_then": fastest["utilisation"] * (training + answering) / NIGHT,
    }


if __name__ == "__main__":
    main()
