"""Two sites that share a prompt and no text, against each site alone and against all data in one place.

`python -m benchmarks.federated [--steps N] [--rounds N] [--seeds N]`, on the embedded backbone, with Flower's apps in one
process. Each site takes the same number of steps alone and in the federation, from the same rows; all data in one place takes
as many, of twice as many examples. Losses are answer cross-entropies in nats a token: (a) of each site's own tasks on dev
(which chooses the state to keep) and test, (b) of two tasks that no site has, on their test, as they come and after a few
steps from a few examples. Those two are sources of the benchmark, not targets.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks import common
from mpdd.data.batch import Encoded
from mpdd.experiment import config
from mpdd.experiment.folder import commit
from mpdd.experiment.setup import Run, data_of
from mpdd.experiment.sources import distil_sources
from mpdd.federated.federation import Federation
from mpdd.federated.here import federate_here
from mpdd.methods.cell import plan_of
from mpdd.progress import Reporter
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import load_prompt
from mpdd.training.one_task import adapt
from mpdd.training.tune import Data, mean_losses

SITES: Mapping[str, Sequence[str]] = {
    "a": ("bc5cdr_ner", "ddi", "scifact"),
    "b": ("biored_ner", "chia_re", "evidence_inference"),
}
HELD_OUT = ("chia_ner", "indiana_radiology")
LENGTH, RATE, SHOTS = 15, 0.03, 32
LIMITS = {"train": 1000, "dev": 24, "test": 60}


def main() -> None:
    """Measure every way of training on every set of tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=96, help="steps of a site in all")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--adapt-steps", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    by_seed = []
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            by_seed.append(_one_seed(Path(folder), args, seed))
    settings = {"steps": args.steps, "rounds": args.rounds, "batch": args.batch, "rate": RATE, "length": LENGTH, "shots": SHOTS}
    result = {
        **settings, "adapt_steps": args.adapt_steps, "limits": LIMITS, "sites": SITES, "held_out": HELD_OUT,
        "mean_over_seeds": _mean(by_seed), "seeds": by_seed,
    }  # fmt: skip
    print(json.dumps({**common.made_on(commit()), **result}, indent=1))


def _one_seed(folder: Path, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Losses by way of training and set of tasks."""
    files = {name: _experiment(folder, name, tasks, args, seed) for name, tasks in SITES.items()}
    everything = [task for tasks in SITES.values() for task in tasks]
    pooled = _experiment(folder, "pooled", everything, args, seed, batch=2 * args.batch)
    opened = {name: _open(path, folder) for name, path in {**files, "pooled": pooled}.items()}
    alone = {name: distil_sources(run, {}).metaprompt() for name, run in opened.items()}
    federation = Federation.model_validate(
        {"name": "joint", "rounds": args.rounds, "sites": len(SITES), "seed": seed, "prompt": {"length": LENGTH}}
    )
    out, shares = folder / "joint", [{"share-factors": True}] * len(SITES)
    federate_here(federation, list(files.values()), out, shares)
    joint = {
        name: load_prompt(out / f"site-{number}" / "prompts" / "metaprompt.safetensors").metaprompt()
        for number, name in enumerate(SITES, start=1)
    }
    whole = load_prompt(out / "prompts" / "metaprompt.safetensors").metaprompt()
    own = {
        name: {
            "alone": _own(opened[name], alone[name]),
            "joint": _own(opened[name], joint[name]),
            "pooled": _own(opened[name], alone["pooled"]),
        }
        for name in SITES
    }
    ways = {
        **{f"alone_{name}": alone[name] for name in SITES},
        **{f"joint_{name}": joint[name] for name in SITES},
        "joint_all_factors": whole,
        "pooled": alone["pooled"],
    }
    run = opened["a"]
    return {"own_tasks": own, "held_out": {task: _held_out(run, task, ways, args, seed) for task in HELD_OUT}}


def _experiment(folder: Path, name: str, sources: Sequence[str], args: argparse.Namespace, seed: int, *, batch: int = 0) -> Path:
    """A site's experiment, without teachers."""
    values = {
        "name": name,
        "sources": list(sources),
        "targets": list(HELD_OUT),
        "methods": ["mpdd"],
        "seeds": [seed],
        "limits": LIMITS,
        "prompt": {"length": LENGTH},
        "distil": {
            "steps": args.steps, "batch_size": batch or args.batch, "every": max(1, args.steps // 4), "start": "fresh",
            "lr_shared": RATE, "lr_factors": RATE, "kl": 0.0, "hidden": 0.0,
        },
        "adapt": {"steps": args.adapt_steps, "batch_size": args.batch, "every": max(1, args.adapt_steps // 2), "mpdd": [RATE]},
    }  # fmt: skip
    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def _open(path: Path, folder: Path) -> Run:
    return Run.open(config.read(path), folder / f"alone-{path.stem}", Reporter(), "benchmarks.federated")


def _own(run: Run, meta: MetaPrompt) -> dict[str, float]:
    """Mean loss over a site's own tasks."""
    return {part: _loss(run, {task: _rows(run, task, part) for task in run.sources}, meta) for part in ("dev", "test")}


def _held_out(
    run: Run, task: str, ways: Mapping[str, MetaPrompt], args: argparse.Namespace, seed: int
) -> dict[str, dict[str, float]]:
    """Loss on a task that no site has, by way of training: without an example, and adapted."""
    data, test = data_of(run, run.tasks[task], SHOTS, seed), {task: _rows(run, task, "test")}
    found = {}
    for name, meta in ways.items():
        (trial,) = adapt(run.backbone, data, meta, task, plan_of(run.experiment.adapt), mode="all", lrs=[RATE], seed=seed)
        zero_shot = mean_losses(run.backbone, test, {task: meta.zero_shot()})[task]
        found[name] = {"zero_shot": zero_shot, "adapted": _loss(run, test, trial.trained)}
    return found


def _rows(run: Run, task: str, part: str) -> Sequence[Encoded]:
    examples = run.tasks[task]
    return Data.of(run.backbone, examples.task.card, (), getattr(examples, part), LENGTH).dev


def _loss(run: Run, rows: Mapping[str, Sequence[Encoded]], meta: MetaPrompt) -> float:
    losses = mean_losses(run.backbone, rows, {task: meta(task).detach() for task in rows})
    return statistics.mean(losses.values())


def _mean(found: Sequence[Any]) -> Any:
    """The mean of numbers at the same place in nested tables."""
    if isinstance(found[0], Mapping):
        return {key: _mean([one[key] for one in found]) for key in found[0]}
    return statistics.mean(found)


if __name__ == "__main__":
    main()
