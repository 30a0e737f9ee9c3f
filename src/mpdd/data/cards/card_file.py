"""A task card as TOML: reads it, and the task of its data. All problems of a card are named at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from mpdd.data import splits
from mpdd.data.cards import formats, losses
from mpdd.data.cards.card_values import CardFile, locate
from mpdd.data.readers import saved_dataset
from mpdd.data.readers.base import NoRecordError, Notes, nothing_left
from mpdd.data.task import SPLITS, Example, Splits, Task
from mpdd.errors import InputError
from mpdd.files.toml import read_toml, validated

SHARES = {"train": 70, "dev": 10, "test": 20}  # per cent of the documents, for the splits that are cut from train
_FEWEST = 2  # documents for each split, on average, so that splits are cut from train at all


def read(path: Path, *, strict: bool | None = None) -> Task:
    """Return the task of a card, whose data is not read before its `load`; `strict` overrides what the card says.

    Raise one `InputError` that lists all problems of the card.
    """
    card_file = build(read_toml(path, "task card"), path.name, path.parent)
    return task(card_file, path, strict)


def build(values: Mapping[str, Any], where: str, folder: Path | None = None) -> CardFile:
    """Check a card's values; with a `folder` also that the data lies there."""
    return validated(CardFile, values, where, {} if folder is None else {"folder": folder})


def task(card_file: CardFile, path: Path, strict: bool | None = None) -> Task:
    """Return the task of a checked card that lies at `path`."""
    source = Source(card_file, path, card_file.data.strict if strict is None else strict)
    as_on_card = Task(card_file.card, "user", (), lambda _: source.load(), card_file.licence, card_file.citation)
    if card_file.type not in ("ner", "re") or card_file.window is not None:
        return as_on_card
    return replace(as_on_card, in_windows=lambda window: task(card_file.model_copy(update={"window": window}), path, strict))


def _shares(examples: Sequence[Example], left_out: Sequence[str]) -> list[int]:
    """Return the shares of train and of what is cut from it; one document each where a share of few would be none."""
    number = len({example.document for example in examples})
    shares = [100 - sum(SHARES[split] for split in left_out), *(SHARES[split] for split in left_out)]
    edges = [number * sum(shares[:count]) // 100 for count in range(len(shares) + 1)]
    if number >= _FEWEST * len(shares) and any(start == end for start, end in pairwise(edges)):
        return [number - len(left_out), *(1 for _ in left_out)]
    return shares


@dataclass(frozen=True)
class Source:
    """The data of a card at `path`; when `strict`, the first bad record is an error."""

    card_file: CardFile
    path: Path
    strict: bool

    def load(self) -> Splits:
        """Read the splits; those that the card leaves out are cut from train by the rule in `splits`."""
        notes = Notes(self.strict)
        parts = {split: tuple(self._read(split, notes)) for split in SPLITS if self._paths(split)}
        left_out = [split for split in SPLITS if split not in parts]
        if left_out:
            shares = _shares(parts["train"], left_out)
            parts |= zip(("train", *left_out), splits.cut(parts["train"], shares), strict=True)
        final = splits.make(parts["train"], parts["dev"], parts["test"], notes)
        for split in SPLITS:
            if not final[split]:
                raise self._empty(split, left_out, parts, notes)
        read = (example for part in parts.values() for example in part)
        used = (example for split in SPLITS for example in final[split])
        return replace(final, losses=losses.by_label(self.card_file.layout("train"), notes, read, used))

    def _paths(self, split: str) -> list[Path]:
        """Return what a split is read from: what the card names, else the split beside that of train in saved datasets."""
        listed, train = (locate(self.path.parent, getattr(self.card_file.data, name)) for name in (split, "train"))
        named = [saved_dataset.split_of(path, split) for path in listed]
        beside = [] if listed else [saved_dataset.splits_in(path) for path in train]
        return named or [splits[split] for splits in beside if split in splits]

    def _read(self, split: str, notes: Notes) -> list[Example]:
        data = self.card_file.data
        corpus, paths = f"{self.card_file.name}:{split}", self._paths(split)
        before, lost = notes.counts.copy(), notes.lost.copy()
        try:
            examples = formats.read(data.format, self.card_file.layout(split), corpus, paths, notes)
        except NoRecordError as error:
            raise nothing_left(error.what, notes.counts - before) from error
        if not examples:
            raise nothing_left(f"{self.path.name}: the {split} data has no usable record", notes.counts - before)
        layout = self.card_file.layout(split)
        losses.require_gold(f"{self.path.name}: the {split} data", layout, examples, notes.lost - lost, split)
        return examples

    def _empty(self, split: str, left_out: Sequence[str], parts: Mapping[str, tuple[Example, ...]], notes: Notes) -> InputError:
        number = len({example.document for part in parts.values() for example in part})
        what, what_there_is = f"{self.path.name}: no {split} example is left", f"{number} documents in all"
        what_there_is += "".join(f", {count} {note}" for note, count in notes.counts.items() if not note.startswith(SPLITS))
        if split not in left_out and parts[split]:
            what_there_is += f", those of {split} in a later split too"
            return InputError(what, found=what_there_is, wanted="documents that no later split holds")
        lacking = split if split in left_out else left_out[-1]
        wanted = f"about ten documents or more to cut {lacking} from train"
        return InputError(what, found=what_there_is, wanted=wanted, next_step=f"Name a file for data.{lacking}.")
