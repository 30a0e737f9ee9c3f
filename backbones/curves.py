"""Draws what the recipes of the embedded backbone came to on held-out text while they ran, one behind the other.

`python -m backbones.curves NAME=DIR ...` keeps the held-out lines of the log in each work folder, under the recipe's name, as
`results/backbone/NAME.jsonl`; without arguments it draws `docs/backbone.svg` from those that are kept.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
KEPT, PICTURE = ROOT / "results" / "backbone", ROOT / "docs" / "backbone.svg"
RECIPES = ("fifth", "sixth")


def main() -> None:
    """Keep logs, then draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="*", metavar="NAME=DIR")
    for name, _, folder in (log.partition("=") for log in parser.parse_args().logs):
        keep(name, Path(folder) / "log.jsonl")
    draw(PICTURE)


def keep(name: str, log: Path) -> None:
    """Keep the lines of a log that have held-out figures."""
    KEPT.mkdir(parents=True, exist_ok=True)
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if "bpb_" in line]
    (KEPT / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def held_out(name: str, before: float) -> tuple[list[dict[str, Any]], float]:
    """The kept lines of a recipe, each with the million tokens seen by then, and how many those are at its end."""
    options = tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))
    each = options["rows_of_tokens"] / 1e6
    lines = [json.loads(line) for line in (KEPT / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [{**line, "tokens": before + each * (line["step"] + 1)} for line in lines]
    return found, found[-1]["tokens"]


def draw(path: Path) -> None:
    """Bits per byte of each corpus, and the loss on copies in nats a token, over the tokens seen."""
    lines: list[dict[str, Any]] = []
    ends, seen = [], 0.0
    for name in RECIPES:
        found, seen = held_out(name, seen)
        lines += found
        ends.append((name, seen))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for corpus in [name for name in lines[0] if name.startswith("bpb_")]:
        left.plot([line["tokens"] for line in lines], [line[corpus] for line in lines], label=corpus.removeprefix("bpb_"), lw=1.2)
    right.plot([line["tokens"] for line in lines], [line["copy_loss"] for line in lines], color="black", lw=1.2)
    left.set(title="Held-out bits per byte", ylim=(0.1, 1.5), xlabel="million tokens")
    right.set(title="Loss on repeated sequences, nats a token", yscale="log", xlabel="million tokens")
    right.set_yticks((0.3, 0.5, 1, 2, 4, 8), ("0.3", "0.5", "1", "2", "4", "8"), minor=False)
    right.set_yticks((), minor=True)
    left.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 0.06))
    begin = 0.0
    for axes in (left, right):
        axes.grid(alpha=0.25)
        for _, end in ends[:-1]:
            axes.axvline(end, color="grey", lw=0.8, ls=":")
    for name, end in ends:
        left.text((begin + end) / 2, 0.12, name, ha="center", fontsize=8, color="grey")
        begin = end
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
