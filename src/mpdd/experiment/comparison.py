"""All cells of an experiment together: made where they are missing, held against each other, and written down."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from mpdd.data.types import render_input, render_target
from mpdd.errors import InputError, counted
from mpdd.evaluation.failures import at_most_shots, failures_of, instructive_examples
from mpdd.evaluation.joint import comparisons, rows_over_seeds
from mpdd.evaluation.metrics import metrics_for
from mpdd.evaluation.reliability import reliability_of
from mpdd.evaluation.results import read_json, write_results
from mpdd.evaluation.row import Row, ours
from mpdd.evaluation.transfer import transfer
from mpdd.experiment.cells import Key, cells_of, make_cell
from mpdd.experiment.config import Shots
from mpdd.experiment.origins import origins
from mpdd.experiment.setup import Run
from mpdd.experiment.sources import metaprompt_for
from mpdd.prompts.store import PromptFile, load_prompt

EXAMPLES_SHOWN = 3


def compare_methods(run: Run, metaprompt: PromptFile | None, only: Callable[[Key], bool] | None = None) -> list[Row]:
    """Stage 3 and all baselines on every target; writes `results.json` and worked examples.

    With `only` its cells are made and nothing else is written.
    """
    keys = [key for key in cells_of(run.experiment, run.targets) if only is None or only(key)]
    methods = tuple(dict.fromkeys(key.method for key in keys))
    targets = len({key.target for key in keys})
    run.reporter.stage(f"Stage 3: {counted(len(keys), 'cell')}: {counted(targets, 'target')}, {counted(len(methods), 'method')}")
    begun = origins(run, methods, metaprompt)
    finished = [run.folder.unit(key.name, partial(make_cell, run, key, begun[key.method])) for key in keys]
    if only is not None:
        return [Row.from_dict(cell["row"]) for cell in finished]
    run.folder.take_in_parts()
    run.folder.note_commits(finished)
    values = {target: metrics_for(run.tasks[target].task.card)[0].value for target in run.targets}
    rows = [*(Row.from_dict(cell["row"]) for cell in finished), *rows_over_seeds(finished, values)]
    write_results(run.folder.path / "results.json", rows)
    compared = comparisons(finished, values)
    run.folder.write_json("comparisons.json", compared)
    run.folder.write_json("examples.json", _worked_examples(run, finished))
    run.folder.write_json("metrics.json", [_all_metrics(cell) for cell in finished])
    if failed := failures_of(finished):
        run.folder.write_json("failures.json", failed)
    if reliable := reliability_of(finished):
        run.folder.write_json("reliability.json", reliable)
    if metaprompt and (transferred := _transfer(run, metaprompt, finished, compared)):
        run.folder.write_json("transfer.json", transferred)
    return rows


def remake(run: Run, name: str) -> Row:
    """Make one cell anew, with the stages before it where they are missing, whatever else is in the run folder.

    Raises `InputError` where the experiment has no such cell.
    """
    keys = {key.name: key for key in cells_of(run.experiment, run.targets)}
    if name not in keys:
        near = difflib.get_close_matches(name, keys, n=1, cutoff=0.0)
        raise InputError(
            f"The experiment {run.experiment.name} has no cell {name}", wanted="TARGET/METHOD/SHOTS/sSEED",
            next_step=f"Perhaps {near[0]}.",
        )  # fmt: skip
    run.folder.forget(name)
    metaprompt = metaprompt_for(run, [keys[name].method])
    (row,) = compare_methods(run, metaprompt, only=lambda key: key.name == name)
    return row


def part(run: Run, pattern: str) -> list[Row]:
    """Make those of the missing cells whose names fit a shell pattern ("rqe/*"), and return the rows of all that fit.

    Nothing is written for the whole comparison: a last run over the cells of all parts does that. Raises `InputError` where
    no cell fits.
    """
    chosen = {key.name: key.method for key in cells_of(run.experiment, run.targets) if fnmatchcase(key.name, pattern)}
    if not chosen:
        raise InputError(
            f"No cell of the experiment {run.experiment.name} fits {pattern}", wanted="a pattern of TARGET/METHOD/SHOTS/sSEED",
            next_step="Perhaps " + f"{run.targets[0]}/*.",
        )  # fmt: skip
    return compare_methods(run, metaprompt_for(run, list(chosen.values())), only=lambda key: key.name in chosen)


def _transfer(
    run: Run, metaprompt: PromptFile, cells: Sequence[Mapping[str, Any]], compared: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What transfers to what, by the factors of the metaprompt and of the prompts adapted from it; of prompts that are not there,
    as the record in the run folder has it."""
    adapted: dict[tuple[Shots, str], list[tuple[Any, Any]]] = {}
    lead = ours(cell["row"]["method"] for cell in cells)
    for row in (cell["row"] for cell in cells if cell["row"]["method"] == lead):
        path = run.folder.prompt(Key(row["target"], lead, row["shots"], row["seed"]).name.replace("/", "-"))
        seeds = adapted.setdefault((row["shots"], row["target"]), [])
        if path.is_file():
            tensors = load_prompt(path, run.backbone).tensors
            seeds.append((tensors["u"][0].numpy(), tensors["v"][0].numpy()))
    u, v = metaprompt.tensors["u"].numpy(), metaprompt.tensors["v"].numpy()
    record = run.folder.path / "transfer.json"
    before = read_json(record) if record.is_file() else ()
    return transfer(dict(zip(metaprompt.header.tasks, zip(u, v, strict=True), strict=True)), adapted, compared, before)


def _all_metrics(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Every metric of a cell, the n2c2 script's among them, beside what names the cell."""
    names = ("target", "method", "shots", "seed")
    return {**{name: cell["row"][name] for name in names}, "values": cell["metrics"]}


def _worked_examples(run: Run, cells: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """For each public target a few test examples with every method's output (first seed, most shots).

    Where mpdd was run, one that it gets right and others that it does not; else the first ones.
    """
    shown: dict[str, list[dict[str, Any]]] = {}
    for target in run.targets:
        examples = run.tasks[target]
        target_cells = [cell for cell in cells if cell["row"]["target"] == target]
        if not all(cell["outputs"] for cell in target_cells):  # a user's own task, or cells that were published without texts
            continue
        chosen = {method: target_cells[place] for method, place in at_most_shots([cell["row"] for cell in target_cells]).items()}
        lead = ours(chosen)
        counts = chosen[lead]["counts"] if lead in chosen else None
        shown[target] = [
            {
                "id": e.id,
                "input": render_input(examples.task.card, e),
                "gold": render_target(examples.task.card, e),
                "predictions": {method: cell["outputs"][e.id] for method, cell in chosen.items()},
            }
            for e in instructive_examples(examples.task.card, examples.test, counts, EXAMPLES_SHOWN)
        ]
    return shown
