"""A step of prompt tuning: ours against PEFT's PROMPT_TUNING under the HF Trainer, the same rows in the same batches.

`python -m benchmarks.prompt_tuning_step [--batches N] [--rounds N]`. Cases: (a) the embedded backbone, (b) a Llama with
LLaMA 3's vocabulary and random weights; both in bf16 with an fp32 prompt, both with prompts of 20 and of 100 tokens (the
length of MPT, arXiv 2303.02861). A batch has 8 rows of one task; five tasks, one of each type. Every batch is new, as in
training. Both run in one process and take turns.

The peer gets its best settings: batches padded to their longest row, no logging, no saving, weights in bf16, and in
variants sdpa or eager attention, autocast or not, rows grouped by length or not; the variant that is fastest in one round
takes part in the others.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks import common
from mpdd.backbone import model as backbones
from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import EMBEDDED, EMBEDDED_FOLDER
from mpdd.data.batch import Encoded
from mpdd.data.mixture import single
from mpdd.prompts.soft import from_vocabulary
from mpdd.training.loop import Plan
from mpdd.training.one_task import teach
from mpdd.training.tune import Data

TASKS = ("bc5cdr_ner", "ddi", "medmcqa", "evidence_inference", "indiana_radiology")
LENGTHS = (20, 100)
PEAK = "benchmarks.prompt_tuning_step"
VARIANTS: dict[str, tuple[str, dict[str, bool]]] = {  # attention and options
    "sdpa": ("sdpa", {}),
    "eager": ("eager", {}),
    "eager_by_length": ("eager", {"by_length": True}),
    "sdpa_by_length": ("sdpa", {"by_length": True}),
    "sdpa_autocast": ("sdpa", {"autocast": True}),
}  # fmt: skip


def main() -> None:
    """Measure both cases, speed in turn and peak memory in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=3, help="of each task and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs=3, metavar=("WHO", "MODEL", "LENGTH"), help="one run, for its peak memory")
    args = parser.parse_args()
    if args.only:
        who, model, length = args.only
        backbone = backbones.load(model, dtype=torch.bfloat16)
        for rows in rows_by_task(backbone, 2):
            (ours if who == "ours" else partial(peft, backbone.model, {}))(backbone, rows, int(length))
        common.say_peak()
        return
    with tempfile.TemporaryDirectory() as folder:
        models = {"a_embedded": EMBEDDED, "b_large_vocabulary": str(common.large_vocabulary(Path(folder) / "large"))}
        found = {
            f"{case}_{length}": measure(models[case], length, *given)
            for case, length, given in (
                ("a_embedded", 20, (args.batches, args.rounds)),
                ("a_embedded", 100, (args.batches, args.rounds)),
                ("b_large_vocabulary", 20, (1, min(3, args.rounds))),
            )
        }
    common.write("prompt_tuning_step", {"tasks": TASKS, "batch": common.BATCH, **found})


def measure(model: str, length: int, batches: int, rounds: int) -> dict[str, Any]:
    """Seconds a step of each, the ratios, and peak bytes."""
    backbone = backbones.load(model, dtype=torch.bfloat16)
    rows = rows_by_task(backbone, batches * (rounds + 2))
    turn = dict.fromkeys(("ours", *VARIANTS), 0)

    def new(name: str, run: Callable[[Backbone, Sequence[Encoded], int], float]) -> float:
        first, turn[name] = turn[name], turn[name] + batches * common.BATCH
        return sum(run(backbone, found[first : turn[name]], length) for found in rows) / (batches * len(TASKS))

    peers = {attention: peer_of(model, attention) for attention in ("sdpa", "eager")}

    def variant(name: str) -> Callable[[], float]:
        attention, options = VARIANTS[name]
        return partial(new, name, partial(peft, peers[attention], options))

    tuning = {name: variant(name)() for name in VARIANTS}
    best = min(tuning, key=tuning.__getitem__)
    times = common.alternate({"ours": partial(new, "ours", ours), best: variant(best)}, rounds)
    peaks = {who: common.peak_memory(PEAK, "--only", who, model, str(length)) for who in ("ours", "peft")}
    return {
        "parameters": backbone.parameters,
        "tokens_a_row": sum(len(r.input_ids) + len(r.answer_ids) for found in rows for r in found) / sum(map(len, rows)),
        "seconds_a_step": {name: common.spread(found) for name, found in times.items()},
        "tuning_seconds_a_step": tuning,
        "speed_ratio": {"against": best, **common.ratio(times[best], times["ours"])},
        "peak_bytes": peaks,
        "memory_ratio": peaks["ours"] / peaks["peft"],
    }


def rows_by_task(backbone: Backbone, batches: int) -> list[list[Encoded]]:
    """As many batches of rows of each task."""
    return [common.real_rows(backbone, [task], batches * common.BATCH, max(LENGTHS)) for task in TASKS]


def peer_of(model: str, attention: str) -> Any:
    """The same model as transformers loads it, frozen."""
    folder = EMBEDDED_FOLDER if model == EMBEDDED else model
    found: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation=attention)
    return found.eval().requires_grad_(False)


def ours(backbone: Backbone, rows: Sequence[Encoded], length: int) -> float:
    """Seconds of as many steps as there are batches in `rows`, one pass."""
    plan = Plan(len(rows) // common.BATCH, common.BATCH, every=10**9)
    data = Data(rows, rows[:1])
    start = from_vocabulary(backbone, length, 0)
    trial = teach(backbone, {"rows": data}, {"rows": start}, plan, lrs=[0.01], seed=0)["rows"][0]
    return trial.fitted.seconds


def peft(peer: Any, options: Mapping[str, bool], backbone: Backbone, rows: Sequence[Encoded], length: int) -> float:
    """Seconds of one pass of the HF Trainer over the same batches (`by_length`: over the same rows)."""
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
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=length)
    model: Any = get_peft_model(peer, config)
    for prompt in model.prompt_encoder.values():
        prompt.float()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=common.BATCH, num_train_epochs=1, learning_rate=0.01,
            bf16=options.get("autocast", False),
            report_to=[], logging_strategy="no", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
            remove_unused_columns=False, use_cpu=not torch.cuda.is_available(),
            train_sampling_strategy="group_by_length" if options.get("by_length") else "sequential",
        )  # fmt: skip
        clock = Clock()
        Trainer(model=model, args=arguments, train_dataset=items, data_collator=collate, callbacks=[clock]).train()
    return clock.ended - clock.began


if __name__ == "__main__":
    main()
