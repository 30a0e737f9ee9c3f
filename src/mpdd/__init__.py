"""Multitask prompt distillation and decomposition for clinical language tasks.

The names below are the Python API; docs/python.md shows them. Importing this package loads none of them before they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpdd.annotate.annotator import Annotator, open_backbone
    from mpdd.annotate.answers.types import AnnotatedNote, Entity, Relation, Span, TaskAnswer
    from mpdd.annotate.convert import read_answers, write_notes
    from mpdd.api.adaptation import Adapted, adapt
    from mpdd.api.hub import push_to_folder
    from mpdd.api.pipeline import pipeline
    from mpdd.api.prompts import load_prompts, ready_prompts, save_prompt
    from mpdd.api.scoring import evaluate
    from mpdd.data.task import TaskCard
    from mpdd.errors import InputError, MpddError
    from mpdd.experiment.pipeline import run_experiment

__version__ = "0.1.0"
_MODULES = {
    "annotate.answers.types": ("AnnotatedNote", "Entity", "Relation", "Span", "TaskAnswer"),
    "api.adaptation": ("Adapted", "adapt"),
    "annotate.annotator": ("Annotator", "open_backbone"),
    "api.hub": ("push_to_folder",),
    "api.pipeline": ("pipeline",),
    "api.prompts": ("load_prompts", "ready_prompts", "save_prompt"),
    "api.scoring": ("evaluate",),
    "annotate.convert": ("read_answers", "write_notes"),
    "experiment.pipeline": ("run_experiment",),
    "data.task": ("TaskCard",),
    "errors": ("InputError", "MpddError"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [
    "Adapted", "AnnotatedNote", "Annotator", "Entity", "InputError", "MpddError", "Relation", "Span", "TaskAnswer", "TaskCard",
    "adapt", "evaluate", "load_prompts", "open_backbone", "pipeline", "push_to_folder", "read_answers", "ready_prompts",
    "run_experiment", "save_prompt", "write_notes",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a name of the API when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
