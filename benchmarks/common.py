"""What the benchmarks share: backbones, real rows, alternating measurements, and one JSON file a benchmark."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from mpdd.backbone import model as backbones
from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data import catalogue
from mpdd.data.batch import Encoded, encode
from mpdd.data.mixture import few_shot
from mpdd.data.task import Example
from mpdd.experiment.folder import commit

RESULTS = Path(__file__).parent / "results"
LENGTH = 20  # virtual tokens
BATCH = 8


def embedded() -> Backbone:
    """Case (a): the backbone inside the package, bf16."""
    return backbones.load(dtype=torch.bfloat16)


def large_vocabulary(folder: Path) -> Path:
    """Case (b): a Llama of about 120 M parameters with LLaMA 3's 128,256 tokens and random weights, bf16, in `folder`.

    The tokenizer is the embedded one: only the shapes matter here.
    """
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        shape = LlamaConfig(
            vocab_size=128_256, hidden_size=640, num_hidden_layers=8, num_attention_heads=10, num_key_value_heads=5,
            intermediate_size=1_728, max_position_embeddings=2_048, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=0, pad_token_id=1,
        )  # fmt: skip
        model: Any = LlamaForCausalLM(shape)
        model.to(torch.bfloat16).save_pretrained(folder)
        AutoTokenizer.from_pretrained(EMBEDDED_FOLDER).save_pretrained(folder)
    return folder


def real_rows(backbone: Backbone, tasks: Sequence[str], count: int, length: int = LENGTH) -> list[Encoded]:
    """`count` training rows of the catalogue's tasks, equally many of each, in a mixed order that depends on nothing;
    they leave room for a prompt of `length` tokens."""
    found = []
    for name in tasks:
        card, train = catalogue.get(name).card, few_shot(_train(name), count // len(tasks), 0)
        found += [encode(backbone.tokenizer, card, example, backbone.context - length) for example in train]
    return list(few_shot(found, len(found), 1))


@lru_cache
def _train(task: str) -> Sequence[Example]:
    return catalogue.load(task).train


def alternate(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each in turn, `rounds` times, after one round that does not count; return what they gave (seconds, say)."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            value = run()
            if number:
                found[name].append(value)
    return found


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": len(values)}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """The spread of the pairwise ratios of two that were measured in turn."""
    return spread([s / f for s, f in zip(slow, fast, strict=True)])


def peak_memory(module: str, *arguments: str) -> int:
    """The peak resident bytes of `python -m module arguments` in a process of its own."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as said:
        environment = {**os.environ, "MPDD_BENCHMARK_PEAK": said.name}
        subprocess.run([sys.executable, "-m", module, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
        return int(json.load(said))


def say_peak() -> None:
    """At the end of a process that `peak_memory` started: say its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()  # not getrusage: that has the parent's peak, too
    kilobytes = int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    Path(os.environ["MPDD_BENCHMARK_PEAK"]).write_text(json.dumps(1024 * kilobytes))


def write(name: str, values: Mapping[str, Any]) -> None:
    """Write `results/NAME.json` with what it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**made_on(commit()), **values}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def made_on(commit: str) -> dict[str, Any]:
    """The commit measured, the day, and the machine."""
    machine = {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    return {"commit": commit, "date": datetime.date.today().isoformat(), "machine": machine}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
