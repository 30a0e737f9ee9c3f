"""What texts share, by the benchmark's rule, and sources kept apart from what the targets test on.

The rule: two texts overlap if they share 13 words in a row; a word is a run of a-z and 0-9 in the lower-cased text.
Shorter texts share nothing by this rule, and the parts of an example are never joined.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from mpdd.data.readers.base import Notes
from mpdd.data.task import Example, Splits

RUN = 13
_WORD = re.compile(r"[a-z0-9]+")
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\[nrt]")


def words(text: str) -> list[str]:
    """Return the lower-cased words; JSON escapes count as blanks, so that raw files compare with what they hold."""
    return _WORD.findall(_ESCAPE.sub(" ", text).lower())


def runs(tokens: Sequence[str], length: int = RUN) -> Iterator[int]:
    """Yield a hash for each run of `length` words; hashes compare within one process only."""
    return (hash(tuple(tokens[i : i + length])) for i in range(len(tokens) - length + 1))


def example_runs(example: Example) -> set[int]:
    """Return the runs of an example's input (text, fields, choices) and of its answer, each part by itself."""
    parts = (example.text, *(value for _, value in example.fields), *example.choices, example.gold.text)
    return {run for part in parts for run in runs(words(part))}


def folder_runs(root: Path, folders: Iterable[str]) -> set[int]:
    """Return every run in every file of these folders of a data store, but for readmes and licences."""
    return {run for folder in folders for text in _raw_texts(root / folder) for run in runs(words(text))}


@dataclass(frozen=True)
class Held:
    """What the tests of targets hold: their document ids, and the runs of their examples."""

    documents: Set[str] = frozenset()
    runs: Set[int] = frozenset()

    @classmethod
    def by(cls, examples: Iterable[Example]) -> Held:
        """Return what `examples` hold."""
        listed = list(examples)
        return cls({e.document for e in listed}, {run for e in listed for run in example_runs(e)})


NOTHING = Held()


def without(splits: Splits, held: Held) -> Splits:
    """Return the splits, train and dev without the examples that share a document or a run with `held`, drops noted.

    Document ids carry their origin (`pmid:`, `cord:` and so on), so that those of different tasks compare.
    """
    notes = Notes(counts=Counter(splits.notes))
    train, dev = (_apart(split, splits[split], held, notes) for split in ("train", "dev"))
    return replace(splits, train=train, dev=dev, notes=dict(sorted(notes.counts.items())))


def _apart(split: str, examples: Sequence[Example], held: Held, notes: Notes) -> tuple[Example, ...]:
    clean = []
    for example in examples:
        if example.document in held.documents:
            notes.count(f"{split}: examples of a document that a target tests on")
        elif held.runs and not held.runs.isdisjoint(example_runs(example)):
            notes.count(f"{split}: examples that share {RUN} words in a row with a target's test")
        else:
            clean.append(example)
    return tuple(clean)


def _raw_texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".xlsx":
            import openpyxl

            sheets = openpyxl.load_workbook(path, read_only=True).worksheets
            yield from (str(cell) for sheet in sheets for row in sheet.iter_rows(values_only=True) for cell in row if cell)
        elif path.is_file() and not path.name.lower().startswith(("readme", "licen")):
            yield path.read_text(encoding="utf-8", errors="replace")
