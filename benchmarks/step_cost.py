"""What a step of prompt tuning costs as one thing grows, and how much of the machine's matrix power it uses.

`python -m benchmarks.step_cost [--rounds N]`, on the embedded backbone in bf16, rows of random tokens of one length. The
base is 8 rows of 128 tokens, a sixteenth of them answer, under one prompt of 20 tokens. Utilisation counts the operations
that the method needs (forward, and backward without gradients of weights, real tokens only) against a bf16 matrix
product of 4096 x 4096 x 4096 and one of the shapes of this backbone, measured in the same run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks import common
from mpdd.backbone.model import Backbone
from mpdd.data.batch import Encoded
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.passes import Row, add_gradients

BASE = {"prompt": 20, "tasks": 1, "batch": 8, "text": 128}
GROWN = {"prompt": (5, 20, 100, 400), "tasks": (1, 2, 4, 8), "batch": (1, 8, 32, 64), "text": (32, 128, 512, 900)}


def main() -> None:
    """Time one step for each value, one after the other in every round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    backbone = common.embedded()
    cases = {f"{name}={value}": BASE | {name: value} for name, values in GROWN.items() for value in values}
    runs: dict[str, Callable[[], float]] = {label: partial(_step, backbone, **case) for label, case in cases.items()}
    big = torch.randn(4096, 4096, dtype=torch.bfloat16)
    wide, weight = torch.randn(1024, backbone.width).bfloat16(), torch.randn(1024, backbone.width).bfloat16()
    runs["product_large"] = lambda: common.seconds(lambda: big @ big)
    runs["product_small"] = lambda: common.seconds(lambda: [torch.nn.functional.linear(wide, weight) for _ in range(100)]) / 100
    times = {label: common.spread(found) for label, found in common.alternate(runs, args.rounds).items()}
    large = 2 * 4096**3 / times["product_large"]["median"]
    small = 2 * 1024 * 1024 * backbone.width / times["product_small"]["median"]
    found: dict[str, Any] = {}
    for label, case in cases.items():
        tokens = case["batch"] * case["text"] + case["tasks"] * case["prompt"]
        speed = _operations(backbone, tokens, case["batch"] * (case["text"] // 16)) / times[label]["median"]
        found[label] = {
            "seconds": times[label],
            "microseconds_a_text_token": 1e6 * times[label]["median"] / (case["batch"] * case["text"]),
            "of_large_product": speed / large,
            "of_small_product": speed / small,
        }
    products = {"large": large, "small": small}
    common.write("step_cost", {"base": BASE, "product_operations_a_second": products, "cases": found})


def _step(backbone: Backbone, *, prompt: int, tasks: int, batch: int, text: int) -> float:
    generator = torch.Generator().manual_seed(0)
    answer = text // 16
    ids = torch.randint(2, 4000, (batch, text), generator=generator).tolist()
    names = [str(i % tasks) for i in range(batch)]
    rows = [
        Row(Encoded(n, tuple(row[: text - answer]), tuple(row[text - answer :])), n, 1 / batch)
        for n, row in zip(names, ids, strict=True)
    ]
    prompts = {name: from_vocabulary(backbone, prompt, 0).float().requires_grad_() for name in dict.fromkeys(names)}
    return common.seconds(lambda: add_gradients(backbone, rows, prompts))


def _operations(backbone: Backbone, tokens: int, answers: int) -> float:
    """Multiplications and additions: two a weight and token forward, as many backward; the head at answers only."""
    head = backbone.table.numel()
    return 4.0 * ((backbone.parameters - head) * tokens + head * answers)


if __name__ == "__main__":
    main()
