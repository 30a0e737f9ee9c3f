import json
import math
import random
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mpdd.errors import InputError
from mpdd.evaluation import plots, wording
from mpdd.evaluation.results import METHODS, Row, results_table, write_results
from mpdd.evaluation.report import summary, write_report

BACKBONE = {"backbone": "pythia-160m", "backbone_parameters": 162_322_944}
TARGETS: dict[str, dict[str, Any]] = {
    "ncbi_disease": {"task_type": "ner", "metric": "strict_f1", "n_examples": 940, "chance": 0.0},
    "chemprot": {"task_type": "re", "metric": "strict_f1", "n_examples": 800, "chance": 0.0},
    "pubmedqa": {"task_type": "qa", "metric": "accuracy", "n_examples": 500, "chance": 55.2},
    "scitail_clinical": {"task_type": "nli", "metric": "macro_f1", "n_examples": 1422, "chance": 25.1},
}
LEVELS = {"ncbi_disease": 52.0, "chemprot": 38.0, "pubmedqa": 60.0, "scitail_clinical": 58.0}
# gain, trainable parameters, seconds, trials
COSTS: dict[str, tuple[float, int, float, int]] = {
    "zero-shot": (-30, 0, 0, 0),
    "prompt-tuning": (0, 76_800, 410, 6),
    "mpdd": (7, 77_668, 395, 6),
    "mpdd-zero-shot": (-18, 0, 0, 0),
    "mpdd-factors": (1.5, 868, 220, 6),
    "mpdd-no-teachers": (4.6, 77_668, 390, 6),
    "shared-prompt": (2.8, 76_800, 400, 6),
    "spot": (3.1, 76_800, 405, 6),
    "lora": (9, 1_179_648, 1260, 6),
    "lora-matched": (4.1, 73_728, 880, 6),
    "lora-multitask": (9.6, 1_179_648, 1300, 6),
    "ia3": (-1.2, 55_296, 700, 6),
    "full-finetuning": (11.5, 162_322_944, 5400, 4),
}


def make_rows(methods: tuple[str, ...] = METHODS, shots: tuple[int | str, ...] = ("all",), seeds: int = 3) -> list[Row]:
    rng = random.Random(4)
    rows = []
    for method in methods:
        gain, parameters, seconds, trials = COSTS[method]
        for target, facts in TARGETS.items():
            for amount in shots if parameters else (0,):
                level = LEVELS[target] + (gain if amount != 0 else 0.8 * gain)
                level -= 0 if amount in ("all", 0) else 22 / math.log2(int(amount))
                for seed in range(seeds if parameters else 1):
                    rows.append(make_row(method, target, facts, amount, seed, level + rng.gauss(0, 0.8), rng))
                    rows[-1] = Row(**{**vars(rows[-1]), "trainable_parameters": parameters, "tuning_trials": trials,
                                      "trainable_fraction": parameters / BACKBONE["backbone_parameters"],
                                      "stored_bytes": 4 * parameters + 900, "train_seconds": seconds,
                                      "train_examples_seen": 9600 if parameters else 0})  # fmt: skip
    return rows


def make_row(method: str, target: str, facts: dict[str, Any], shots: Any, seed: int, level: float, rng: random.Random) -> Row:
    value = min(max(level, 0.5), 99)
    half = 196 * math.sqrt(value / 100 * (1 - value / 100) / facts["n_examples"])
    unparseable = 12.4 if method == "zero-shot" else (0.4 if target == "chemprot" and method == "ia3" else 0)
    costs = ("trainable_parameters", "trainable_fraction", "stored_bytes", "train_examples_seen", "train_seconds")
    return Row(
        **{"method": method, "target": target, "shots": shots, "seed": seed, **BACKBONE, **facts, "value": value,
           "ci_low": max(0, value - half * rng.uniform(0.9, 1.1)), "ci_high": min(100, value + half),
           "unparseable": unparseable, "tuning_trials": 0, **dict.fromkeys(costs, 0)}
    )  # fmt: skip


def make_metrics() -> list[dict[str, Any]]:
    rng, records = random.Random(1), []
    for source in ("bc5cdr", "ddi", "medmcqa", "mednli", "hoc", "i2b2_2010"):
        for step in range(0, 401, 20):
            loss = 0.4 + 3 * math.exp(-step / rng.uniform(80, 100)) + rng.gauss(0, 0.03)
            records.append({"stage": "teach", "run": source, "method": "prompt-tuning", "task": source, "step": step,
                            "loss": loss, "dev_loss": loss + 0.1, "seed": 0})  # fmt: skip
    for step in range(0, 3000, 5):
        task, kl, hidden = (a + b * math.exp(-step / c) * rng.uniform(0.8, 1.2) for a, b, c in
                            ((0.6, 2.5, 500), (0.08, 1.3, 700), (0.4, 0.5, 900)))  # fmt: skip
        records.append({"stage": "distil", "run": "metaprompt", "method": "mpdd", "task": "mixture", "step": step,
                        "loss": task + 0.9 * (kl + hidden), "task_loss": task, "kl": kl, "hidden": hidden, "seed": 0})  # fmt: skip
    for target in TARGETS:
        for method, (gain, parameters, _, _) in COSTS.items():
            for rate in (0.03, 0.3, 3.0) if parameters else ():
                for step in range(0, 601, 40):
                    floor = 0.9 - gain / 40 + (0.35 if rate != 0.3 else 0)
                    loss = floor + (1.6 if method.startswith("mpdd") else 2.4) * math.exp(-step / (120 / rate**0.3))
                    loss = loss * (1 + step / 90) if rate == 3.0 and method == "prompt-tuning" else loss
                    records.append({"stage": "adapt", "run": f"{target}/{method} lr {rate}", "method": method, "task": target,
                                    "step": step, "loss": loss, "dev_loss": loss + rng.gauss(0.05, 0.012), "seed": 0})  # fmt: skip
    return records


EXAMPLES = {
    "ncbi_disease": [
        {
            "id": "10021369:0",
            "input": "List every disease mention in the text.\n\nText: Identification of APC2, a homologue of the "
            "adenomatous polyposis coli tumour suppressor. The <b>APC</b> gene is mutated in most colorectal cancers.\n\nAnswer:",
            "gold": "adenomatous polyposis coli tumour\ncolorectal cancers",
            "predictions": {
                "zero-shot": "The text is about a gene.",
                "prompt-tuning": "colorectal cancers",
                "mpdd": "adenomatous polyposis coli tumour\ncolorectal cancers",
                "lora": "adenomatous polyposis coli\ncolorectal cancers",
            },
        },
        {"id": "10064668", "input": "  two  spaces & <i>tags</i>", "gold": "none", "predictions": {"mpdd": "none"}},
    ],
    "pubmedqa": [
        {
            "id": "21645374",
            "input": "Do mitochondria play a role in remodelling lace plant leaves during programmed cell death?",
            "gold": "yes",
            "predictions": {"mpdd": "yes", "prompt-tuning": "maybe"},
        }
    ],
}
PROVENANCE = {
    "data": "synthetic",
    "command": "mpdd run experiments/demo.toml",
    "code": {"version": "0.1.0", "commit": "5f2c1f9d5a0b3e6c7d8e9f00112233445566aabb", "dirty": False},
    "seeds": [0, 1, 2],
    "backbone": {"name": "pythia-160m", "fingerprint": "sha256:9b1c04cf5c0a1cf2a1d39f3b0b5c8f8a54f3e2d1c0b9a8f7e6d5c4b3a2918070"},
    "data_hashes": {target: f"sha256:{index:064x}" for index, target in enumerate(TARGETS, start=11)},
    "machine": {"cpu": "2 cores", "memory_gb": 8.0, "gpu": None, "libraries": {"torch": "2.13.0", "transformers": "5.23.0"}},
    "stages": [{"name": "teach", "seconds": 812.4}, {"name": "distil", "seconds": math.nan}],
}  # fmt: skip


def make_run(folder: Path, rows: list[Row] | None = None, optional: bool = True) -> Path:
    """A run folder as a real run leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / "results.json", rows or make_rows())
    if optional:
        lines = "\n".join(json.dumps(record) for record in make_metrics())
        (folder / "metrics.jsonl").write_text(lines + '\n{"stage": "adapt", "st')
        (folder / "examples.json").write_text(json.dumps(EXAMPLES))
        (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("run"))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")
