"""Makes the table of privacy: scores at several epsilons and without, beside what attacks see of each prompt or adapter.

    python -m scripts.privacy_table make experiments/privacy.toml --out runs/privacy
    python -m scripts.privacy_table publish runs/privacy          # into results/privacy, a file an epsilon
    python -m scripts.privacy_table show results/privacy          # the table in Markdown

Each epsilon is a run of its own (`runs/privacy/epsilon-3`, `runs/privacy/none`). For each cell the training examples are attacked
by their losses against test examples (`mpdd audit`), and the cell is adapted once more beside canaries, whose exposure is taken.
Cells, attacks and canary adaptations stay, so the same command goes on where the last one was ended.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from mpdd.data.mixture import few_shot
from mpdd.errors import MpddError
from mpdd.evaluation.canaries import CANDIDATES, canaries, exposure
from mpdd.evaluation.membership import by_losses, losses
from mpdd.evaluation.records import name_of, raw_files, runs_in
from mpdd.evaluation.results import read_json, read_results
from mpdd.experiment import config
from mpdd.experiment.again import Recipe, adapt_again
from mpdd.experiment.cells import Key, cells_of
from mpdd.experiment.comparison import compare_methods
from mpdd.experiment.folder import alone_in
from mpdd.experiment.setup import Run, data_of, training_examples
from mpdd.experiment.sources import metaprompt_for
from mpdd.files import write_atomically
from mpdd.methods.registry import METHODS
from mpdd.progress import Reporter
from mpdd.prompts.store import PromptFile
from scripts.generated_pages import grid
from scripts.publish_results import RESULTS, publish

ATTACKED = 500  # training examples of a cell whose losses are taken, at most
ATTACKS = "attacks.json"
NONE = "none"
HEADS = ("target", "examples", "method", "epsilon", "score", "attack AUC", "exposure (never seen)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, publish or show; return the exit code, 2 where the input does not fit."""
    options = _parser().parse_args(arguments)
    try:
        if options.what == "make":
            make(options.folder, options.out or Path("runs") / options.folder.stem, options)
        elif options.what == "publish":
            for run in _runs(options.folder):
                publish(run, (options.out or RESULTS / options.folder.name) / name_of(run))
        print("\n".join(grid(HEADS, list(table((options.out if options.what == "make" else None) or options.folder)))))
    except MpddError as error:
        print(f"mpdd: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Scores and attacks at several epsilons.")
    parser.add_argument("what", choices=("make", "publish", "show"))
    parser.add_argument("folder", type=Path, metavar="EXPERIMENT.toml|FOLDER")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--epsilons", nargs="+", default=[NONE, "8", "3", "1"], metavar="E")
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--canaries", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser


def make(experiment: Path, out: Path, options: argparse.Namespace) -> None:
    """Make what is missing of every epsilon's cells and attacks."""
    for epsilon in options.epsilons:
        private = [] if epsilon == NONE else [f"adapt.privacy.epsilon={epsilon}", f"adapt.privacy.delta={options.delta}"]
        read = config.read(experiment, [*options.set, *private])
        folder = out / (NONE if epsilon == NONE else f"epsilon-{epsilon}")
        with alone_in(folder):
            run = Run.open(read, folder, Reporter(), "scripts.privacy_table")
            metaprompt = metaprompt_for(run, read.methods)
            compare_methods(run, metaprompt)
            keys = cells_of(read, run.targets)
            run.reporter.stage(f"Attacks on {len(keys)} cells")
            attacks = [_kept(run, key, metaprompt, options.canaries, options.candidates) for key in keys]
            run.folder.write_json(ATTACKS, attacks)


def _kept(run: Run, key: Key, metaprompt: PromptFile | None, count: int, candidates: int) -> dict[str, Any]:
    """The attacks on a cell, made first if need be."""
    path = run.folder.path / "attacks" / f"{key.name.replace('/', '--')}.json"
    if not path.is_file():
        record = attacked(run, key, metaprompt, count, candidates)
        write_atomically(path, json.dumps(record).encode())
    finished: dict[str, Any] = read_json(path)
    return finished


def attacked(run: Run, key: Key, metaprompt: PromptFile | None, count: int, candidates: int) -> dict[str, Any]:
    """Attack what a cell made by its losses, and take the exposure of canaries in the same adaptation beside them."""
    examples, recipe = run.tasks[key.target], recipe_of(run, key, metaprompt)
    train, card = training_examples(examples, key.shots, key.seed), examples.task.card
    groups = (few_shot(train, ATTACKED, 0), examples.test)
    reference = None if recipe.meta is None else recipe.meta.rows()
    before = [losses(run.backbone, card, group, reference) for group in groups]
    inserted = canaries(card, count, key.seed)
    name = key.name.replace("/", "-")

    def exposed(rows: Any) -> dict[str, Any]:
        under = exposure(
            inserted, lambda rendered: losses(run.backbone, card, rendered, rows), candidates=candidates, seed=key.seed
        )
        return asdict(under)

    with adapt_again(recipe, run.backbone, train, examples.dev, run.folder.prompt(name)).inside(run.backbone) as rows:
        under = [losses(run.backbone, card, group, rows) for group in groups]
        never = exposed(rows)
    beside, place = [*train, *(canary.example for canary in inserted)], run.folder.path / "attacks" / f"{name}-canaries-{count}"
    again = adapt_again(recipe, run.backbone, beside, examples.dev, place.with_name(f"{place.name}.safetensors"))
    with again.inside(run.backbone) as rows:
        trained = exposed(rows)
    run.reporter.say(f"  {key.name}: exposure {trained['mean']:.2f} bits, {never['mean']:.2f} where never seen")
    return {
        **asdict(key), "epsilon": recipe.guarantee.epsilon if recipe.guarantee else None,
        "attacks": [asdict(attack) for attack in by_losses(under, before)], "inserted": trained, "never_seen": never,
    }  # fmt: skip


def recipe_of(run: Run, key: Key, metaprompt: PromptFile | None) -> Recipe:
    """How a cell was adapted."""
    experiment, examples = run.experiment, run.tasks[key.target]
    private = data_of(run, examples, key.shots, key.seed).private
    return Recipe(
        key.method, examples.task.card, experiment.adapt, experiment.prompt, key.seed, key.shots, experiment.limits.train,
        experiment.loss_per, experiment.choice_loss, experiment.decoding.grounded, private.guarantee if private else None,
        metaprompt if METHODS[key.method].starts_from == "metaprompt" else None,
    )  # fmt: skip


def table(folder: Path) -> Iterator[tuple[str | int, ...]]:
    """The rows of the table: means over seeds, of the scores, of the stronger attack's area, and of exposures."""
    for run in _runs(folder):
        files = raw_files(run)
        scores = {
            (row.target, row.shots, row.method, row.seed): row.value
            for row in read_results(files / "results.json")
            if row.seed != "all"
        }
        cells: dict[tuple[str, Any, str], list[Mapping[str, Any]]] = {}
        for cell in read_json(files / ATTACKS):
            cells.setdefault((cell["target"], cell["shots"], cell["method"]), []).append(cell)
        for (target, shots, method), seeds in cells.items():
            areas = [max(attack["auc"] for attack in cell["attacks"]) for cell in seeds]
            bits = [fmean(cell[kind]["mean"] for cell in seeds) for kind in ("inserted", "never_seen")]
            score = fmean(scores[target, shots, method, cell["seed"]] for cell in seeds)
            shown = f"{bits[0]:.1f} ({bits[1]:.1f})"
            yield target, str(shots), method, _epsilon(run), f"{score:.1f}", f"{fmean(areas):.2f}", shown


def _runs(folder: Path) -> list[Path]:
    """The runs of a table, from none over the largest epsilon to the smallest."""
    return sorted(runs_in(folder), key=lambda run: 0.0 if name_of(run) == NONE else 1 / float(_epsilon(run)))


def _epsilon(run: Path) -> str:
    return name_of(run).removeprefix("epsilon-")


if __name__ == "__main__":
    sys.exit(main())
