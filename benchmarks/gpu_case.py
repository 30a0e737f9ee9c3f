"""What `gpu` measures: the paper's shapes with random weights, made on the device, and random rows and requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from benchmarks import device
from mpdd.backbone import compute
from mpdd.backbone import model as backbones
from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data.batch import Encoded
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.experiment.config import Experiment
from mpdd.experiment.shape import Shape
from mpdd.inference.predict import Request
from mpdd.training.tune import Data

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
TINY = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 768, "vocab_size": 16384, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 1,
}  # fmt: skip
TINY_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16, "sliding_window": 32}
TOP_K = 32
Found = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Rows of a step, their tokens with the answer, answer tokens, virtual tokens, tasks; requests, their words, tokens
    written for each; repeats."""

    batch: int = 8
    text: int = 512
    answer: int = 32
    prompt: int = 100
    tasks: int = 8
    requests: int = 32
    words: int = 330
    written: int = 32
    repeats: int = 3


SMALL = Sizes(batch=4, text=48, answer=4, prompt=6, tasks=3, requests=6, words=20, written=4, repeats=1)


@dataclass(frozen=True)
class Case:
    """A backbone with its experiment, and what the device does at best: operations and bytes a second."""

    backbone: Backbone
    experiment: Experiment
    sizes: Sizes
    best: Mapping[str, float]
    seed: int

    @cached_property
    def shape(self) -> Shape:
        """Sizes of the backbone."""
        return Shape.of(self.backbone)

    @cached_property
    def prompts(self) -> dict[str, Tensor]:
        """A prompt for each task: rows of the vocabulary."""
        draw = torch.Generator().manual_seed(self.seed)
        ids = torch.randint(2, len(self.backbone.table), (self.sizes.tasks, self.sizes.prompt), generator=draw)
        return {f"task-{i}": self.backbone.table[own.to(self.backbone.device)].float() for i, own in enumerate(ids)}

    def rows(self, count: int, task: str = "task-0") -> list[Encoded]:
        """Training rows of random tokens."""
        draw, before = torch.Generator().manual_seed(self.seed + crc32(task.encode())), self.sizes.text - self.sizes.answer
        ids = torch.randint(2, len(self.backbone.table), (count, self.sizes.text), generator=draw).tolist()
        return [Encoded(task, tuple(row[:before]), tuple(row[before:])) for row in ids]

    def data(self) -> dict[str, Data]:
        """Rows of every task, one of them for validation."""
        return {task: Data(rows := self.rows(4 * self.sizes.batch, task), rows[:1]) for task in self.prompts}


def make(name: str, small: bool, seed: int, made: list[Backbone]) -> Found:
    """Put the backbone of a shape into `made`, its weights random and on the device from the beginning."""
    values = json.loads((EXPERIMENTS / "shapes" / f"{name}.json").read_text())
    if small:
        values |= TINY | (TINY_EXPERTS if "num_local_experts" in values else {})
        values["rope_scaling"] |= {"original_max_position_embeddings": 96}
    torch.manual_seed(seed)

    def build() -> None:
        with torch.device(device.NAME):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values), dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
        model.eval().requires_grad_(False)
        made.append(backbones.of(name, model, AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)))

    seconds, backbone = device.clock(build), made[0]
    text = backbone.model.config.get_text_config()
    return {
        "seconds": {"median": seconds},
        "parameters": backbone.parameters,
        "weights_bytes": sum(weight.numel() * weight.element_size() for weight in backbone.model.parameters()),
        "attention": text._attn_implementation,
        "experts": getattr(text, "_experts_implementation", None) if hasattr(text, "num_local_experts") else None,
        "device": str(backbone.device),
    }


@contextmanager
def recomputing(backbone: Backbone, again: bool = True) -> Iterator[None]:
    """Within, layers are computed again in the backward pass."""
    if again:
        compute.recompute_layers(backbone)
    try:
        yield
    finally:
        for layer in backbone.layers or ():
            vars(layer).pop("forward", None)


def requests(case: Case, most: int) -> list[Request]:
    """One of each task after another, each task under its own prompt, texts of random words."""
    draw = torch.Generator().manual_seed(case.seed)
    words = [
        word[1:] for word in case.backbone.tokenizer.get_vocab() if word[:1] == "\u0120" and word[1:].isalpha() and len(word) > 3
    ]
    words.sort()
    prompts = {task: prompt.to(case.backbone.table) for task, prompt in case.prompts.items()}
    found = []
    for i in range(case.sizes.requests):
        task = f"task-{i % case.sizes.tasks}"
        card = TaskCard(
            task, "summarization", f"Summarize the note for the reader number {i % case.sizes.tasks}.", max_answer_tokens=most
        )
        text = " ".join(words[n] for n in torch.randint(len(words), (case.sizes.words,), generator=draw).tolist())
        found.append(Request(card, Example(str(i), str(i), text, Answer()), prompts[task]))
    return found
