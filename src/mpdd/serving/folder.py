"""The tasks that are served: the prompt files of a folder, read anew when the folder changes, while serving."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from mpdd.data.task import TaskCard
from mpdd.errors import MpddError
from mpdd.notes import Confidence
from mpdd.prompts.store import SUFFIX, load
from mpdd.template import Template
from mpdd.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Served:
    """A task with its prompt [length, width] in the backbone's type, the file that it came from with its digest, how sure its
    answers are said to be, and the template that it was trained in."""

    card: TaskCard
    rows: Tensor
    digest: str
    file: str
    confidence: Confidence
    template: Template | None


@dataclass(frozen=True)
class Listing:
    """What a folder holds: tasks by name, and why files were left out."""

    tasks: Mapping[str, Served] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


_Stamp = tuple[tuple[str, int, int], ...]


class PromptFolder:
    """The tasks of `path`, for one backbone. A file is a task from the next look on, and gone when its file is.

    Safe to ask from several threads. Metaprompts may lie beside the tasks that need them. Of two files for one task the
    first by name is served.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        self._path, self._vocabulary = path, vocabulary
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._known: dict[tuple[str, int, int], Served | str] = {}
        self._listing = Listing()

    def look(self) -> Listing:
        """The tasks as they are now; what did not change is not read again."""
        with self._lock:
            stamp = self._stamps()
            if stamp != self._stamp:
                self._known = {one: self._known.get(one) or self._read(one[0]) for one in stamp}
                self._listing, self._stamp = _listing(self._known), stamp
            return self._listing

    def _stamps(self) -> _Stamp:
        found = []
        for path in sorted(self._path.glob(f"*{SUFFIX}")):
            try:
                about = path.stat()
            except OSError:  # gone since it was listed
                continue
            found.append((path.name, about.st_mtime_ns, about.st_size))
        return tuple(found)

    def _read(self, name: str) -> Served | str:
        try:
            file = load(self._path / name, self._vocabulary)
            if file.header.card is None:
                return ""  # a metaprompt: no task, and no problem
            rows = file.rows().to(self._vocabulary.table)
        except MpddError as error:
            return str(error)
        own, usual = file.header.template, self._vocabulary.template
        template = usual if own == usual else own  # one object for all
        return Served(file.header.card, rows, file.header.digest, name, Confidence.of(self._vocabulary, file), template)


def _listing(known: Mapping[tuple[str, int, int], Served | str]) -> Listing:
    tasks: dict[str, Served] = {}
    problems: dict[str, str] = {}
    for (name, _, _), found in known.items():
        if isinstance(found, str):
            problems |= {name: found} if found else {}
        elif found.card.name in tasks:
            problems[name] = f"{name} is left out: {tasks[found.card.name].file} is for the task {found.card.name}, too"
        else:
            tasks[found.card.name] = found
    return Listing(tasks, problems)
