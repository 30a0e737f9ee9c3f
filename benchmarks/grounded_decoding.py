"""Grounded against free decoding on the dev examples of sources that stand in for targets: scores, dropped items, seconds.

`python -m benchmarks.grounded_decoding RUN...`, where each RUN is a finished folder of `experiments/*-stand-ins.toml`. No
target of Open-31 is looked at. Both ways answer the same examples under the same prompt, in turn, in one process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks import common
from mpdd.backbone import compute
from mpdd.backbone.model import Backbone
from mpdd.data.task import TaskCard
from mpdd.evaluation.compare import bootstrap_interval
from mpdd.evaluation.failures import failures
from mpdd.evaluation.metrics import metrics_for, score
from mpdd.experiment import config
from mpdd.experiment.setup import Examples, draw
from mpdd.inference.decoding.tokens import tokens_of
from mpdd.inference.predict import Request, predict
from mpdd.prompts.store import load

METHODS = ("zero-shot", "prompt-tuning", "mpdd")


def main() -> None:
    """Measure every prompt of the runs both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    args = parser.parse_args()
    common.write("grounded_decoding", {"rows": [row for run in args.runs for row in _rows(run)]})


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    experiment = config.read(folder / "config.toml")
    backbone = compute.load(experiment.backbone, template=experiment.template, **experiment.compute.model_dump())
    tokens_of(backbone.tokenizer)  # the tree of its vocabulary is made once a process
    for name in experiment.targets:
        examples = draw(experiment, name)
        if examples.task.card.type not in ("ner", "re"):
            continue
        for method in METHODS:
            prompt = _prompt(folder, backbone, f"{name}-{method}-{experiment.shots[0]}-s{experiment.seeds[0]}")
            if method == "zero-shot" or prompt is not None:
                where = {"backbone": Path(experiment.backbone).name, "target": name, "method": method}
                yield {**where, **{way: _answers(backbone, examples, prompt, way) for way in ("free", "grounded")}}


def _prompt(folder: Path, backbone: Backbone, name: str) -> Tensor | None:
    path = folder / "prompts" / f"{name}.safetensors"
    return load(path, backbone).rows() if path.is_file() else None


def _answers(backbone: Backbone, examples: Examples, prompt: Tensor | None, way: str) -> dict[str, Any]:
    card: TaskCard = examples.task.card
    requests = [Request(card, example, prompt, grounded=way == "grounded") for example in examples.test]
    predict(backbone, [replace(request) for request in requests[:2]])
    began = time.perf_counter()
    parsed = [answer.parsed for answer in predict(backbone, requests)]
    seconds = time.perf_counter() - began
    scored = score(card, examples.test, parsed)
    interval = bootstrap_interval(scored.counts, scored.documents, metrics_for(card)[0].value)
    none = failures(card, examples.test, parsed)["none"]["predicted"]
    return {
        "metric": scored.headline, "value": interval.value, "ci_low": interval.low, "ci_high": interval.high,
        "ungrounded": scored.ungrounded, "unparseable": scored.unparseable, "none": none, "examples": scored.n_examples,
        "seconds": round(seconds, 2),
    }  # fmt: skip


if __name__ == "__main__":
    main()
