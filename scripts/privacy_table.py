"""Makes the table of privacy: scores at several epsilons and without, beside what attacks see of each prompt or adapter.

    python -m scripts.privacy_table make experiments/privacy.toml --out runs/privacy
    python -m scripts.privacy_table publish runs/privacy          # into results/privacy, a file an epsilon
    python -m scripts.privacy_table show results/privacy          # the table in Markdown
    python -m scripts.privacy_table update results/privacy        # the table into docs/privacy.md; --check only compares

Each epsilon is a run of its own (`runs/privacy/epsilon-3`, `runs/privacy/none`). Every cell is adapted to the training examples
and a few canaries (`mpdd audit`) among them. What it made is scored, its training examples are attacked by their losses against
test examples, and the exposure of its canaries is taken, beside that of as many that it never saw. Cells and attacks stay, so the
same command goes on where the last one was ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from mpdd.data.mixture import few_shot
from mpdd.data.task import Example
from mpdd.errors import InputError, MpddError
from mpdd.evaluation.canaries import Canary, canaries, exposure
from mpdd.evaluation.membership import by_losses, losses
from mpdd.evaluation.published import commits_named, provenance_of, seeds_named
from mpdd.evaluation.records import name_of, raw_files, runs_in
from mpdd.evaluation.results import read_json, read_results
from mpdd.experiment import config
from mpdd.experiment.again import Recipe, adapt_again
from mpdd.experiment.cells import Key, cells_of
from mpdd.experiment.comparison import compare_methods
from mpdd.experiment.folder import alone_in
from mpdd.experiment.setup import Run, data_of
from mpdd.experiment.sources import metaprompt_for
from mpdd.files import write_atomically
from mpdd.methods.registry import METHODS
from mpdd.progress import Reporter
from mpdd.prompts.store import PromptFile
from scripts.generated_pages import grid, put
from scripts.publish_results import RESULTS, publish

ATTACKED = 200  # training examples of a cell, and test examples, whose losses are taken, at most
CANDIDATES = 63  # other codes that each canary is ranked among: exposures of 0 to 6 bits
DELTA = 1e-5
PAGE = RESULTS.parent / "docs" / "privacy.md"
ATTACKS = "attacks.json"
NONE = "none"
HEADS = ("target", "examples", "method", "epsilon", "score", "attack AUC", "exposure, never seen")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, publish or show; return the exit code, 2 where the input does not fit."""
    options = _parser().parse_args(arguments)
    try:
        if options.what == "make":
            make(options.folder, options.out or Path("runs") / options.folder.stem, options)
        elif options.what == "publish":
            for run in _runs(options.folder):
                publish(run, (options.out or RESULTS / options.folder.name) / name_of(run))
        elif options.what == "update":
            return _update(options.folder, is_check=options.check)
        print("\n".join(grid(HEADS, list(table((options.out if options.what == "make" else None) or options.folder)))))
    except MpddError as error:
        print(f"mpdd: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Scores and attacks at several epsilons.")
    parser.add_argument("what", choices=("make", "publish", "show", "update"))
    parser.add_argument("folder", type=Path, metavar="EXPERIMENT.toml|FOLDER")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--epsilons", nargs="+", default=[NONE, "8", "3", "1"], metavar="E")
    parser.add_argument("--delta", type=float, default=DELTA)
    parser.add_argument("--canaries", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--check", action="store_true", help="of update: compare, and exit with 1 where the page differs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser


def _update(folder: Path, *, is_check: bool) -> int:
    """Put the table into the page, or compare; 1 where a check finds a difference."""
    old = PAGE.read_text(encoding="utf-8")
    new = put(old, "privacy-table", _page_lines(folder))
    if is_check:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def _page_lines(folder: Path) -> Iterator[str]:
    """How the runs were made, and the table."""
    runs = _runs(folder)
    if not runs:
        yield "Not run yet."
        return
    made = [provenance_of(run) for run in runs]
    adapts = [tomllib.loads((raw_files(run) / "config.toml").read_text(encoding="utf-8"))["adapt"] for run in runs]
    deltas = sorted({f"{adapt['privacy']['delta']:g}" for adapt in adapts if "privacy" in adapt})
    backbone, plan = made[0]["backbone"], adapts[0]
    yield (
        f"{backbone['name']} in {backbone['dtype']}, {plan['steps']} steps of {plan['batch_size']} examples on average, "
        f"{seeds_named(made[0]['seeds'])}, {commits_named(made)}; delta {', '.join(deltas)}, unit: an example."
    )
    yield ""
    yield from grid(HEADS, list(table(folder)))


def make(experiment: Path, out: Path, options: argparse.Namespace) -> None:
    """Make what is missing of every epsilon's cells and attacks."""
    for epsilon in options.epsilons:
        private = [] if epsilon == NONE else [f"adapt.privacy.epsilon={epsilon}", f"adapt.privacy.delta={options.delta}"]
        read = config.read(experiment, [*options.set, *private])
        if read.shots != ("all",):
            raise InputError(
                "Canaries stand beside all training examples", found=f"shots = {read.shots}", wanted='shots = ["all"]'
            )
        folder = out / (NONE if epsilon == NONE else f"epsilon-{epsilon}")
        with alone_in(folder):
            run = Run.open(read, folder, Reporter(), "scripts.privacy_table")
            metaprompt = metaprompt_for(run, read.methods)
            attacker = Attacker(run, metaprompt, options.canaries, options.candidates)
            compare_methods(attacker.beside_canaries(), metaprompt)
            keys = cells_of(read, run.targets)
            run.reporter.stage(f"Attacks on {len(keys)} cells")
            run.folder.write_json(ATTACKS, [_kept(attacker, key) for key in keys])


def _kept(attacker: Attacker, key: Key) -> dict[str, Any]:
    """The attacks on a cell, made first if need be."""
    path = attacker.run.folder.path / "attacks" / f"{key.name.replace('/', '--')}.json"
    if not path.is_file():
        write_atomically(path, json.dumps(attacker.attack(key)).encode())
    finished: dict[str, Any] = read_json(path)
    return finished


class Attacker:
    """Attacks the cells of a run, whose training examples have so many canaries among them."""

    def __init__(self, run: Run, metaprompt: PromptFile | None, count: int, candidates: int) -> None:
        self.run, self.metaprompt, self.candidates = run, metaprompt, candidates
        self._canaries = {
            name: canaries(run.tasks[name].task.card, 2 * count, 0) for name in run.targets
        }  # those at odd places are never trained on
        self._before = cache(self._losses_before)

    def beside_canaries(self) -> Run:
        """The run with every other canary among the training examples of its targets."""
        tasks = dict(self.run.tasks)
        for name, invented in self._canaries.items():
            train = (*tasks[name].train, *(canary.example for canary in invented[::2]))
            tasks[name] = replace(tasks[name], train=train)
        return replace(self.run, tasks=tasks)

    def attack(self, key: Key) -> dict[str, Any]:
        """Attack what a cell made by its losses, and take the exposures of canaries."""
        run, examples = self.run, self.run.tasks[key.target]
        recipe = recipe_of(self.beside_canaries(), key, self.metaprompt)
        before = self._before(key.target, recipe.meta is not None)
        adapted = adapt_again(recipe, run.backbone, (), (), run.folder.prompt(key.name.replace("/", "-")))  # made already
        with adapted.inside(run.backbone) as rows:
            under = [losses(run.backbone, examples.task.card, group, rows) for group in self._groups(key.target)]
            inserted, never = (self._exposure(key, rows, self._canaries[key.target][start::2]) for start in (0, 1))
        run.reporter.say(f"  {key.name}: exposure {inserted['mean']:.2f} bits, {never['mean']:.2f} where never seen")
        return {
            **asdict(key), "examples": len(examples.train), "epsilon": recipe.guarantee.epsilon if recipe.guarantee else None,
            "attacks": [asdict(attack) for attack in by_losses(under, before)], "inserted": inserted, "never_seen": never,
        }  # fmt: skip

    def _groups(self, target: str) -> tuple[Sequence[Example], Sequence[Example]]:
        examples = self.run.tasks[target]
        return few_shot(examples.train, ATTACKED, 0), few_shot(examples.test, ATTACKED, 0)

    def _losses_before(self, target: str, under_metaprompt: bool) -> list[Any]:
        """Under the metaprompt or the bare backbone, which all cells of a method started from."""
        rows = self.metaprompt.rows() if self.metaprompt and under_metaprompt else None
        card = self.run.tasks[target].task.card
        return [losses(self.run.backbone, card, group, rows) for group in self._groups(target)]

    def _exposure(self, key: Key, rows: Any, of: Sequence[Canary]) -> dict[str, Any]:
        card, backbone = self.run.tasks[key.target].task.card, self.run.backbone
        found = exposure(of, lambda shown: losses(backbone, card, shown, rows), candidates=self.candidates, seed=key.seed)
        return asdict(found)


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
    """The rows of the table, means over seeds: of the scores, of the stronger attack's area, and of exposures in bits.

    Intervals are 95 %; of areas and exposures the means of the seeds' ends, which are no narrower than those of the mean.
    """
    for run in _runs(folder):
        files = raw_files(run)
        scores = {(row.target, row.method): row for row in read_results(files / "results.json")}  # that of all seeds is the last
        cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for cell in read_json(files / ATTACKS):
            cells.setdefault((cell["target"], cell["method"]), []).append(cell)
        for (target, method), seeds in cells.items():
            row = scores[target, method]
            strongest = [max(cell["attacks"], key=lambda attack: attack["auc"]) for cell in seeds]
            area = _between([(found["auc"], found["auc_low"], found["auc_high"]) for found in strongest], 2)
            bits = _between([(found["mean"], found["low"], found["high"]) for found in (cell["inserted"] for cell in seeds)], 1)
            never = fmean(cell["never_seen"]["mean"] for cell in seeds)
            score = _between([(row.value, row.ci_low, row.ci_high)], 1)
            yield target, f"{seeds[0]['examples']:,}", method, _epsilon(run), score, area, f"{bits}, {never:.1f}"


def _between(values: Sequence[tuple[float, float, float]], digits: int) -> str:
    """The mean, and those of the ends of intervals."""
    mean, low, high = (f"{fmean(part):.{digits}f}" for part in zip(*values, strict=True))
    return f"{mean} [{low}, {high}]"


def _runs(folder: Path) -> list[Path]:
    """The runs of a table, from none over the largest epsilon to the smallest."""
    return sorted(runs_in(folder), key=lambda run: 0.0 if name_of(run) == NONE else 1 / float(_epsilon(run)))


def _epsilon(run: Path) -> str:
    return name_of(run).removeprefix("epsilon-")


if __name__ == "__main__":
    sys.exit(main())
