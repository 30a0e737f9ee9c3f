"""Writes the tables of docs/open31.md: `python -m scripts.update_open31`; `--check` only compares. Needs no data.

The audit is that of `results/audit.json`, which `mpdd tasks --audit --text DIR --write results/audit.json` makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpdd.data import catalogue, counts, store
from mpdd.data.task import SPLITS
from mpdd.evaluation import published
from mpdd.evaluation.published import commits_named, objective_note, provenance_of, seeds_named
from mpdd.evaluation.records import is_run
from scripts.generated_pages import grid, put

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "open31.md"
RESULTS = ROOT / "results"
AUDIT = RESULTS / "audit.json"
ABLATIONS = RESULTS / "ablations"
VARIANTS = {  # what stands in the table: the run under results/ablations, and the method
    "base: 21 sources, length 64, rank 2, every layer, without teachers": ("base", "mpdd"),
    "with teachers (stage 1, and distillation in stage 2)": ("teachers", "mpdd"),
    "without decomposition, all of the prompt tuned": ("base", "shared-prompt"),
    "1 source": ("sources-1", "mpdd"),
    "5 sources": ("sources-5", "mpdd"),
    "10 sources": ("sources-10", "mpdd"),
    "rank 1": ("rank-1", "mpdd"),
    "length 16": ("length-16", "mpdd"),
    "at the input alone": ("depth-input", "mpdd"),
}
CONTROLS = {  # likewise, of every method that a fair comparison needs
    "mpdd, as the base above": ("base", "mpdd"),
    "zero-shot": ("base", "zero-shot"),
    "prompt tuning (length 15)": ("base", "prompt-tuning"),
    "prompt tuning before every layer (length 64)": ("base", "deep-prompt-tuning"),
    "SPoT: from the prompt of the source that fits best": ("teachers", "spot"),
    "LoRA, usual rank": ("base", "lora"),
    "LoRA with as many numbers as mpdd": ("base", "lora-matched"),
    "LoRA, trained on the same sources first": ("base", "lora-multitask"),
    "IA3": ("base", "ia3"),
    "full fine-tuning": ("base", "full-finetuning"),
}
WITHOUT = "open31-without-labels"
BASELINES = ("prompt-tuning", "lora", "zero-shot")
LABELS = {  # the method, and baselines with either input
    "mpdd": ("open31", "mpdd"),
    **{name: ("open31", name) for name in BASELINES},
    **{f"{name}, no labels in the input": (WITHOUT, name) for name in ("mpdd", *BASELINES)},
}
SHOTS = ("fewshot", "fewshot-one-draw", "alldata")  # runs of other numbers of examples
PAIR = ("shared_documents", "shared_runs", "test_examples", "texts")


def main() -> int:
    """Update or check the page; exit code 1 when a check finds a difference, or the audit is of other data."""
    audit = json.loads(AUDIT.read_text(encoding="utf-8"))
    if problem := outdated(audit):
        print(f"{AUDIT.relative_to(ROOT)}: {problem}; make it anew with `mpdd tasks --audit`")
        return 1
    old = PAGE.read_text(encoding="utf-8")
    new = put(put(old, "catalogue", catalogue_lines()), "audit", audit_lines(audit))
    new = put(put(new, "shots", shot_lines()), "labels", label_lines())
    new = put(put(new, "ablations", ablation_lines(VARIANTS)), "controls", ablation_lines(CONTROLS))
    if "--check" in sys.argv:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def outdated(audit: Mapping[str, Any]) -> str:
    """Say what about an audit does not fit the data that is pinned or the counts; empty if it all fits."""
    table = counts.table()
    tests = {name: table[name]["examples"][2] for name in _names("target")}
    sources = {name: sum(table[name]["examples"][:2]) for name in _names("source", "spare")}
    if audit["data_sha256"] != store.registry_hash():
        return "it is of another upstream.tsv"
    if audit["tests"] != tests or {name: row["examples"] for name, row in audit["sources"].items()} != sources:
        return "it is of other splits than counts.toml"
    return ""


def catalogue_lines() -> Iterator[str]:
    """The table of the tasks, sources first."""
    yield f"Examples after drops. {_data(store.registry_hash())}"
    yield ""
    heads = ("task", "role", "type", "metric", *SPLITS, "licence", "citation", "counts from")
    rows = []
    for name in (*_names("source"), *_names("target"), *_names("spare")):
        task, row = catalogue.get(name), counts.table()[name]
        rows.append(
            (name, task.role, task.card.type, task.headline, *row["examples"], task.licence, task.citation, row["source"])
        )
    yield from grid(heads, rows)


def ablation_lines(variants: Mapping[str, published.Place]) -> Iterator[str]:
    """What each part of the method is worth, or another one in its place, where it was run."""
    if not (rows := published.variant_rows(ABLATIONS, variants)):
        yield "Not run yet."
        return
    yield _made("sh experiments/ablations.sh", [ABLATIONS / name for name in sorted({folder for folder, _ in variants.values()})])
    yield ""
    yield from grid(published.VARIANT_HEADS, rows)


def label_lines() -> Iterator[str]:
    """The method against each baseline with labels in the input and without, on all targets."""
    if not (rows := published.variant_rows(RESULTS, LABELS)):
        yield "Not run yet."
        return
    yield _made("mpdd run experiments/open31.toml --out runs/open31", [RESULTS / "open31"])
    yield ""
    yield from grid([head.replace("base", "mpdd").replace("variant", "method", 1) for head in published.VARIANT_HEADS], rows)


def shot_lines() -> Iterator[str]:
    """The mean of all targets by the number of examples, and the method against baselines."""
    runs = [run for name in SHOTS if is_run(run := RESULTS / name)]
    if not runs:
        yield "Not run yet."
        return
    against = ("prompt-tuning", "ia3", "lora")
    for run in runs:
        yield _made(provenance_of(run)["command"], [run])
        yield ""
    yield from grid(published.shot_heads(against), [row.cells for row in published.shot_rows(runs, against)])


def audit_lines(audit: Mapping[str, Any]) -> Iterator[str]:
    """The audit: sources, pairs, and training text."""
    data = _data(audit["data_sha256"])
    touched = {name: row for name, row in audit["sources"].items() if row["found"] or row["remaining"]}
    yield f"**Sources**: examples of train and dev against the tests of all {len(audit['tests'])} targets. {data}"
    yield ""
    yield from _figures("source", ("examples", "found", "removed", "remaining"), touched)
    yield ""
    yield f"Nothing is shared by {', '.join(sorted(audit['sources'].keys() - touched.keys()))}. What is shared, by pair:"
    yield ""
    yield from _figures("source and target", PAIR, {f"{pair['source']}, {pair['target']}": pair for pair in audit["pairs"]})
    if text := audit.get("text"):
        yield ""
        yield f"**The embedded backbones' training text**: documents. {data}"
        yield ""
        files = {f"{name}, sha256 `{row['sha256']}`": row for name, row in text["files"].items()}
        yield from _figures("file", ("documents", "found", "filtered", "remaining"), files)
        yield ""
        yield "By target, before the filter and after it:"
        yield ""
        parts = {f"{name}, {when}": row[when] for name, row in text["targets"].items() for when in ("found", "remaining")}
        yield from _figures("target", PAIR[1:], parts)


def _made(command: str, runs: Sequence[Path]) -> str:
    made = [provenance_of(run) for run in runs]
    seeds, size = made[0]["seeds"], made[0]["backbone"]["parameters"] / 1e6
    return (
        f"`{command}`, {seeds_named(seeds)}, {commits_named(made)}, the embedded {size:.1f} M backbone; paired on the same "
        f"documents, intervals by bootstrap over documents{' and seeds' if len(seeds) > 1 else ''}. "
        f"{_data(store.registry_hash())} {objective_note(runs)}".rstrip()
    )


def _names(*roles: str) -> list[str]:
    return [name for name in catalogue.names() if catalogue.get(name).role in roles]


def _data(sha256: str) -> str:
    return f"Data: `upstream.tsv`, sha256 `{sha256}`."


def _figures(first: str, keys: Sequence[str], rows: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    yield from grid((first, *keys), [(name, *(row[key] for key in keys)) for name, row in rows.items()])


if __name__ == "__main__":
    sys.exit(main())
