"""A step of distillation from kept answers of the teachers, against asking them at every step and against plain training.

`python -m benchmarks.distillation_step [--steps N] [--rounds N]`, on the embedded backbone and rows of all 21 sources. Also the
error that the k likeliest tokens bring to the KL, and what keeping the answers costs once.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks import common
from mpdd.data import catalogue
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.distil import Weights, step_losses
from mpdd.training.passes import Row
from mpdd.training.targets import LiveTeachers, Teachers, cached

TOP_K = 32


def main() -> None:
    """Measure a step of each kind on the same batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    backbone = common.embedded()
    sources = [name for name in catalogue.names() if catalogue.get(name).role == "source"]
    size = 2 * common.BATCH
    rows = common.real_rows(backbone, sources, len(sources) * (args.steps * size // len(sources) + 1))
    batches = [rows[i * size : (i + 1) * size] for i in range(args.steps)]
    prompts = {name: from_vocabulary(backbone, common.LENGTH, seed) for seed, name in enumerate(sources)}
    meta = MetaPrompt(from_vocabulary(backbone, common.LENGTH, 99), sources)
    live = LiveTeachers(backbone, prompts)
    with tempfile.TemporaryDirectory() as folder:
        all_rows = [Row(encoded, encoded.task) for batch in batches for encoded in batch]
        first = common.seconds(lambda: cached(Path(folder), backbone, prompts, all_rows, k=TOP_K, temperature=1.0))
        kept = cached(Path(folder), backbone, prompts, all_rows, k=TOP_K, temperature=1.0)
        stored = sum(path.stat().st_size for path in Path(folder).iterdir())
        parts: dict[str, tuple[Teachers, Weights]] = {
            "kept": (kept, Weights()),
            "asked_at_every_step": (live, Weights()),
            "plain": (live, Weights(0, 0)),
        }

        def steps(teachers: Teachers, weights: Weights) -> float:
            return common.seconds(lambda: [step_losses(backbone, batch, teachers, meta, weights) for batch in batches])

        runs = {name: partial(steps, *given) for name, given in parts.items()}
        times = common.alternate(runs, args.rounds)
        torch.manual_seed(0)
        whole, top = ([step_losses(backbone, b, said, meta, Weights())["kl"] for b in batches] for said in (live, kept))
    common.write(
        "distillation_step",
        {
            "batch": size,
            "top_k": TOP_K,
            "seconds_a_step": {name: common.spread([t / args.steps for t in found]) for name, found in times.items()},
            "kept_to_plain": common.ratio(times["kept"], times["plain"]),
            "asked_to_kept": common.ratio(times["asked_at_every_step"], times["kept"]),
            "keeping_seconds_a_row": first / len(all_rows),
            "keeping_bytes_a_row": stored / len(all_rows),
            "kl_whole": sum(whole) / len(whole),
            "kl_top_k": sum(top) / len(top),
        },
    )


if __name__ == "__main__":
    main()
