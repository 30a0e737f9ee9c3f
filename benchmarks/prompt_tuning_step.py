"""A step of prompt tuning: ours against PEFT's PROMPT_TUNING under the HF Trainer, the same rows in the same batches.

`python -m benchmarks.prompt_tuning_step [--steps N] [--rounds N]`. Cases: (a) the embedded backbone, (b) a Llama with
LLaMA 3's vocabulary and random weights. Both in bf16 with an fp32 prompt. The peer gets its best settings: batches
padded to their longest row, no logging, no saving, and, in a variant, rows grouped by length.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import common
from mpdd import backbone as backbones
from mpdd.backbone import Backbone
from mpdd.data.batch import Encoded
from mpdd.data.mixture import single
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.loop import Plan
from mpdd.training.teacher import teach
from mpdd.training.tune import Data

TASKS = ("bc5cdr_ner", "ddi", "medmcqa", "evidence_inference", "indiana_radiology")
PEAK = "benchmarks.prompt_tuning_step"


def main() -> None:
    """Measure both cases, speed in turn and peak memory in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs=3, metavar=("WHO", "MODEL", "STEPS"), help="one run, for its peak memory")
    args = parser.parse_args()
    if args.only:
        who, model, steps = args.only
        backbone = backbones.load(model, dtype=torch.bfloat16)
        {"ours": ours, "peft": peft}[who](backbone, common.real_rows(backbone, TASKS, int(steps) * common.BATCH))
        common.say_peak()
        return
    with tempfile.TemporaryDirectory() as folder:
        models = {"a_embedded": "embedded", "b_large_vocabulary": str(common.large_vocabulary(Path(folder) / "large"))}
        found = {case: measure(model, args.steps, args.rounds) for case, model in models.items()}
    common.write("prompt_tuning_step", {"tasks": TASKS, "prompt": common.LENGTH, "batch": common.BATCH, **found})


def measure(model: str, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds a step of each, the ratios, and peak bytes."""
    backbone = backbones.load(model, dtype=torch.bfloat16)
    rows = common.real_rows(backbone, TASKS, steps * common.BATCH)
    runs = {
        "ours": lambda: ours(backbone, rows),
        "peft_trainer": lambda: peft(backbone, rows),
        "peft_trainer_by_length": lambda: peft(backbone, rows, by_length=True),
    }
    times = common.alternate(runs, rounds)
    best = min(("peft_trainer", "peft_trainer_by_length"), key=lambda name: common.spread(times[name])["median"])
    peaks = {who: common.peak_memory(PEAK, "--only", who, model, "6") for who in ("ours", "peft")}
    return {
        "parameters": backbone.parameters,
        "tokens_a_row": sum(len(r.input_ids) + len(r.answer_ids) for r in rows) / len(rows),
        "seconds_a_step": {name: common.spread([t / steps for t in found]) for name, found in times.items()},
        "speed_ratio": {"against": best, **common.ratio(times[best], times["ours"])},
        "peak_bytes": peaks,
        "memory_ratio": peaks["ours"] / peaks["peft"],
    }


def ours(backbone: Backbone, rows: Sequence[Encoded]) -> float:
    """Seconds of as many steps as there are batches in `rows`, one pass."""
    plan = Plan(len(rows) // common.BATCH, common.BATCH, every=10**9)
    data = Data(rows, rows[:1])
    start = from_vocabulary(backbone, common.LENGTH, 0)
    trial = teach(backbone, {"rows": data}, {"rows": start}, plan, lrs=[0.01], seed=0)["rows"][0]
    return trial.fitted.seconds


def peft(backbone: Backbone, rows: Sequence[Encoded], *, by_length: bool = False) -> float:
    """Seconds of one pass of the HF Trainer over the same batches (grouped by length: over the same rows)."""
    from peft import PromptTuningConfig, TaskType, get_peft_model
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]

    class Clock(TrainerCallback):
        began = ended = 0.0

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            Clock.began = time.perf_counter()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            Clock.ended = time.perf_counter()

    def collate(batch: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(item["input_ids"]) for item in batch)
        fill = {"input_ids": backbone.end, "attention_mask": 0, "labels": -100}
        return {
            name: torch.tensor([item[name] + [value] * (longest - len(item[name])) for item in batch])
            for name, value in fill.items()
        }

    items = [
        {
            "input_ids": [*row.input_ids, *row.answer_ids],
            "attention_mask": [1] * (len(row.input_ids) + len(row.answer_ids)),
            "labels": [-100] * len(row.input_ids) + list(row.answer_ids),
        }
        for step in range(len(rows) // common.BATCH)
        for row in single(rows, size=common.BATCH, step=step, seed=0)
    ]
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=common.LENGTH)
    model: Any = get_peft_model(backbone.model, config)
    for prompt in model.prompt_encoder.values():
        prompt.float()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=common.BATCH, num_train_epochs=1, learning_rate=0.01, bf16=True,
            report_to=[], logging_strategy="no", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
            remove_unused_columns=False, use_cpu=not torch.cuda.is_available(),
            train_sampling_strategy="group_by_length" if by_length else "sequential",
        )  # fmt: skip
        clock = Clock()
        Trainer(model=model, args=arguments, train_dataset=items, data_collator=collate, callbacks=[clock]).train()
    return clock.ended - clock.began


if __name__ == "__main__":
    main()
