"""Measures whether backbones are worth prompting: `python -m backbones.promptability --text DIR --out DIR NAME=MODEL ...`.

For each backbone: does it copy a marked span of 1 to 8 words (held-out texts, no prompt), and what does a soft prompt
tuned for one task reach on source tasks of each type (experiments/promptability.toml, a run folder for each). `NAME=random:MODEL`
stands for the architecture of MODEL with random weights. Resumable like any run; the table has all that were
measured in that folder.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

from backbones import corpus as text_corpus
from backbones.pretrain import HELD_OUT
from backbones.text_to_text import Makers
from mpdd.backbone import model as mpdd_backbone
from mpdd.backbone.model import Backbone
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.evaluation.results import read_results
from mpdd.evaluation.row import Row
from mpdd.experiment import config, pipeline
from mpdd.experiment.config import Experiment
from mpdd.inference.predict import Request, predict
from mpdd.progress import Reporter

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "promptability.toml"
COPIES = 400  # held-out texts


def main() -> None:
    """Measure each backbone and write `copying.json`, a run folder for each and `table.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="+", metavar="NAME=MODEL", help="a name and the folder of a model")
    parser.add_argument("--text", type=Path, required=True, help="folder of *.jsonl.xz")
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmark's files, for the leak filter")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    folders = {name: place(name, model, args.out) for name, model in (item.split("=", 1) for item in args.backbones)}
    asked = marked_spans(args.text, args.data)
    kept = args.out / "copying.json"
    copied: dict[str, float] = json.loads(kept.read_text())["exact_percent"] if kept.exists() else {}
    for name, folder in folders.items():
        copied[name] = copying(mpdd_backbone.load(str(folder)), asked)
        print(f"{name}: {copied[name]:.1f} % of {len(asked)} spans copied exactly", flush=True)
        kept.write_text(json.dumps({"texts": len(asked), "exact_percent": copied}, indent=1) + "\n")
    for name, folder in folders.items():
        experiment = config.read(EXPERIMENT).model_copy(update={"backbone": str(folder)})
        pipeline.run(experiment, args.out / name, Reporter(), "python -m backbones.promptability")
    rows = {name: read_results(args.out / name / "results.json") for name in copied}
    (args.out / "table.md").write_text(table(config.read(EXPERIMENT), rows, copied))


def place(name: str, model: str, out: Path) -> Path:
    """A folder called `name`, as results name a backbone by its folder; with random weights where asked for."""
    folder = out / "backbones" / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        if model.startswith("random:"):
            model = model.removeprefix("random:")
            torch.manual_seed(0)
            shape: Any = AutoConfig.from_pretrained(model)
            fresh: Any = LlamaForCausalLM(shape)
            fresh.to(torch.bfloat16).save_pretrained(folder)
            AutoTokenizer.from_pretrained(model).save_pretrained(folder)
        else:
            folder.symlink_to(Path(model).resolve(), target_is_directory=True)
    return folder


def marked_spans(text: Path, data: Path) -> list[tuple[str, str, str]]:
    """(instruction, text with a marked span, span) from documents that no recipe trained on."""
    documents, _ = text_corpus.clean(text_corpus.read(text), text_corpus.target_runs(data))
    held_out, rng = documents[::HELD_OUT], random.Random("copying")
    makers = Makers.over(held_out)
    found: list[tuple[str, str, str]] = []
    while len(found) < COPIES:
        pair = makers.repeat(rng, rng, rng.choice(held_out))
        if pair is not None:
            instruction, rest = pair[0].split("\nText: ", 1)
            found.append((instruction, rest.removesuffix("\nAnswer:"), pair[1]))
    return found


def copying(backbone: Backbone, asked: Sequence[tuple[str, str, str]]) -> float:
    """The share of spans copied exactly, in per cent; greedy, without any prompt."""
    requests = []
    for number, (instruction, text, span) in enumerate(asked):
        card = TaskCard("copying", "qa", instruction, form="free", max_answer_tokens=64)
        requests.append(Request(card, Example(str(number), str(number), text, Answer(text=span))))
    outputs = predict(backbone, requests)
    return 100 * sum(p.output == span for p, (_, _, span) in zip(outputs, asked, strict=True)) / len(asked)


def table(experiment: Experiment, rows: Mapping[str, Sequence[Row]], copied: dict[str, float]) -> str:
    """Markdown: a line for each backbone, a column for each task, scores with their 95 % intervals."""
    names = experiment.targets
    first = {row.target: row for row in next(iter(rows.values()))}
    head = ["backbone", "method", "copying", *(f"{n} ({first[n].metric})" for n in names)]
    lines = [["trivial answer", "", "", *(f"{first[n].chance:.1f}" for n in names)]]
    for name, found in rows.items():
        for method in experiment.methods:
            cells = {row.target: row for row in found if row.method == method}
            scores = [f"{cells[n].value:.1f} [{cells[n].ci_low:.1f}, {cells[n].ci_high:.1f}]" for n in names]
            lines.append([name, method, f"{copied[name]:.1f} %" if method == "zero-shot" else "", *scores])
    shown = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)


if __name__ == "__main__":
    main()
