"""Prediction over a stream that mixes 10 generating tasks: ours in mixed batches against PEFT `generate`, task by task.

`python -m benchmarks.mixed_prediction [--examples N] [--rounds N]`, on the embedded backbone in bf16; which give the same
texts is checked in fp32 first. PEFT 0.21 ignores position ids under prompt tuning, so that its answers in a left-padded
batch are not those that it gives one by one; both ways are measured. In batches it gets each task's examples sorted by
length, a whole task a batch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import common
from mpdd.backbone import model as backbones
from mpdd.backbone.model import Backbone
from mpdd.data import catalogue
from mpdd.data.batch import encode_input, pad_left
from mpdd.data.mixture import few_shot
from mpdd.data.task import Example, TaskCard
from mpdd.inference.predict import Request, predict
from mpdd.prompts.soft import from_vocabulary

TASKS = (
    "bc5cdr_ner", "biored_ner", "neurotrialner", "anatem", "ddi", "pgxcorpus", "chia_re", "covidqa",
    "indiana_radiology", "meqsum",
)  # fmt: skip


def main() -> None:
    """Check that outputs are equal in fp32, then measure in bf16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=16, help="of each task")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    asked = {name: few_shot(catalogue.load(name).test, args.examples, 0) for name in TASKS}
    cards = {name: catalogue.get(name).card for name in TASKS}
    exact = backbones.load(dtype=torch.float32)
    few = {name: found[:4] for name, found in asked.items()}
    ways: dict[str, Way] = {"ours": ours, "peft_one_by_one": partial(peft, 1), "peft_in_batches": partial(peft, args.examples)}
    texts = {name: way(exact, cards, few, _prompts(exact)) for name, way in ways.items()}
    same = {name: sum(a == b for a, b in zip(found, texts["ours"], strict=True)) for name, found in texts.items()}
    backbone = common.embedded()
    prompts = _prompts(backbone)

    def run(way: Way) -> float:
        return common.seconds(lambda: way(backbone, cards, asked, prompts))

    times = common.alternate({name: partial(run, way) for name, way in ways.items()}, args.rounds)
    common.write(
        "mixed_prediction",
        {
            "tasks": TASKS,
            "examples": len(TASKS) * args.examples,
            "prompt": common.LENGTH,
            "outputs_equal_to_ours_fp32": {name: f"{count} of {len(texts['ours'])}" for name, count in same.items()},
            "seconds": {name: common.spread(found) for name, found in times.items()},
            "speed_ratio": {name: common.ratio(times[name], times["ours"]) for name in ways if name != "ours"},
        },
    )


def _prompts(backbone: Backbone) -> dict[str, Tensor]:
    return {name: from_vocabulary(backbone, common.LENGTH, seed).to(backbone.table) for seed, name in enumerate(TASKS)}


Cards = Mapping[str, TaskCard]
Asked = Mapping[str, Sequence[Example]]
Way = Callable[[Backbone, Cards, Asked, Mapping[str, Tensor]], list[str]]


def ours(backbone: Backbone, cards: Cards, asked: Asked, prompts: Mapping[str, Tensor]) -> list[str]:
    """One example of each task after another, as a stream would bring them; answers in the order of tasks."""
    count = len(next(iter(asked.values())))
    requests = [Request(cards[name], asked[name][i], prompts[name]) for i in range(count) for name in asked]
    outputs = [prediction.output for prediction in predict(backbone, requests)]
    return [outputs[i * len(asked) + task] for task in range(len(asked)) for i in range(count)]


def peft(size: int, backbone: Backbone, cards: Cards, asked: Asked, prompts: Mapping[str, Tensor]) -> list[str]:
    """One adapter a task, loaded once; each task's examples in batches of their own, `size` at most."""
    from peft import PromptTuningConfig, TaskType, get_peft_model

    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=common.LENGTH, inference_mode=True)
    model: Any = get_peft_model(backbone.model, config)
    texts = []
    for name, examples in asked.items():
        with torch.no_grad():
            model.prompt_encoder["default"].embedding.weight.copy_(prompts[name])
        texts += _task_by_peft(size, backbone, model, cards[name], examples)
    return texts


@torch.inference_mode()
def _task_by_peft(size: int, backbone: Backbone, model: Any, card: TaskCard, examples: Sequence[Example]) -> list[str]:
    room = backbone.context - common.LENGTH - card.max_answer_tokens
    ids = [encode_input(backbone.tokenizer, card, example, room).input_ids for example in examples]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    texts = [""] * len(ids)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        padded, mask = pad_left([ids[i] for i in chosen], backbone.end)
        out = model.generate(
            input_ids=padded, attention_mask=mask.long(), max_new_tokens=card.max_answer_tokens, do_sample=False,
            pad_token_id=backbone.end, eos_token_id=backbone.end,
        )  # fmt: skip
        for i, row in zip(chosen, out, strict=True):
            texts[i] = str(backbone.tokenizer.decode(row[padded.shape[1] :], skip_special_tokens=True)).strip()
    return texts


if __name__ == "__main__":
    main()
