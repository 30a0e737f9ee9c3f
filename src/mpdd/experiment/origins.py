"""What each method of a comparison has from the sources, made where it is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from mpdd.data import catalogue
from mpdd.experiment.config import Experiment
from mpdd.experiment.folder import prompt_in
from mpdd.experiment.setup import Run
from mpdd.experiment.sources import (
    adapter_name,
    adapter_of_sources,
    distil_sources,
    distils,
    metaprompt_for,
    metaprompt_of,
    teach_sources,
)
from mpdd.methods.registry import ALONE, METHODS, MULTITASK, ORIGIN
from mpdd.prompts.store import PromptFile

_TAUGHT = frozenset(("metaprompt", "metaprompt-shared"))  # what is distilled from the teachers


@dataclass(frozen=True)
class Origin:
    """What a method has from the sources."""

    meta: PromptFile | None = None
    teachers: Mapping[str, PromptFile] = field(default_factory=dict)
    adapter: Mapping[str, Tensor] = field(default_factory=dict)


def origins(run: Run, methods: Sequence[str], metaprompt: PromptFile | None) -> dict[str, Origin]:
    """What each method starts from, made now unless it is there."""
    wanted = {METHODS[method].starts_from for method in methods}
    shared = "metaprompt-shared" in wanted and not run.folder.prompt("metaprompt-shared").is_file()
    asked = "teachers" in wanted or (shared and distils(run.experiment))
    teachers = teach_sources(run) if asked else {}
    return {method: _origin(run, method, metaprompt, teachers) for method in methods}


def prepare(run: Run) -> None:
    """Make all that the cells of the experiment start from: the metaprompt, and what single methods have from the sources."""
    methods = run.experiment.methods
    alone = set(methods) <= ALONE  # then the metaprompt is wanted for itself
    origins(run, methods, metaprompt_of(run) if alone else metaprompt_for(run, methods))


def not_prepared(experiment: Experiment, path: Path) -> list[str]:
    """The names of what `prepare` makes of the sources that are not in the run folder at `path`."""
    methods = set(experiment.methods)
    if not experiment.sources or not methods - ALONE:
        return []
    names = ["metaprompt"] * bool(methods - ALONE - set(MULTITASK))
    names += [name for method, name in ORIGIN.items() if method in methods]
    names += [adapter_name(method) for method in MULTITASK if method in methods]
    missing = [name for name in names if not prompt_in(path, name).is_file()]
    from_teachers = any(METHODS[method].starts_from == "teachers" for method in methods)
    if from_teachers or (distils(experiment) and _TAUGHT.intersection(missing)):
        teachers = [f"teacher-{catalogue.get(source).name}" for source in experiment.sources]
        missing = [*(name for name in teachers if not prompt_in(path, name).is_file()), *missing]
    return missing


def _origin(run: Run, method: str, metaprompt: PromptFile | None, teachers: Mapping[str, PromptFile]) -> Origin:
    """What `method` starts from, made now unless it is there."""
    if method in MULTITASK:
        return Origin(metaprompt, adapter=adapter_of_sources(run, method))
    if method in ORIGIN:
        return Origin(distil_sources(run, teachers, ORIGIN[method]))
    return Origin(metaprompt, teachers)
