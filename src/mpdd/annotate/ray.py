"""Answers more notes than one process can: Parquet in, Parquet out, by workers of a Ray cluster that share the work.

The output is a folder of Parquet files, with one row for each note and task under the key (`id`, `task`, `prompt`,
`backbone`): note id, task, digest of the prompt file, fingerprint of the backbone. Workers read their notes from the input
themselves, so that no text passes through Ray's object store, and each part of the work is one file that appears whole or
not at all, under a name that follows from its keys: a part that is done twice is still there once. What is there already
is not asked again, so a job that stopped goes on, and further notes or prompts are added to a folder. A later job may cut
its parts otherwise, so workers that outlive their job are waited for, and one that only starts then writes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pyarrow
from pyarrow import parquet

from mpdd.annotate.note_files import is_missing, note_of, shown
from mpdd.annotate.notes import answer_notes, require_inputs
from mpdd.errors import InputError, MpddError, in_words
from mpdd.files import cannot_write, write_atomically
from mpdd.inference.decoding import GROUNDED
from mpdd.inference.engines import Engine, open_engine
from mpdd.prompts.store import PromptFile, require_backbone, task_card

PART = 64  # notes of a part at most: what a killed worker has to do again
DECODING = ".decoding"  # whether the answers in a folder are grounded
WORKERS = ".workers"  # the file that workers hold, with the name of the job that they are to work for
PATIENCE = 60.0  # seconds for the workers of a killed job to end
KEY = ("id", "task", "prompt", "backbone")
SCHEMA = pyarrow.schema([(name, pyarrow.string()) for name in (*KEY, "result")])
# A cluster that starts here sends no statistics to Ray's makers.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True)
class Work:
    """What every worker needs to know: which prompts, where the notes and the backbone are, where answers go."""

    prompts: Sequence[PromptFile]
    output: Path
    backbone: str
    engine: str = ""
    grounded: bool | None = None  # see `open_engine`
    job: str = ""  # which run of the command it is

    def key(self, note: str, prompt: PromptFile) -> tuple[str, str, str, str]:
        """Of the row with a note's answer for a prompt's task."""
        return note, task_card(prompt).name, prompt.header.digest, prompt.header.fingerprint


@dataclass(frozen=True)
class Group:
    """The notes of one row group of a file: their ids, and how many stand before them in the file."""

    file: str
    number: int
    before: int
    ids: Sequence[str]


@dataclass(frozen=True)
class Part:
    """Rows of one row group of one input file, to be asked for some of the prompts (by index)."""

    file: str
    group: int
    before: int
    rows: tuple[int, ...]
    prompts: tuple[int, ...]

    @property
    def answers(self) -> int:
        """How many rows of output it comes to."""
        return len(self.rows) * len(self.prompts)


@dataclass(frozen=True)
class Tally:
    """Answers made now, and those that were there before."""

    answered: int
    before: int


def annotate(
    work: Work, notes: Path, *, workers: int, address: str = "", tick: Callable[[int], object] = lambda _: None
) -> Tally:
    """Answer every note of a Parquet file, or of a folder of them, that the output has no answer of yet.

    With an `address` the Ray cluster there does it (`auto`: the one that this machine belongs to); without, `workers`
    processes here. Notes, prompts, backbone and output must be at the same paths for all workers. Calls `tick(n)` for every n
    answers. Raises `InputError` for notes without an id or with the same one twice, and `MpddError` where a worker fails.
    """
    if notes.is_dir() and work.output.resolve() == notes.resolve():
        raise InputError(f"The output {work.output.name} is the folder of the notes", wanted="another --output")
    if len({prompt.header.digest for prompt in work.prompts}) < len(work.prompts):
        raise InputError("The same prompt was given twice", wanted="different prompt files")
    with _alone_in(work.output) as job:
        work = replace(work, job=job)
        _require_same_decoding(work)
        answered_before = set(_keys(work.output))
        parts, before = _missing(work, _groups(notes), answered_before)
        answered = 0
        tick(before)
        if parts:
            with redirect_stdout(sys.stderr):  # Ray says there, too, that a worker is gone
                for report in _run(work, parts, workers, address):
                    if report["error"]:
                        raise MpddError(f"{report['error']} Answers so far are kept; the same command goes on with the rest.")
                    answered += report["answers"]
                    tick(report["answers"])
    return Tally(answered, before)


def count(notes: Path) -> int:
    """How many notes there are. Raises as `annotate` does."""
    return sum(len(group.ids) for group in _groups(notes))


def read_answers(output: Path) -> list[dict[str, Any]]:
    """All rows of an output folder, with `result` as what `mpdd predict` gives for a note and task."""
    tables = [parquet.read_table(path, schema=SCHEMA) for path in sorted(output.glob("part-*.parquet"))]
    return [{**row, "result": json.loads(row["result"])} for table in tables for row in table.to_pylist()]


class Worker:
    """One process of the cluster, with a backbone of its own (or the vLLM server that all ask)."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.engine: Engine | None = None
        self.lock = _lock(work.output / WORKERS, exclusive=False)  # until this process ends
        if self.lock.read() != work.job:
            raise MpddError("The job of this worker was killed, and another one has begun.")

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a part (as JSON) and write its file; what went wrong, in words without text of a note."""
        part = Part(**json.loads(row["part"]))
        try:
            self._answer(part)
        except MpddError as error:
            return {"answers": 0, "error": str(error)}
        except Exception as error:  # its own words might hold text of a note
            return {"answers": 0, "error": f"A worker failed with {type(error).__name__}."}
        return {"answers": part.answers, "error": ""}

    def _answer(self, part: Part) -> None:
        engine = self.engine = self.engine or _opened(self.work)
        prompts, file = [self.work.prompts[i] for i in part.prompts], Path(part.file)
        table = _group(part.file, part.group).take(part.rows)
        notes = [note_of(file, part.before + row + 1, values) for row, values in zip(part.rows, table.to_pylist(), strict=True)]
        require_inputs(prompts, notes)
        keys = [self.work.key(note.id, prompt) for note in notes for prompt in prompts]
        results = [json.dumps(result, ensure_ascii=False) for result in answer_notes(engine, prompts, notes)]
        columns = [*zip(*keys, strict=True), results]
        answers = pyarrow.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA)
        written = BytesIO()
        parquet.write_table(answers, written, compression="zstd")
        name = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:24]
        write_atomically(self.work.output / f"part-{name}.parquet", written.getvalue())


def _opened(work: Work) -> Engine:
    engine = open_engine(work.backbone, work.engine, patience=float("inf"), grounded=work.grounded)
    for prompt in work.prompts:
        require_backbone(prompt.path.name, prompt.header, engine.vocabulary)
        engine.require_prompt(prompt)
    return engine


@lru_cache(maxsize=1)  # parts come in order, so the next is mostly of the same row group
def _group(file: str, group: int) -> pyarrow.Table:
    return parquet.ParquetFile(file).read_row_group(group)


def _run(work: Work, parts: Sequence[Part], workers: int, address: str) -> Iterator[dict[str, Any]]:
    """What workers say of every part, in the order in which they are done."""
    os.environ.update(ENVIRONMENT)
    try:
        ray: Any = import_module("ray")  # whose types would not let a class be mapped
        data: Any = import_module("ray.data")
    except ImportError as error:
        raise MpddError("Several workers need Ray; `pip install 'mpdd[ray]'` brings it.") from error
    here = {"address": address} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(**here, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise MpddError(f"No Ray cluster answers at {address}; `ray start --head` starts one.") from error
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data.DataContext.get_current().enable_progress_bars = False
        gpus = min(1.0, ray.cluster_resources().get("GPU", 0) / workers)
        jobs = data.from_items([{"part": json.dumps(asdict(part))} for part in parts], override_num_blocks=min(len(parts), 1000))
        pool = data.ActorPoolStrategy(size=workers)
        done = jobs.map(Worker, fn_constructor_args=(work,), compute=pool, num_cpus=1, num_gpus=gpus)
        yield from done.iter_rows()
    finally:
        ray.shutdown()


def _require_same_decoding(work: Work) -> None:
    """Write down how the answers of an output folder are decoded; raise `InputError` where those that it holds are not so."""
    grounded = not work.engine and (GROUNDED if work.grounded is None else work.grounded)
    path = work.output / DECODING
    earlier = json.loads(path.read_text()) if path.is_file() else None
    if earlier is None and any(work.output.glob("part-*.parquet")):
        earlier = {"grounded": False}  # by a version that could not ground them
    if earlier not in (None, {"grounded": grounded}):
        raise InputError(
            f"The output {work.output.name} holds answers that are decoded otherwise",
            found="free answers" if grounded else "grounded answers", wanted="one kind in a folder",
            next_step=f"Add --{'free' if grounded else 'grounded'}, or choose another --output.",
        )  # fmt: skip
    write_atomically(path, json.dumps({"grounded": grounded}).encode())


def _missing(work: Work, groups: Iterator[Group], answered_before: set[tuple[str, ...]]) -> tuple[list[Part], int]:
    """Parts for all answers that are not there, and how many are."""
    parts, there = [], 0
    for group in groups:
        wanted: dict[tuple[int, ...], list[int]] = {}
        for row, note in enumerate(group.ids):
            lacking = tuple(i for i, prompt in enumerate(work.prompts) if work.key(note, prompt) not in answered_before)
            there += len(work.prompts) - len(lacking)
            if lacking:
                wanted.setdefault(lacking, []).append(row)
        for prompts, rows in wanted.items():
            cut = [tuple(rows[at : at + PART]) for at in range(0, len(rows), PART)]
            parts += [Part(group.file, group.number, group.before, chosen, prompts) for chosen in cut]
    return parts, there


def _groups(notes: Path) -> Iterator[Group]:
    """All row groups of all files. Raises `InputError` for what cannot be told apart."""
    files = sorted(notes.glob("*.parquet")) if notes.is_dir() else [notes]
    if not files or not all(file.is_file() for file in files):
        raise InputError("There are no such notes", found=str(notes), wanted="a Parquet file, or a folder of them")
    seen: set[str] = set()
    for file in files:
        try:
            table = parquet.ParquetFile(file)
        except (ValueError, OSError) as error:
            raise InputError(f"{file.name} cannot be read as parquet", found=in_words(error)) from error
        missing = [name for name in ("id", "text") if name not in table.schema_arrow.names]
        if missing:
            raise InputError(f"{file.name} lacks a column", found=f"no {' and no '.join(missing)}", wanted="columns id and text")
        before = 0
        for number in range(table.num_row_groups):
            given = table.read_row_group(number, columns=["id"])["id"].to_pylist()
            ids = [shown(value) for value in given if not is_missing(value)]
            without, twice = len(given) - len(ids), len(ids) - len(set(ids)) + len(seen.intersection(ids))
            if without or twice:
                problem = f"{without} without an id" if without else f"{twice} with the id of another"
                raise InputError(
                    f"Notes of {file.name} cannot be told apart", found=problem, wanted="an id of its own for each note"
                )
            seen.update(ids)
            yield Group(str(file.resolve()), number, before, ids)
            before += len(ids)


def _keys(output: Path) -> Iterator[tuple[str, ...]]:
    """Of all rows in the output."""
    for path in sorted(output.glob("part-*.parquet")):
        try:
            table = parquet.read_table(path, columns=list(KEY))
        except (ValueError, OSError) as error:
            raise InputError(
                f"{path.name} in the output cannot be read",
                found=in_words(error),
                next_step="Delete it, and it is made again.",
            ) from error
        yield from zip(*(table[name].to_pylist() for name in KEY), strict=True)


@contextmanager
def _alone_in(output: Path) -> Iterator[str]:
    """One job at a time writes to a folder; gives its name. A killed one holds it until the last of its workers is gone."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with _lock(output / ".job", exclusive=True):
            job = secrets.token_hex(8)
            with _lock(output / WORKERS, exclusive=True, patience=PATIENCE) as workers:
                workers.truncate()
                workers.write(job)
            for left in output.glob(".part-*"):
                left.unlink()  # of a worker that was killed while it wrote
            yield job
    except BlockingIOError as error:
        raise InputError(f"Another job is writing to {output}", wanted="one at a time, or another --output") from error
    except OSError as error:
        if isinstance(error, PermissionError | FileExistsError | NotADirectoryError) or error.errno == errno.EROFS:
            raise cannot_write(output, error) from error
        raise


def _lock(path: Path, *, exclusive: bool, patience: float = 0) -> IO[str]:
    """An open file, at its start, that is locked until it is closed.

    Raises `BlockingIOError` where others hold it for `patience` seconds.
    """
    import fcntl

    path.touch()
    file, until = path.open("r+"), time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= until:
                file.close()
                raise
            time.sleep(0.2)
