"""What follows from an experiment before anything runs: sizes, shares, steps. Time and memory: `rehearsal`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpdd.backbone import compute
from mpdd.backbone.model import Backbone
from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.experiment.config import Experiment
from mpdd.experiment.shape import Shape, calculated
from mpdd.methods.registry import UNTRAINED, WITHOUT_EXAMPLES


def facts(experiment: Experiment, shape: Shape | None = None) -> dict[str, Any]:
    """Check names and shapes and return every derived number; with a `shape`, for that one, without loading the backbone.

    Raises `InputError` for names or shapes that do not fit.
    """
    require_tasks(experiment)
    rows = {"rows": "not known", "rows_because": "a trial needs the weights"}
    if shape is None:
        backbone = compute.load_backbone(experiment.backbone, template=experiment.template, **experiment.compute.model_dump())
        require_room(experiment, backbone)
        shape, rows = Shape.of(backbone), backbone.rows_path
    length, rank = experiment.prompt.length, experiment.prompt.rank
    width = shape.width * (shape.depth if experiment.prompt.depth == "all" else 1)
    factors = rank * (length + width)
    trained = {
        "prompt-tuning": (experiment.adapt.prompt_tuning_length or length) * shape.width,
        "mpdd": factors,
        "mpdd-full": factors + length * width,
        "metaprompt (all sources)": length * width + factors * len(experiment.sources),
    }
    cells = len(experiment.targets) * len(experiment.shots) * len(experiment.seeds)
    methods = [m for m in experiment.methods if m not in UNTRAINED]
    adapt_steps = cells * len(methods) * experiment.adapt.steps_of(len(experiment.adapt.mpdd))
    teach_steps = len(experiment.sources) * len(experiment.teach.lrs) * experiment.teach.steps
    distil_steps = experiment.distil.steps if experiment.sources else 0
    return {
        "experiment": experiment.name,
        "backbone": {
            "name": experiment.backbone,
            "fingerprint": shape.fingerprint,
            "parameters": shape.parameters,
            "width": shape.width,
            "context": shape.context,
            **rows,
        },
        "trainable": {
            name: {"parameters": n, "percent": round(100 * n / shape.parameters, 5), "bytes_fp32": 4 * n}
            for name, n in trained.items()
        },
        "steps": {"teach": teach_steps, "distil": distil_steps, "adapt": adapt_steps},
        "examples_trained_on": teach_steps * experiment.teach.batch_size
        + distil_steps * experiment.distil.batch_size
        + adapt_steps * experiment.adapt.batch_size,
        "tuning_trials_per_method": len(experiment.adapt.mpdd),
        "cells": sum(len(experiment.targets) if m in WITHOUT_EXAMPLES else cells for m in experiment.methods),
        "context_left_for_text": shape.context - length,
    }


def facts_from_config(experiment: Experiment, config: Path, *, tokens: int, tflops: float) -> dict[str, Any]:
    """The facts for the model of a `config.json`, and what it will need by arithmetic: see `mpdd.experiment.shape.calculated`."""
    shape = Shape.of_config(config)
    experiment_facts = facts(experiment, shape)
    trained = max(numbers["parameters"] for numbers in experiment_facts["trainable"].values())
    needs = calculated(experiment, shape, trained, experiment_facts["examples_trained_on"], tokens=tokens, tflops=tflops)
    return {**experiment_facts, "calculated": needs}


def require_tasks(experiment: Experiment) -> None:
    """Raise one `InputError` for all names of the experiment that are no tasks, with near names; or for the same task twice.

    Two cards may name one task, and paths may be written in several ways.
    """
    problems, task_names = [], []
    for name in (*experiment.sources, *experiment.targets):
        try:
            task_names.append(catalogue.get(name).name)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(" ".join(problems))
    if twice := [name for name in dict.fromkeys(task_names) if task_names.count(name) > 1]:
        raise InputError(
            "Several sources or targets of the experiment have the same name",
            found=", ".join(twice),
            wanted="each task once, and no target among the sources",
        )


def require_room(experiment: Experiment, backbone: Backbone) -> None:
    """Raise `InputError` where the prompt is longer than the context or its rank above the backbone's width."""
    shape = experiment.prompt
    problems = [
        *(
            [f"prompt.length {shape.length} leaves no room in a context of {backbone.context}"]
            * (shape.length >= backbone.context)
        ),
        *(["prompt.depth all needs a model that keeps its layers in a list"] * (shape.depth == "all" and not backbone.layers)),
        *([f"prompt.rank {shape.rank} is above the width {backbone.width}"] * (shape.rank > backbone.width)),
    ]
    if problems:
        raise InputError(f"The experiment does not fit the backbone {experiment.backbone}", found=" and ".join(problems))
