"""Decode the cells of finished runs again, in several ways, from their saved prompts and adapters; nothing is trained.

`python -m benchmarks.decode_again RUN...` answers the test examples of each cell once for each way, in turn and in one
process, and writes `benchmarks/results/decode_again.json` after each cell, so that a stopped measurement goes on. Ways are
`free`, `grounded`, and both with priors fitted on the cell's dev examples (`methods/priors.py`), `priors` and
`grounded_priors`; `none` has the prior of "none" alone; `grounded:0.5` has another `steering.LEAST` (0 never leaves the note).
Cells whose answers a way does not change have the same figures for it. Full fine-tuning keeps no weights and is left out.
Give it runs of `experiments/*-stand-ins.toml`: nothing should be chosen on a target of Open-31.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from benchmarks import common
from mpdd.backbone import compute
from mpdd.backbone.model import Backbone
from mpdd.data import catalogue
from mpdd.evaluation.compare import Pair, Value, bootstrap_interval, mean_difference, paired_difference
from mpdd.evaluation.failures import failures
from mpdd.evaluation.metrics import Scored, metrics_for, score
from mpdd.experiment import config
from mpdd.experiment.config import Experiment
from mpdd.experiment.folder import commit
from mpdd.experiment.setup import Examples, draw
from mpdd.files import write_atomically
from mpdd.files.toml import read_toml
from mpdd.inference.decoding import steering
from mpdd.inference.decoding.tokens import tokens_of
from mpdd.inference.predict import Request, predict
from mpdd.methods.priors import Priors, fit_priors
from mpdd.methods.registry import UNTRAINED
from mpdd.prompts.store import load_prompt
from mpdd.training import baselines

RESULTS = common.RESULTS / "decode_again.json"
ADAPTERS: Mapping[str, Callable[[Backbone, Experiment, int], baselines.Placed]] = {
    "lora": lambda backbone, experiment, seed: baselines.lora(backbone, rank=experiment.adapt.lora_rank, seed=seed),
    "lora-multitask": lambda backbone, experiment, seed: baselines.lora(backbone, rank=experiment.adapt.lora_rank, seed=seed),
    "ia3": lambda backbone, _, seed: baselines.ia3(backbone, seed=seed),
}
DEFAULT_LEAST = steering.LEAST
WAYS: Mapping[str, tuple[bool, bool]] = {  # grounded, with priors
    "free": (False, False), "grounded": (True, False), "priors": (False, True), "grounded_priors": (True, True),
    "none": (False, True),
}  # fmt: skip


@dataclass(frozen=True)
class Again:
    """A finished cell of a run, with what it needs to be answered again."""

    run: Path
    experiment: Experiment
    backbone: Backbone
    row: Mapping[str, Any]

    @property
    def saved(self) -> Path:
        """Its prompt file or, without the ending, the folder of its adapter."""
        name = "-".join(str(self.row[key]) for key in ("target", "method", "shots")) + f"-s{self.row['seed']}"
        return self.run / "prompts" / f"{name}.safetensors"

    @contextmanager
    def placed(self) -> Iterator[Tensor | None]:
        """Yield the prompt, with an adapter in the backbone within where the cell has one."""
        method = str(self.row["method"])
        if method in ADAPTERS:
            with ADAPTERS[method](self.backbone, self.experiment, int(self.row["seed"])) as inside:
                inside.set(load_file(self.saved.with_suffix("") / "adapter_model.safetensors"))
                yield None
        else:
            yield None if method == "zero-shot" else load_prompt(self.saved, self.backbone).rows()

    @property
    def can_be_made(self) -> bool:
        """Whether what the cell needs was saved."""
        adapter = self.saved.with_suffix("") / "adapter_model.safetensors"
        return self.row["method"] == "zero-shot" or (adapter if self.row["method"] in ADAPTERS else self.saved).is_file()


def main() -> None:
    """Decode every finished cell of the runs again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument(
        "--ways", default="free,grounded,priors,grounded_priors", help="Some of the ways; the others are compared with the first."
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="Where the figures go.")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="Cells whose TARGET--METHOD--SHOTS--sSEED fits.")
    args = parser.parse_args()
    ways = args.ways.split(",")
    rows = json.loads(args.results.read_text())["rows"] if args.results.is_file() else []
    known = {_key(row) for row in rows}
    for cell, examples in _cells(args.runs, args.only):
        where = {"run": cell.run.name, "backbone": Path(cell.experiment.backbone).name, **_named(cell.row)}
        if _key(where) not in known:
            rows.append({**where, "commit": commit(), "stored": cell.row["value"], **_answered(cell, examples, ways)})
            _write(rows, args.results)
            print(_line(rows[-1]), flush=True)


def _cells(runs: Sequence[Path], only: str) -> Iterator[tuple[Again, Examples]]:
    """Every finished cell whose prompt or adapter is there, with its examples."""
    for run in runs:
        experiment = _decoded_as(read_toml(run / "config.toml", "configuration"))
        backbone = compute.load_backbone(experiment.backbone, template=experiment.template, **experiment.compute.model_dump())
        tokens_of(backbone.tokenizer)  # the tree of its vocabulary is made once a process
        for path in sorted((run / "cells").glob(f"{only}.json")):
            cell = Again(run, experiment, backbone, json.loads(path.read_text(encoding="utf-8"))["row"])
            if not cell.can_be_made:
                print(f"{path.stem}: nothing saved to answer with")
                continue
            yield cell, draw(experiment, str(cell.row["target"]))


def _decoded_as(values: Mapping[str, Any]) -> Experiment:
    """What decoding needs of a run's configuration, whichever version wrote the rest of it."""
    names = ("name", "backbone", "template", "compute", "limits", "targets")
    adapt = {name: values["adapt"][name] for name in ("lora_rank",) if name in values.get("adapt", {})}
    kept = {name: values[name] for name in names if name in values}
    return config.build({**kept, "methods": ["zero-shot"], "adapt": adapt}, "config.toml")


def _answered(cell: Again, examples: Examples, ways: Sequence[str]) -> dict[str, Any]:
    card = examples.task.card
    value = metrics_for(card)[0].value
    scored: dict[str, Scored] = {}
    found: dict[str, Any] = {}
    with cell.placed() as prompt:
        for way in ways:
            name, _, least = way.partition(":")
            steering.LEAST = float(least or DEFAULT_LEAST)
            grounded, has_priors = WAYS[name]
            priors = _priors(cell, examples, prompt, grounded) if has_priors else {}
            priors = {**priors, "stop": 0.0} if priors and name == "none" else priors
            known = Priors.of(priors)
            requests = [Request(card, e, prompt, grounded=grounded, priors=known) for e in examples.test]
            predict(cell.backbone, requests[:1])  # shapes are prepared outside of the measured time
            began = time.perf_counter()
            parsed = [answer.parsed for answer in predict(cell.backbone, requests)]
            seconds = time.perf_counter() - began
            scored[way] = score(card, examples.test, parsed)
            none = failures(card, examples.test, parsed).get("none")
            found[way] = {**_summary(scored[way], value), "none": none, "seconds": round(seconds, 2), "priors": priors}
    base = scored[ways[0]]
    for way in ways[1:]:
        change = paired_difference(scored[way].counts, base.counts, base.documents, value)
        found[way][f"minus_{ways[0]}"] = asdict(change)
    found["counts"] = {way: scored[way].counts.tolist() for way in ways}
    numbers = {name: number for number, name in enumerate(dict.fromkeys(base.documents))}
    found["documents"] = [numbers[name] for name in base.documents]
    return found


def _priors(cell: Again, examples: Examples, prompt: Tensor | None, grounded: bool) -> dict[str, Any]:
    """The priors of a trained cell; a method that trains nothing has none."""
    if cell.row["method"] in UNTRAINED:
        return {}
    return fit_priors(cell.backbone, [Request(examples.task.card, e, prompt, grounded=grounded) for e in examples.dev])


def _summary(scored: Scored, value: Value) -> dict[str, Any]:
    """The headline metric with its interval, and the shares of answers that could not be read and of items not in the text."""
    interval = bootstrap_interval(scored.counts, scored.documents, value)
    return {
        "metric": scored.headline, "value": interval.value, "ci_low": interval.low, "ci_high": interval.high,
        "unparseable": scored.unparseable, "ungrounded": scored.ungrounded, "examples": scored.n_examples,
    }  # fmt: skip


def _write(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write all rows, and for each backbone the mean difference of each way from the first, over all of its cells."""
    about = {**common.made_on(commit()), "means": list(_means(rows))}
    lines = ",\n".join(json.dumps(row) for row in rows)
    write_atomically(path, f'{json.dumps(about)[:-1]}, "rows": [\n{lines}\n]}}\n'.encode())


def _means(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for backbone in dict.fromkeys(row["backbone"] for row in rows):
        own = [row for row in rows if row["backbone"] == backbone]
        base, *others = own[0]["counts"]
        for way in others:
            pairs = [_pair(row, way, base) for row in own if way in row["counts"]]
            yield {
                "backbone": backbone, "way": way, "minus": base, "cells": len(pairs), **asdict(mean_difference(pairs)),
                "seconds": [sum(row[one]["seconds"] for row in own) for one in (base, way)],
            }  # fmt: skip


def _pair(row: Mapping[str, Any], way: str, base: str) -> Pair:
    value = metrics_for(catalogue.get(row["target"]).card)[0].value
    return Pair(np.array(row["counts"][way]), np.array(row["counts"][base]), row["documents"], value)


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("target", "method", "shots", "seed")}


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("backbone", "target", "method", "shots", "seed"))


def _line(row: Mapping[str, Any]) -> str:
    """A row as it is printed when it is done."""
    ways = list(row["counts"])
    shown = (f"{way} {row[way]['value']:.1f} ({row[way]['seconds']:.0f} s)" for way in ways)
    return f"{row['backbone']} {row['target']} {row['method']}: stored {row['stored']:.1f}, {', '.join(shown)}"


if __name__ == "__main__":
    main()
