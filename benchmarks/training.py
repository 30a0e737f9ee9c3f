"""Steps of training: the share of the measured matrix product that they reach, and what sharing passes costs and saves.

`python -m benchmarks.training [BACKBONE] [--rounds N]`. A step counts the operations that the method needs: for each token that
goes through the backbone two for each weight forward and as many backward (no gradients of weights), the vocabulary head at
answer tokens only. A prompt and the words that all rows begin with go through once. Attention between tokens and everything
that is no matrix product counts as no work.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import common
from mpdd.backbone.model import Backbone
from mpdd.data import catalogue
from mpdd.data.batch import Encoded
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.pack import Text, pack
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.distil import Weights, step_losses
from mpdd.training.loop import Plan
from mpdd.training.one_task import teach
from mpdd.training.passes import Row, add_gradients
from mpdd.training.targets import LiveTeachers, Teachers, cached
from mpdd.training.tune import Data

TASK = "bc5cdr_ner"  # of the steps that are held against the matrix product
PRODUCT = 2048  # rows and columns of that product
TOP_K = 32


def product(dtype: torch.dtype, rounds: int = 3) -> dict[str, Any]:
    """Operations a second of a square matrix product, the best of its rounds."""
    left, right = (torch.randn(PRODUCT, PRODUCT).to(dtype) for _ in range(2))
    left @ right  # the first one prepares the shape
    taken = min(common.seconds(lambda: left @ right) for _ in range(rounds))
    return {"size": PRODUCT, "operations_a_second": 2 * PRODUCT**3 / taken}


def share_of_product(name: str, dtype: torch.dtype, rounds: int, rows: int = common.BATCH) -> dict[str, Any]:
    """A step of so many real rows against the product, measured before and after it."""
    backbone = common.load(name, dtype)
    batches = [common.real_rows(backbone, [TASK], rows * (rounds + 1))[i :: rounds + 1] for i in range(rounds + 1)]
    before, speeds, seconds = product(dtype), [], []
    for number, batch in enumerate(batches):
        prompt = from_vocabulary(backbone, common.LENGTH, 0).float().requires_grad_()
        weighted = [Row(row, TASK, 1 / rows) for row in batch]
        taken = common.seconds(lambda w=weighted, p=prompt: add_gradients(backbone, w, {TASK: p}))  # type: ignore[misc]
        if number:  # the first prepares shapes
            seconds.append(taken)
            speeds.append(operations(backbone, batch) / taken)
    best = max(before["operations_a_second"], product(dtype)["operations_a_second"])
    return {
        "rows": rows,
        "tokens_a_row": sum(map(_tokens, batches[-1])) / rows,
        "product_operations_a_second": best,
        "seconds": common.spread(seconds),
        "share": common.spread([speed / best for speed in speeds]),
    }


def operations(backbone: Backbone, rows: Sequence[Encoded]) -> float:
    """Multiplications and additions of a step on `rows` under one prompt, forward and backward."""
    prompt = from_vocabulary(backbone, common.LENGTH, 0)
    packed = pack(backbone, [Text((*row.input_ids, *row.answer_ids[:-1]), prompt, len(row.answer_ids)) for row in rows])
    head = backbone.table.numel()
    answers = sum(len(row.answer_ids) for row in rows)
    return 4.0 * ((backbone.parameters - head) * max(packed.ends) + head * answers)


def distillation(name: str, rounds: int, steps: int = 4) -> dict[str, Any]:
    """A step of distillation from kept answers of the teachers against a plain one, rows of all sources, same batches."""
    backbone, sources, size = common.load(name), _sources(), 2 * common.BATCH
    rows = common.real_rows(backbone, sources, len(sources) * (steps * size // len(sources) + 1))
    batches = [rows[i * size : (i + 1) * size] for i in range(steps)]
    prompts = {task: from_vocabulary(backbone, common.LENGTH, seed) for seed, task in enumerate(sources)}
    meta = MetaPrompt(from_vocabulary(backbone, common.LENGTH, 99), sources)
    with tempfile.TemporaryDirectory() as folder:
        all_rows = [Row(encoded, encoded.task) for batch in batches for encoded in batch]
        kept = cached(Path(folder), backbone, prompts, all_rows, k=TOP_K, temperature=1.0)
        parts: dict[str, tuple[Teachers, Weights]] = {
            "kept": (kept, Weights()), "plain": (LiveTeachers(backbone, prompts), Weights(0, 0)),
        }  # fmt: skip

        def run(teachers: Teachers, weights: Weights) -> float:
            return common.seconds(lambda: [step_losses(backbone, batch, teachers, meta, weights) for batch in batches]) / steps

        times = common.alternate({part: partial(run, *given) for part, given in parts.items()}, rounds)
    return {
        "rows": size,
        "seconds_a_step": {part: common.spread(values) for part, values in times.items()},
        "kept_to_plain": common.ratio(times["kept"], times["plain"]),
    }


def teachers(name: str, rounds: int) -> dict[str, Any]:
    """A step of one teacher for each source in one pass, against a single teacher on the same mixture, by the token."""
    backbone, sources = common.load(name), _sources()
    rows = {task: common.real_rows(backbone, [task], common.BATCH) for task in sources}
    mixed = [row for own in rows.values() for row in own]
    start, plan = from_vocabulary(backbone, common.LENGTH, 0), Plan(1, common.BATCH, every=10**9)

    def fitted(data: dict[str, Data]) -> float:
        clock = common.Clock()
        teach(backbone, data, dict.fromkeys(data, start), plan, lrs=[0.01], seed=0, watch=clock.watch())
        return clock.seconds

    def at_once() -> float:
        return fitted({task: Data(own, own[:1]) for task, own in rows.items()})

    def single() -> float:
        batches = [mixed[i :: len(sources)] for i in range(len(sources))]
        return sum(fitted({"all": Data(batch, batch[:1])}) for batch in batches)

    times = common.alternate({"at_once": at_once, "single": single}, rounds)
    return {"teachers": len(sources), "at_once_to_single": common.ratio(times["at_once"], times["single"])}


def _sources() -> list[str]:
    return [name for name in catalogue.names() if catalogue.get(name).role == "source"]


def _tokens(row: Encoded) -> int:
    return len(row.input_ids) + len(row.answer_ids)


def main() -> None:
    """Measure one backbone and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", nargs="?", default=common.BACKBONES[0])
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    shares = {str(dtype): share_of_product(args.backbone, dtype, args.rounds) for dtype in (torch.float32, torch.bfloat16)}
    print(json.dumps(shares, indent=1))


if __name__ == "__main__":
    main()
