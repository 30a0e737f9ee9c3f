"""The leak audit: what the targets' tests share with the sources' train and dev, and with a backbone's training text.

Everything is counted twice: as found, and as remaining once the rule of `leaks` is applied.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpdd.data import catalogue, leaks, store
from mpdd.data.leaks import Held, example_runs, runs, words
from mpdd.data.task import Example, Splits, Task
from mpdd.errors import InputError, in_words

SCHEMA = 1
TRAINED_ON = ("train", "dev")
Tick = Callable[[int], object]


def _ignore(_: int) -> None:
    pass


@dataclass
class Shared:
    """What some texts share with one target's test: document ids, runs, its examples' numbers, and how many texts."""

    documents: set[str] = field(default_factory=set)
    runs: set[int] = field(default_factory=set)
    test_examples: set[int] = field(default_factory=set)
    texts: int = 0


class Tests:
    """The test examples of targets, as (target, number), by their runs and by their documents."""

    def __init__(self, examples: Mapping[str, Sequence[Example]]) -> None:
        self.runs: dict[int, set[tuple[str, int]]] = defaultdict(set)
        self.documents: dict[str, set[tuple[str, int]]] = defaultdict(set)
        for target, listed in examples.items():
            for number, example in enumerate(listed):
                self.documents[example.document].add((target, number))
                for run in example_runs(example):
                    self.runs[run].add((target, number))


class Tally:
    """Counts what texts share with the tests, as they come."""

    def __init__(self, tests: Tests) -> None:
        self.tests = tests
        self.by_target: dict[str, Shared] = {}

    def add(self, text_runs: Set[int], document: str = "") -> bool:
        """Count one text by its runs and its document's id; say whether it shares anything."""
        touched: set[str] = set()
        for target, number in self.tests.documents.get(document, ()):
            self._shared(target, number, touched).documents.add(document)
        for run in text_runs & self.tests.runs.keys():
            for target, number in self.tests.runs[run]:
                self._shared(target, number, touched).runs.add(run)
        for target in touched:
            self.by_target[target].texts += 1
        return bool(touched)

    def figures(self, target: str) -> dict[str, int]:
        """Return how many documents and runs a target's test shares, with how many of its examples and of the texts."""
        shared = self.by_target.get(target, Shared())
        return {
            "shared_documents": len(shared.documents),
            "shared_runs": len(shared.runs),
            "test_examples": len(shared.test_examples),
            "texts": shared.texts,
        }

    def _shared(self, target: str, number: int, touched: set[str]) -> Shared:
        touched.add(target)
        shared = self.by_target.setdefault(target, Shared())
        shared.test_examples.add(number)
        return shared


def audit(text: Path | None = None, tick: Tick = _ignore) -> dict[str, Any]:
    """Return the audit of the whole catalogue as JSON values, with the hash of the data that it is of.

    `text` is a folder of *.jsonl.xz, the training text of a backbone; `tick` is called for each source and file. Raise
    `InputError` for a folder without such files or with a damaged one; see `catalogue.load` for the data's errors.
    """
    files = text_files(text) if text else []
    tasks = [catalogue.get(name) for name in catalogue.names()]
    tests = {task.name: catalogue.load(task.name).test for task in tasks if task.role == "target"}
    sources = ((task.name, catalogue.load(task.name)) for task in tasks if task.role != "target")
    report = {"schema": SCHEMA, "data_sha256": store.registry_hash(), "rule_words": leaks.RUN}
    report |= audit_sources(sources, tests, tick)
    return report | {"text": audit_text(files, Tests(tests), filter_runs(tasks), tick)} if files else report


def steps(text: Path | None) -> int:
    """Return how many times `audit` ticks."""
    sources = sum(catalogue.get(name).role != "target" for name in catalogue.names())
    return sources + len(text_files(text) if text else ())


def audit_sources(
    sources: Iterable[tuple[str, Splits]], targets: Mapping[str, Sequence[Example]], tick: Tick = _ignore
) -> dict[str, Any]:
    """Return what each source's train and dev share with the targets' tests, by source, and by pair where it is anything.

    Of a source's examples some are `found` to share a run or a document, some are `removed` by `leaks.without`, and
    some are then `remaining`.
    """
    tests, held = Tests(targets), Held.by(e for listed in targets.values() for e in listed)
    rows, pairs = {}, []
    for name, splits in sources:
        before, after, apart = Tally(tests), Tally(tests), leaks.without(splits, held)
        shared, remaining = _count(before, splits), _count(after, apart)
        removed = sum(len(splits[part]) - len(apart[part]) for part in TRAINED_ON)
        rows[name] = {
            "examples": sum(len(splits[part]) for part in TRAINED_ON),
            "found": shared,
            "removed": removed,
            "remaining": remaining,
        }
        pairs += [{"source": name, "target": target, **before.figures(target)} for target in sorted(before.by_target)]
        tick(1)
    return {"tests": {name: len(listed) for name, listed in targets.items()}, "sources": rows, "pairs": pairs}


def audit_text(files: Iterable[Path], tests: Tests, banned: Set[int], tick: Tick = _ignore) -> dict[str, Any]:
    """Return what the documents of a backbone's training text share with the tests, before and after its leak filter.

    The filter drops a document whose text or question has any run out of `banned` (see `filter_runs`).
    """
    before, after, rows = Tally(tests), Tally(tests), {}
    for path in files:
        row = {"documents": 0, "found": 0, "filtered": 0, "remaining": 0}
        for body, title in _documents(path):
            document_runs = set(runs(words(body)))
            filtered = not banned.isdisjoint(document_runs)
            document_runs.update(runs(words(title)))
            row["documents"] += 1
            row["found"] += before.add(document_runs)
            row["filtered"] += filtered
            row["remaining"] += not filtered and after.add(document_runs)
        rows[path.name] = {"sha256": _sha256(path), **row}
        tick(1)
    targets = {name: {"found": before.figures(name), "remaining": after.figures(name)} for name in sorted(before.by_target)}
    return {"files": rows, "targets": targets}


def filter_runs(tasks: Iterable[Task]) -> set[int]:
    """Return the runs of every file beside those that the targets and the spare tasks read, whatever the split."""
    banned: set[int] = set()
    for task in tasks:
        if task.role in ("target", "spare"):
            banned |= leaks.folder_runs(store.fetch(task.files), {file.partition("/")[0] for file in task.files})
    return banned


def text_files(folder: Path) -> list[Path]:
    """Return the *.jsonl.xz of a folder; raise `InputError` if there are none."""
    files = sorted(folder.glob("*.jsonl.xz"))
    if not files:
        raise InputError(f"The folder {folder} holds no training text", wanted="files named *.jsonl.xz")
    return files


def _count(tally: Tally, splits: Splits) -> int:
    return sum(tally.add(example_runs(e), e.document) for part in TRAINED_ON for e in splits[part])


def _documents(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the text (with its question, if any) and the title of each document."""
    try:
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                yield f"{record['text']} {record.get('question', '')}", record.get("title") or record.get("description") or ""
    except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = "JSON lines with a text each, as xz"
        raise InputError(f"{path} cannot be read", found=in_words(error), wanted=wanted) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
