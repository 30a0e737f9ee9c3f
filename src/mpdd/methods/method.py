"""What a method of the comparison is: its function, its rates, what it starts from, and how the report shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mpdd.methods.cell import Cell, Outcome

Start = Literal[
    "nothing",  # it has nothing from the sources
    "metaprompt",  # of this run, or a finished one
    "metaprompt if any",
    "metaprompt-no-teachers",  # what only the run's own sources give: the names of files in the folder of prompts
    "metaprompt-shared",
    "teachers",
    "lora-of-sources",
    "ia3-of-sources",
]


@dataclass(frozen=True)
class Method:
    """One method. `run` adapts a cell's backbone to its target and answers the test examples.

    `place` orders methods in tables. `note` is one sentence for the report, `family` its colour there. `trains`: a prompt
    tries all its rates in one run, an adapter and the whole backbone one after another. `rates` names the list of `adapt`
    with the rates that are tried, `rates_if_deep` that for a metaprompt with rows before every layer (empty: the same).
    `can_be_private`: what it makes tells of single training examples only through gradients, so that differential privacy can
    bound it.
    """

    name: str
    place: int
    run: Callable[[Cell], Outcome]
    note: str
    family: Literal["untrained", "mpdd", "prompt", "lora", "other"]
    starts_from: Start = "nothing"
    trains: Literal["nothing", "prompt", "adapter", "backbone"] = "nothing"
    uses_examples: bool = True
    rates: str = ""
    rates_if_deep: str = ""
    can_be_private: bool = True


def function(module: str, name: str) -> Callable[[Cell], Outcome]:
    """A function of `mpdd.methods.MODULE`, which is imported when it is first called: the list of methods loads no torch."""

    def run(cell: Cell) -> Outcome:
        outcome: Outcome = getattr(import_module(f"mpdd.methods.{module}"), name)(cell)
        return outcome

    return run
