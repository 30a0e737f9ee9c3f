"""What the benchmarks share: backbones, real rows, measurements that take turns, and the file of results.

Times are CPU seconds of the process, with one thread: what else the machine does at that time changes them little.
"""

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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mpdd.backbone import model as backbones
from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import EMBEDDED, folder_of
from mpdd.data import catalogue
from mpdd.data.batch import Encoded, encode
from mpdd.data.mixture import few_shot
from mpdd.data.task import Example
from mpdd.files import write_atomically
from mpdd.training.tune import Watch

RESULTS = Path(__file__).parent / "results"
SMOLLM2 = "smollm2-135m-instruct"
BACKBONES = (EMBEDDED, SMOLLM2)
LENGTH = 20  # virtual tokens
BATCH = 8
CONTEXT = 1024  # tokens, of every backbone


def load(name: str = EMBEDDED, dtype: torch.dtype | None = None) -> Backbone:
    """A backbone in the number format that is fastest here, or in `dtype`; it does without a chat template."""
    return backbones.load(name, dtype=dtype)


def plain_model(name: str, dtype: torch.dtype, attention: str = "sdpa") -> Any:
    """The same model as transformers loads it, frozen: for peers."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder_of(name), dtype=dtype, attn_implementation=attention)
    return model.eval().requires_grad_(False)


def real_rows(backbone: Backbone, tasks: Sequence[str], count: int, length: int = LENGTH) -> list[Encoded]:
    """`count` training rows of the catalogue's tasks, equally many of each, in a fixed mixed order; they leave room for a
    prompt of `length` tokens in a context of `CONTEXT`."""
    rows: list[Encoded] = []
    for name in tasks:
        card, train = catalogue.get(name).card, few_shot(_train(name), count // len(tasks), 0)
        rows += [encode(backbone.tokenizer, card, example, CONTEXT - length) for example in train]
    return list(few_shot(rows, len(rows), 1))


@lru_cache
def _train(task: str) -> Sequence[Example]:
    return catalogue.load(task).train


def alternate(runs: Mapping[str, Callable[[], float]], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """Call each in turn, `rounds` times, and return what they gave (seconds, say). With several rounds one goes before them that
    does not count, unless it is not to be `warm`."""
    values: dict[str, list[float]] = {name: [] for name in runs}
    before = int(warm and rounds > 1)
    for number in range(rounds + before):
        for name, run in runs.items():
            value = run()
            print(f"{name}: {value:.3f}", file=sys.stderr, flush=True)
            if number >= before:
                values[name].append(value)
    return values


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds that `work` takes, of all threads of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


@dataclass
class Clock:
    """CPU seconds of the steps of a fit, from behind the validation before the first one to the end of the last."""

    began: float = 0.0
    ended: float = 0.0

    def watch(self) -> Watch:
        """For the fit to be measured: its log begins where the first step does, and each step ticks at its end."""
        return Watch(log=lambda _job, values: self._begin() if values["step"] == 0 else None, tick=self._end)

    @property
    def seconds(self) -> float:
        """What the steps took."""
        return self.ended - self.began

    def _begin(self) -> None:
        self.began = time.process_time()

    def _end(self) -> None:
        self.ended = time.process_time()


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": len(values)}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """The spread of the pairwise ratios of two that were measured in turn."""
    return spread([s / f for s, f in zip(slow, fast, strict=True)])


def peak_memory(module: str, *arguments: str) -> int:
    """The peak resident bytes of `python -m module arguments` in a process of its own."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        environment = {**os.environ, "MPDD_BENCHMARK_PEAK": file.name}
        subprocess.run([sys.executable, "-m", module, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
        return int(json.load(file))


def report_peak() -> None:
    """At the end of a process that `peak_memory` started: report its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()  # not getrusage: that has the parent's peak, too
    kilobytes = int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    Path(os.environ["MPDD_BENCHMARK_PEAK"]).write_text(json.dumps(1024 * kilobytes))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file of results whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())


def made_on(commit: str) -> dict[str, Any]:
    """The commit measured, the day, and the machine."""
    machine = {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "bf16": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
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
