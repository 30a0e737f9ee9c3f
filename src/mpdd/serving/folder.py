"""The tasks that are served: the prompt files of a folder, read anew when the folder changes, while serving."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from mpdd.annotate.notes import Confidence
from mpdd.backbone.template import Template
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.data.task import TaskCard
from mpdd.errors import InputError, MpddError
from mpdd.inference.decoding.priors import Priors
from mpdd.inference.engines import Engine, EngineDownError
from mpdd.prompts import signature
from mpdd.prompts.store import SUFFIX, PromptFile, load_prompt, task_card


@dataclass(frozen=True, slots=True)
class Served:
    """A task with its prompt [length, width] in the backbone's type, the file that it came from with its digest, how sure its
    answers are said to be, the template that it was trained in, and the priors of its answers."""

    card: TaskCard
    rows: Tensor
    digest: str
    file: str
    confidence: Confidence
    template: Template | None
    priors: Priors | None = None


@dataclass(frozen=True)
class Listing:
    """What a folder holds: tasks by name, and why files were left out."""

    tasks: Mapping[str, Served] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Stamp:
    """What tells whether a file is still the one that was read."""

    name: str
    about: tuple[int, ...]  # inode, size, times of the last change of the content and of the file; those of its signature


@dataclass(frozen=True)
class _Read:
    """What came of a file: a task, or a problem; neither for a metaprompt. Factors need the file `beside` them."""

    task: Served | None = None
    problem: str = ""
    beside: _Stamp | None = None
    again: bool = False  # the file itself may be right: reading failed


class Tasks(Protocol):
    """Where the tasks that are served come from."""

    def look(self) -> Listing:
        """The tasks as they are now."""
        ...


class FixedTasks:
    """Prompts that stay as they are while serving, such as those that come with the package."""

    def __init__(self, prompts: Sequence[PromptFile], vocabulary: Vocabulary, engine: Engine | None = None) -> None:
        tasks, problems = {}, {}
        for prompt in prompts:
            try:
                tasks[task_card(prompt).name] = served_as(prompt, vocabulary, engine)
            except InputError as error:
                problems[task_card(prompt).name] = str(error)
        self._listing = Listing(tasks, problems)

    def look(self) -> Listing:
        """The same tasks each time."""
        return self._listing


class PromptFolder:
    """The tasks of `path`, for one backbone. A file is a task from the next look on, and gone when its file is, or the
    metaprompt that its factors need.

    Safe to ask from several threads. Metaprompts may lie beside the tasks that need them. Of two files for one task the
    first by name is served. A file that cannot be used is a problem of its own; the others are served. With `signed_by` only
    files are used that one of these public keys signed; with an `engine` only prompts that it can answer under.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary, signed_by: Sequence[Path] = (), engine: Engine | None = None) -> None:
        self._path, self._vocabulary, self._signed_by, self._engine = path, vocabulary, signed_by, engine
        self._lock = threading.Lock()
        self._stamps: dict[str, _Stamp] | None = None
        self._files: dict[_Stamp, _Read] = {}
        self._listing = Listing()

    def look(self) -> Listing:
        """The tasks as they are now; what did not change is not read again."""
        with self._lock:
            try:
                stamps = self._look_at_files()
            except OSError:  # no descriptor left, say: what was there before is served
                return self._listing
            if stamps != self._stamps:
                before = {stamp: self._files.get(stamp) for stamp in stamps.values()}
                self._files = {
                    stamp: self._still_right(read, stamps) or self._read(stamp, stamps) for stamp, read in before.items()
                }
                is_final = not any(read.again for read in self._files.values())
                self._listing, self._stamps = _listing(self._files), stamps if is_final else None
            return self._listing

    def _look_at_files(self) -> dict[str, _Stamp]:
        stamps = {}
        for path in sorted(self._path.glob(f"*{SUFFIX}")):
            try:
                about = _about(path)
            except OSError:  # gone since it was listed
                continue
            signed = path.with_name(path.name + signature.SUFFIX)
            stamps[path.name] = _Stamp(path.name, (*about, *(_about(signed) if self._signed_by and signed.exists() else ())))
        return stamps

    @staticmethod
    def _still_right(read: _Read | None, stamps: Mapping[str, _Stamp]) -> _Read | None:
        """What was read before, where it is still right; problems are looked at again, as another file may solve them."""
        if read is None or read.problem:
            return None
        return read if read.beside is None or stamps.get(read.beside.name) == read.beside else None

    def _read(self, stamp: _Stamp, stamps: Mapping[str, _Stamp]) -> _Read:
        try:
            return self._task(stamp.name, stamps)
        except MpddError as error:
            return _Read(problem=str(error), again=isinstance(error, EngineDownError) or isinstance(error.__cause__, OSError))
        except Exception as error:  # one file must never stop the others
            return _Read(problem=f"The prompt file {stamp.name} cannot be used ({type(error).__name__}).")

    def _task(self, name: str, stamps: Mapping[str, _Stamp]) -> _Read:
        file = load_prompt(self._path / name, self._vocabulary, signed_by=self._signed_by)
        if file.header.card is None:
            return _Read()  # a metaprompt: no task, and no problem
        beside = file.metaprompt_file()
        return _Read(served_as(file, self._vocabulary, self._engine), beside=stamps.get(beside.name) if beside else None)


def served_as(prompt: PromptFile, vocabulary: Vocabulary, engine: Engine | None = None) -> Served:
    """A task's prompt as it is served, in the backbone's type. Raise `MpddError` for numbers that this type cannot hold, and
    for a prompt that the `engine` cannot answer under."""
    name, template_of_prompt, usual = prompt.path.name, prompt.header.template, vocabulary.template
    if engine is not None:
        engine.require_prompt(prompt)
    rows = prompt.rows().to(vocabulary.table)
    if not bool(rows.isfinite().all()):
        raise MpddError(f"The prompt {name} holds numbers too large for the backbone's type, {rows.dtype}.")
    template = usual if template_of_prompt == usual else template_of_prompt  # one object for all
    confidence, priors = Confidence.of(vocabulary, prompt), Priors.of(prompt.header.priors)
    return Served(task_card(prompt), rows, prompt.header.digest, name, confidence, template, priors)


def _about(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _listing(files: Mapping[_Stamp, _Read]) -> Listing:
    tasks: dict[str, Served] = {}
    problems: dict[str, str] = {}
    for stamp, read in files.items():
        if read.problem:
            problems[stamp.name] = read.problem
        elif read.task is not None and read.task.card.name in tasks:
            name = read.task.card.name
            problems[stamp.name] = f"{stamp.name} is left out: {tasks[name].file} is for the task {name}, too"
        elif read.task is not None:
            tasks[read.task.card.name] = read.task
    return Listing(tasks, problems)
