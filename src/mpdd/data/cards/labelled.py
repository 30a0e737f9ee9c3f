"""Reads labelled files of any known format as the examples of a task that is already known, as for scoring a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mpdd.data.cards import formats, losses
from mpdd.data.cards.formats import FORMATS
from mpdd.data.cards.layout import Column, Layout
from mpdd.data.readers.base import NoRecordError, Notes, nothing_left
from mpdd.data.task import Example, TaskCard
from mpdd.errors import InputError


@dataclass(frozen=True)
class Naming:
    """What the files call things: their format (empty: told by content), their columns for ours, their labels for ours.

    `ignore_case` and `headerless` are those of `Layout`.
    """

    format: str = ""
    columns: Mapping[str, Column] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ignore_case: bool = False
    headerless: bool = False


def read_labelled(card: TaskCard, paths: Sequence[Path], naming: Naming | None = None) -> tuple[list[Example], dict[str, int]]:
    """Return the examples of the files, and counts of what was skipped or read in another way, by reason.

    Raise `InputError` for an unknown format, and where the files hold no example or no gold item of this task.
    """
    naming = naming or Naming()
    if naming.format and naming.format not in FORMATS:
        raise InputError("Unknown format", found=naming.format, wanted=f"one of {', '.join(FORMATS)}")
    if missing := [path for path in paths if not path.exists()]:
        raise InputError("There is no such file of labelled data", found=str(missing[0]), wanted="a file or folder")
    layout = Layout(card, naming.columns, naming.labels, naming.ignore_case, naming.headerless)
    notes = Notes()
    try:
        examples = formats.read(naming.format, layout, card.name, paths, notes)
    except NoRecordError as error:
        raise nothing_left(error.what, notes.counts) from error
    if not examples:
        raise nothing_left(f"{paths[0].name} has no usable record", notes.counts)
    losses.require_gold(paths[0].name, layout, examples, notes.lost, "labelled")
    return examples, dict(notes.counts)
