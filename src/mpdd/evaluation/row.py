"""One row of `results.json`: what was run, what it scored, what it cost; and the names that it may use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from mpdd.errors import InputError
from mpdd.methods import registry as methods

METHODS = tuple(methods.METHODS)  # their names, in the order of tables
OURS = ("mpdd", "mpdd-full")  # the first that a run has speaks for it
HEADLINES: Mapping[str, tuple[str, ...]] = {  # a task's is the first of them that it has
    "ner": ("strict_f1",),
    "re": ("strict_f1",),
    "qa": ("accuracy", "token_f1"),  # by form: choice; extractive and free
    "nli": ("macro_f1",),
    "summarization": ("rougeL",),
    "classification": ("micro_f1", "macro_f1"),  # multiple; single
}
TASK_TYPES = tuple(HEADLINES)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One score of one method on one target, with its cost; `docs/results_schema.md` gives every field's unit.

    Raise `InputError` naming every field that does not fit.
    """

    method: str
    backbone: str
    backbone_parameters: int
    target: str
    task_type: str
    shots: int | Literal["all"]
    seed: int | Literal["all"]
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n_examples: int
    chance: float
    unparseable: float
    trainable_parameters: int
    trainable_fraction: float
    stored_bytes: int
    train_examples_seen: int
    train_seconds: float
    tuning_trials: int

    def __post_init__(self) -> None:
        """Check every field and make numbers that are not counts floats."""
        if problems := [f"{name} = {getattr(self, name)!r} ({wanted})" for name, wanted in _problems(self)]:
            raise InputError("A result row does not fit", found="; ".join(problems), next_step=SEE_SCHEMA)
        for name in (*_PERCENTAGES, "trainable_fraction", "train_seconds"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        """Build a row from JSON values; raise `InputError` naming the unknown, missing and unfit fields."""
        names = {field.name for field in fields(cls)}
        unknown, missing = sorted(set(values) - names), sorted(names - set(values))
        if unknown or missing:
            raise InputError("A result row has wrong fields", found=f"unknown {unknown}, missing {missing}")
        return cls(**values)


SEE_SCHEMA = "See docs/results_schema.md."
_TEXTS = ("method", "backbone", "target", "task_type", "metric")
_WHOLE = (
    "backbone_parameters",
    "n_examples",
    "trainable_parameters",
    "stored_bytes",
    "train_examples_seen",
    "tuning_trials",
)
_PERCENTAGES = ("value", "ci_low", "ci_high", "chance", "unparseable")
_Test = Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_between(low: float, high: float) -> _Test:
    def test(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return test


def _is_whole_or_all(value: Any) -> bool:
    return _is_whole(value) or value == "all"


_TESTS: dict[str, tuple[_Test, str]] = {
    **dict.fromkeys(_TEXTS, (lambda value: isinstance(value, str) and value != "", "a text")),
    **dict.fromkeys(_WHOLE, (_is_whole, "a whole number, 0 or more")),
    **dict.fromkeys(_PERCENTAGES, (_is_between(0, 100), "a number from 0 to 100")),
    "method": (lambda value: value in METHODS, f"one of {', '.join(METHODS)}"),
    "task_type": (lambda value: value in TASK_TYPES, f"one of {', '.join(TASK_TYPES)}"),
    "shots": (_is_whole_or_all, 'a whole number or "all"'),
    "seed": (_is_whole_or_all, 'a whole number or "all"'),
    "trainable_fraction": (_is_between(0, 1), "a number from 0 to 1"),
    "train_seconds": (_is_between(0, float(2**53)), "a number, 0 or more"),
}


def _problems(row: Row) -> list[tuple[str, str]]:
    problems = [(name, wanted) for name, (test, wanted) in _TESTS.items() if not test(getattr(row, name))]
    if not problems and row.ci_low > row.ci_high:
        problems = [("ci_low", f"at most ci_high = {row.ci_high}")]
    return problems


def row_order(row: Row) -> tuple[Any, ...]:
    """Where a row stands; "all" comes after every number, a task's headline metric before the others."""
    headlines = HEADLINES[row.task_type]
    return (
        row.backbone,
        TASK_TYPES.index(row.task_type),
        row.target,
        after_numbers(row.shots),
        METHODS.index(row.method),
        headlines.index(row.metric) if row.metric in headlines else len(headlines),
        row.metric,
        after_numbers(row.seed),
    )


def ours(present: Iterable[str]) -> str:
    """The form of our own method that speaks for a run with these methods; `mpdd` where there is none."""
    among = set(present)
    return next((name for name in OURS if name in among), OURS[0])


def after_numbers(value: int | Literal["all"]) -> float:
    """Return a sort key that puts "all" last."""
    return math.inf if value == "all" else value
