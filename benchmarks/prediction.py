"""Answers to a stream that mixes ten generating tasks: ours in mixed batches against what else a user could run.

`python -m benchmarks.prediction BACKBONE [--examples N] [--rounds N] [--vllm PYTHON]`. All get the same token ids and the same
prompts (rows of the vocabulary, untrained), write greedily, and take turns in one process:

- PEFT one by one, and in padded batches: it takes one task at a time. PEFT 0.21 ignores position ids under prompt tuning, so
  that its answers in a left-padded batch are not those that it gives one by one.
- transformers `generate` in padded batches of embeddings, prompts in front, tasks mixed, sorted by length.
- vLLM in another environment (`--vllm`, or MPDD_VLLM_PYTHON; left out where there is none), prompts as embeddings.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import common
from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import folder_of
from mpdd.data import catalogue
from mpdd.data.batch import pad_left
from mpdd.data.mixture import few_shot
from mpdd.inference.predict import Asked, Request, ask, predict
from mpdd.prompts.soft import from_vocabulary

TASKS = (
    "bc5cdr_ner", "biored_ner", "neurotrialner", "anatem", "ddi", "pgxcorpus", "chia_re", "covidqa",
    "indiana_radiology", "meqsum",
)  # fmt: skip
VLLM_SCRIPT = Path(__file__).parents[1] / "tests" / "e2e" / "vllm_generate.py"
NO_VLLM = "vLLM was left out: neither --vllm nor MPDD_VLLM_PYTHON names the Python of an environment with it."
Tokens = list[tuple[int, ...]]


@dataclass(frozen=True)
class Stream:
    """Requests of all tasks, one of each task after another, and the model as transformers has it."""

    backbone: Backbone
    peer: Any
    requests: Sequence[Request]

    @classmethod
    def of(cls, backbone: Backbone, name: str, examples: int) -> Stream:
        """A stream of so many test examples of each task."""
        prompts = {t: from_vocabulary(backbone, common.LENGTH, seed).to(backbone.table) for seed, t in enumerate(TASKS)}
        drawn = {task: few_shot(catalogue.load(task).test, examples, 0) for task in TASKS}
        cards = {task: catalogue.get(task).card for task in TASKS}
        requests = [Request(cards[task], drawn[task][i], prompts[task]) for i in range(examples) for task in TASKS]
        return cls(backbone, common.plain_model(name, backbone.table.dtype), requests)

    @cached_property
    def asked(self) -> list[Asked]:
        """The requests in tokens."""
        return [ask(self.backbone.vocabulary, request) for request in self.requests]

    def first(self, count: int) -> Stream:
        """The first requests alone."""
        return Stream(self.backbone, self.peer, self.requests[:count])

    def ended(self, written: Sequence[int], asked: Asked) -> tuple[int, ...]:
        """Tokens up to the end token, at most as many as the task may have."""
        ids = list(written)[: asked.most]
        return tuple(ids[: ids.index(self.backbone.end) + 1] if self.backbone.end in ids else ids)


Way = Callable[[Stream], Tokens]


def ours(stream: Stream) -> Tokens:
    """All tasks together, as `predict` batches them."""
    return [tuple(token for token, _ in answer.tokens) for answer in predict(stream.backbone, stream.requests)]


@torch.inference_mode()
def peft(size: int, stream: Stream) -> Tokens:
    """One adapter a task, loaded once; each task's examples sorted by length, `size` a batch."""
    from peft import PromptTuningConfig, TaskType, get_peft_model

    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=common.LENGTH, inference_mode=True)
    model: Any = get_peft_model(stream.peer, config)
    answers: dict[int, tuple[int, ...]] = {}
    for task in dict.fromkeys(request.card.name for request in stream.requests):
        own = [i for i, request in enumerate(stream.requests) if request.card.name == task]
        model.prompt_encoder["default"].embedding.weight.copy_(stream.requests[own[0]].prompt)
        for batch in _batches(stream, own, size):
            ids, mask = pad_left([stream.asked[i].ids for i in batch], stream.backbone.end)
            given = {"input_ids": ids, "attention_mask": mask.long()}
            answers |= _generated(stream, model, batch, given, ids.shape[1])
    return [answers[i] for i in range(len(stream.requests))]


@torch.inference_mode()
def transformers_generate(size: int, stream: Stream) -> Tokens:
    """Embeddings with their prompts in front, tasks mixed, sorted by length, `size` a batch."""
    answers: dict[int, tuple[int, ...]] = {}
    for batch in _batches(stream, range(len(stream.requests)), size):
        rows = [embeddings(stream, i) for i in batch]
        longest = max(map(len, rows))
        padded = torch.stack([torch.nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=padded.device)
        answers |= _generated(stream, stream.peer, batch, {"inputs_embeds": padded, "attention_mask": mask}, 0)
    return [answers[i] for i in range(len(stream.requests))]


def embeddings(stream: Stream, i: int) -> Tensor:
    """A request's prompt and the embeddings of its tokens behind it [tokens, width]."""
    prompt = stream.requests[i].prompt
    assert prompt is not None
    return torch.cat([prompt, stream.backbone.embed(torch.tensor(stream.asked[i].ids, device=prompt.device))])


def _batches(stream: Stream, chosen: Sequence[int], size: int) -> list[list[int]]:
    order = sorted(chosen, key=lambda i: len(stream.asked[i].ids))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _generated(
    stream: Stream, model: Any, batch: Sequence[int], given: Mapping[str, Tensor], skip: int
) -> dict[int, tuple[int, ...]]:
    """What `generate` writes behind each row of a batch; the batch goes on until all of its rows have ended."""
    end, most = stream.backbone.end, max(stream.asked[i].most for i in batch)
    out = model.generate(**given, max_new_tokens=most, do_sample=False, pad_token_id=end, eos_token_id=end)
    return {i: stream.ended(row[skip:].tolist(), stream.asked[i]) for i, row in zip(batch, out, strict=True)}


def vllm(python: str, name: str, stream: Stream, rounds: int) -> tuple[Tokens, list[float]]:
    """What vLLM writes behind the same embeddings, and the CPU seconds of each round after the first."""
    rows = [embeddings(stream, i).float().tolist() for i in range(len(stream.requests))]
    given = {
        "model": folder_of(name), "context": common.CONTEXT, "ids": [], "embeddings": rows, "rounds": rounds + 1,
        "tokens": [question.most for question in stream.asked], "fresh": True,
        "options": {"dtype": str(stream.backbone.table.dtype).removeprefix("torch.")},
    }  # fmt: skip
    environment = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([python, VLLM_SCRIPT], input=json.dumps(given), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"vLLM ended with {done.returncode}:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    return [stream.ended(t, a) for t, a in zip(result["tokens"], stream.asked, strict=True)], result["seconds"][1:]


def measure(name: str, *, examples: int, alone: int, rounds: int, few: int = 2) -> dict[str, Any]:
    """Equal answers in fp32 on `few` examples of each task, then CPU seconds a request in the fastest number format;
    PEFT one by one answers `alone` examples of each task."""
    ways: dict[str, Way] = {
        "ours": ours, "peft_one_by_one": partial(peft, 1), "peft_in_batches": partial(peft, examples),
        "transformers_in_batches": partial(transformers_generate, examples),
    }  # fmt: skip
    exact = Stream.of(common.load(name, torch.float32), name, few)
    texts = {way: run(exact) for way, run in ways.items()}
    del exact
    stream = Stream.of(common.load(name), name, examples)
    of_way = {way: stream.first(alone * len(TASKS)) if way == "peft_one_by_one" else stream for way in ways}
    runs = {way: partial(_seconds_a_request, run, of_way[way]) for way, run in ways.items()}
    times = common.alternate(runs, rounds)
    return {
        "examples": len(stream.requests),
        "examples_one_by_one": alone * len(TASKS),
        "dtype": str(stream.backbone.table.dtype).removeprefix("torch."),
        "tokens_read": sum(len(question.ids) for question in stream.asked),
        "tokens_written": sum(map(len, ours(stream))),
        "equal_in_fp32": {way: sum(map(tuple.__eq__, own, texts["ours"])) for way, own in texts.items()},
        "compared_in_fp32": few * len(TASKS),
        "seconds_a_request": {way: common.spread(values) for way, values in times.items()},
        "speed_ratio": {way: common.ratio(values, times["ours"]) for way, values in times.items() if way != "ours"},
    }


def beside_vllm(name: str, *, examples: int, rounds: int, python: str | None) -> dict[str, Any]:
    """CPU seconds a request of ours and of vLLM, both after a round that does not count, and how many answers are equal."""
    if python is None:
        return {"left_out": NO_VLLM}
    stream = Stream.of(common.load(name), name, examples)
    answers = ours(stream)
    own = [_seconds_a_request(ours, stream) for _ in range(rounds)]
    texts, seconds = vllm(python, name, stream, rounds)
    times = {"ours": own, "vllm": [taken / len(stream.requests) for taken in seconds]}
    return {
        "examples": len(stream.requests),
        "dtype": str(stream.backbone.table.dtype).removeprefix("torch."),
        "equal": sum(map(tuple.__eq__, texts, answers)),
        "seconds_a_request": {way: common.spread(values) for way, values in times.items()},
        "speed_ratio": common.ratio(times["vllm"], times["ours"]),
    }


def _seconds_a_request(way: Way, stream: Stream) -> float:
    return common.seconds(lambda: way(stream)) / len(stream.requests)


def main() -> None:
    """Measure one backbone and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", nargs="?", default=common.BACKBONES[0])
    parser.add_argument("--examples", type=int, default=16, help="of each task")
    parser.add_argument("--alone", type=int, default=2, help="of each task, for PEFT one by one")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--vllm", metavar="PYTHON", default=os.environ.get("MPDD_VLLM_PYTHON"))
    args = parser.parse_args()
    beside = beside_vllm(args.backbone, examples=args.examples, rounds=args.rounds, python=args.vllm)
    found = measure(args.backbone, examples=args.examples, alone=args.alone, rounds=args.rounds)
    print(json.dumps({**found, "beside_vllm": beside}, indent=1))


if __name__ == "__main__":
    main()
