"""A step of prompt tuning: ours against PEFT's PROMPT_TUNING under the HF Trainer, the same rows in the same batches.

`python -m benchmarks.peft_step BACKBONE [--rounds N]`. Weights are in the number format that is fastest here, the prompt of 20
tokens in fp32; a batch has 8 rows of one task. Every batch is new, as in training. Both run in one process and take turns.

The peer gets its best settings: batches padded to their longest row, no logging, no saving, and in variants sdpa or eager
attention, autocast or not, rows grouped by length or not; the variant that is fastest on one task takes part. That both train
on the same loss is looked at in fp32: the cross-entropy of each row's answer, ours and PEFT's, before the first step.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks import common
from mpdd.backbone.model import Backbone
from mpdd.data.batch import Encoded
from mpdd.data.mixture import single
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.loop import Plan
from mpdd.training.one_task import teach
from mpdd.training.passes import Row, row_losses
from mpdd.training.tune import Data

TASKS = ("medmcqa", "ddi", "indiana_radiology")  # choice, extraction, free text; the first chooses the variant
VARIANTS: dict[str, tuple[str, dict[str, bool]]] = {  # attention and options
    "sdpa": ("sdpa", {}),
    "eager": ("eager", {}),
    "sdpa_by_length": ("sdpa", {"by_length": True}),
    "eager_by_length": ("eager", {"by_length": True}),
    "sdpa_autocast": ("sdpa", {"autocast": True}),
}
BATCHES = 2  # of each task and round: with one there is nothing to group by length


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Seconds a step of each, the ratios, the largest difference of a row's loss in fp32, and peak bytes."""
    backbone = common.load(name)
    dtype = backbone.table.dtype
    rows = [common.real_rows(backbone, [task], (rounds + 1) * BATCHES * common.BATCH) for task in TASKS]
    peers = {attention: common.plain_model(name, dtype, attention) for attention in ("sdpa", "eager")}
    turn = dict.fromkeys(("ours", *VARIANTS), 1)  # the first part of the rows chooses the variant

    def new(who: str, run: Callable[[Backbone, Sequence[Encoded]], float]) -> float:
        first, turn[who] = turn[who] * BATCHES * common.BATCH, turn[who] + 1
        return sum(run(backbone, own[first : first + BATCHES * common.BATCH]) for own in rows) / (BATCHES * len(TASKS))

    runs = {variant: partial(trainer, peers[attention], options) for variant, (attention, options) in VARIANTS.items()}
    own = rows[0][: BATCHES * common.BATCH]
    tuning = {variant: run(backbone, own) / BATCHES for variant, run in runs.items()}
    best = min(tuning, key=tuning.__getitem__)
    times = common.alternate({"ours": partial(new, "ours", ours), best: partial(new, best, runs[best])}, rounds, warm=False)
    peaks = {who: common.peak_memory("benchmarks.peft_step", name, "--only", who) for who in ("ours", "peft")}
    return {
        "tasks": TASKS,
        "rows": common.BATCH,
        "dtype": str(dtype).removeprefix("torch."),
        "tokens_a_row": sum(len(r.input_ids) + len(r.answer_ids) for own in rows for r in own) / sum(map(len, rows)),
        "seconds_a_step": {who: common.spread(values) for who, values in times.items()},
        "tuning_seconds_a_step": tuning,
        "speed_ratio": {"against": best, **common.ratio(times[best], times["ours"])},
        "largest_difference_of_losses_fp32": difference_of_losses(name),
        "peak_bytes": peaks,
        "memory_ratio": peaks["ours"] / peaks["peft"],
    }


def ours(backbone: Backbone, rows: Sequence[Encoded]) -> float:
    """CPU seconds of as many steps as there are batches in `rows`, one pass."""
    plan = Plan(len(rows) // common.BATCH, common.BATCH, every=10**9)
    clock = common.Clock()
    start = from_vocabulary(backbone, common.LENGTH, 0)
    teach(backbone, {"rows": Data(rows, rows[:1])}, {"rows": start}, plan, lrs=[0.01], seed=0, watch=clock.watch())
    return clock.seconds


def trainer(
    peer: Any, options: Mapping[str, bool], backbone: Backbone, rows: Sequence[Encoded], *,
    now: Callable[[], float] = time.process_time, size: int = common.BATCH,
) -> float:  # fmt: skip
    """Seconds by the clock `now` of one pass of the HF Trainer over the same batches of `size` (`by_length`: same rows)."""
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]

    class Clock(TrainerCallback):
        began = ended = 0.0

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            Clock.began = now()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            Clock.ended = now()

    items = [_item(row) for step in range(len(rows) // size) for row in single(rows, size=size, step=step, seed=0)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=size, num_train_epochs=1, learning_rate=0.01,
            bf16=options.get("autocast", False),
            report_to=[], logging_strategy="no", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
            remove_unused_columns=False, use_cpu=not torch.cuda.is_available(),
            train_sampling_strategy="group_by_length" if options.get("by_length") else "sequential",
        )  # fmt: skip
        clock, collate = Clock(), partial(padded, backbone.end)
        Trainer(
            model=peft_model(peer), args=arguments, train_dataset=items, data_collator=collate, callbacks=[clock]
        ).train()  # fmt: skip
    return clock.ended - clock.began


def peft_model(peer: Any) -> Any:
    """The peer's model under PEFT's prompt tuning, its prompt in fp32."""
    from peft import PromptTuningConfig, TaskType, get_peft_model

    model: Any = get_peft_model(peer, PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=common.LENGTH))
    for prompt in model.prompt_encoder.values():
        prompt.float()
    return model


def _item(row: Encoded) -> dict[str, list[int]]:
    tokens = [*row.input_ids, *row.answer_ids]
    return {"input_ids": tokens, "attention_mask": [1] * len(tokens), "labels": [-100] * len(row.input_ids) + [*row.answer_ids]}


def padded(end: int, batch: Sequence[Mapping[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Rows as tensors, padded at their right."""
    longest = max(len(item["input_ids"]) for item in batch)
    fill = {"input_ids": end, "attention_mask": 0, "labels": -100}
    return {
        name: torch.tensor([item[name] + [value] * (longest - len(item[name])) for item in batch]) for name, value in fill.items()
    }


@torch.no_grad()
def difference_of_losses(name: str, count: int = 4) -> float:
    """The largest difference between PEFT's cross-entropy of a row's answer and ours, in nats a token, in fp32."""
    backbone = common.load(name, torch.float32)
    rows = common.real_rows(backbone, [TASKS[0]], count)
    prompt = from_vocabulary(backbone, common.LENGTH, 0)
    model = peft_model(common.plain_model(name, torch.float32))
    model.prompt_encoder["default"].embedding.weight.copy_(prompt)
    peer = [float(model(**padded(backbone.end, [_item(row)])).loss) for row in rows]
    own = row_losses(backbone, [Row(row, "rows") for row in rows], {"rows": prompt}).tolist()
    means = [row.mean_answer_tokens / len(row.answer_ids) for row in rows]
    return float(max(abs(a - b * mean) for a, b, mean in zip(peer, own, means, strict=True)))


def main() -> None:
    """Measure one backbone and print it, or run one side for its peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", nargs="?", default=common.BACKBONES[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=("ours", "peft"), help="one pass of one side, for its peak memory")
    args = parser.parse_args()
    if not args.only:
        print(json.dumps(measure(args.backbone, args.rounds), indent=1))
        return
    backbone = common.load(args.backbone)
    rows = common.real_rows(backbone, TASKS[:1], common.BATCH)
    peft = partial(trainer, backbone.model, {})
    (ours if args.only == "ours" else peft)(backbone, rows)
    common.report_peak()


if __name__ == "__main__":
    main()
