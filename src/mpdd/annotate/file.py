"""Answers a file of notes for many tasks into a JSON-lines file, in blocks: a stopped job goes on where it was.

While a job runs its lines are in a hidden file beside the output, and beside that what the job is made from and the digest of
each finished block; the output appears whole at the end. One job at a time works on an output.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from mpdd.annotate.notes import Note, answer_notes, require_inputs
from mpdd.errors import InputError
from mpdd.files import cannot_write, write_atomically
from mpdd.files.locks import held
from mpdd.inference.engines import Engine
from mpdd.prompts.store import PromptFile, task_card

BLOCK = 64  # notes between two moments at which a stopped job can go on
LONGEST_NAME = 240  # bytes of an output's name: the hidden files beside it have longer ones, and systems take 255


def require_output(
    output: Path, used: Sequence[Path], prompts: Sequence[PromptFile], notes: Sequence[Note], *, force: bool
) -> None:
    """Raise `InputError` where answers must not be written to `output`.

    That is where it is one of the files that are `used` (or a text in a folder of them), or no regular file; and, unless
    `force`, where another file is there than the answers to these very notes and tasks, finished or not.
    """
    if len(os.fsencode(output.name)) > LONGEST_NAME:
        what_is_there = f"{len(os.fsencode(output.name))} bytes"
        raise InputError("The name of the output is too long", found=what_is_there, wanted=f"at most {LONGEST_NAME}")
    try:
        kind = output.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        kind = None
    except OSError as error:
        raise cannot_write(output, error) from error
    _require_unused(output, used)
    if kind is None:
        return
    if not stat.S_ISREG(kind):
        what_is_there = f"{'a folder' if stat.S_ISDIR(kind) else 'a device or a pipe'} at {output}"
        raise InputError("Cannot write the output", found=what_is_there, wanted="a file that ends in .jsonl")
    if not force and not _hidden(output)[1].is_file() and not _answers(output, prompts, notes):
        raise InputError(
            f"{output} is there already, and does not hold answers to these notes and tasks",
            wanted="another --output",
            next_step="With --force it is replaced.",
        )


def _require_unused(output: Path, used: Sequence[Path]) -> None:
    for path in used:
        inside = (
            path.is_dir() and path.resolve() in output.resolve().parents and output.name.lower().endswith((".txt", ".txt.gz"))
        )
        if inside or (output.exists() and path.exists() and output.samefile(path) and path.is_file()):
            what = "a text in a folder that is read" if inside else "a file that is read"
            raise InputError(f"The output {output} would replace {what}", found=str(path), wanted="another --output")


def _answers(output: Path, prompts: Sequence[PromptFile], notes: Sequence[Note]) -> bool:
    """Whether a file holds exactly the answers to these notes and tasks, whatever they are."""
    expected = ((note.id, task_card(prompt).name) for note in notes for prompt in prompts)
    try:
        with output.open("rb") as lines:
            results = map(json.loads, lines)
            return all(_name(result) == name for name, result in zip(expected, results, strict=True))
    except (ValueError, RecursionError):
        return False


def _name(result: Any) -> tuple[Any, Any] | None:
    return (result.get("id"), result.get("task")) if isinstance(result, dict) else None


def annotate(
    engine: Engine, prompts: Sequence[PromptFile], notes: Sequence[Note], output: Path, *, tick: Callable[[int], object]
) -> int:
    """Write one line for each note and task, in order, to `output`; return how many notes an earlier try had answered.

    Calls `tick(n)` for every n notes that are done. Raises `InputError` where a note lacks an input, where the output cannot be
    written or another process writes it, and where the lines that a stopped job left beside it are of other notes, prompts or
    backbone, or were changed since.
    """
    require_inputs(prompts, notes)
    if output.is_dir():
        raise InputError("Cannot write the output", found=f"a folder at {output}", wanted="a file that ends in .jsonl")
    lines, about = _hidden(output)
    blocks = [notes[first : first + BLOCK] for first in range(0, len(notes), BLOCK)]
    with _alone(output):
        sizes = [len(block) * len(prompts) for block in blocks]
        finished = _resume(lines, about, _job(engine, prompts, notes), output, sizes)
        done = sum(map(len, blocks[:finished]))
        tick(done)
        with _from_line(lines, sum(sizes[:finished])) as file, about.open("ab") as digests:
            for block in blocks[finished:]:
                results = answer_notes(engine, prompts, block)
                written = "".join(json.dumps(result, ensure_ascii=False) + "\n" for result in results).encode()
                _write(file, written)
                _write(digests, f"{_digest(written)}\n".encode())
                tick(len(block))
        os.replace(lines, output)
        about.unlink(missing_ok=True)
    return done


def _hidden(output: Path) -> tuple[Path, Path]:
    """The lines of an unfinished job, and what it is made from."""
    return output.with_name(f".{output.name}.unfinished"), output.with_name(f".{output.name}.job")


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the output within; whatever the system refuses to write there is an `InputError`."""
    busy = InputError(f"Another process is writing {output}", wanted="one at a time, or another --output")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with held(output.with_name(f".{output.name}.lock"), busy):
            yield
    except OSError as error:
        raise cannot_write(output, error) from error


def _job(engine: Engine, prompts: Sequence[PromptFile], notes: Sequence[Note]) -> dict[str, Any]:
    """What the lines follow from; hashes alone, no text."""
    digest = hashlib.sha256()
    for note in notes:
        digest.update(json.dumps([note.id, note.text, dict(note.fields), note.choices]).encode())
    return {
        "notes": len(notes),
        "notes_sha256": digest.hexdigest(),
        "prompts": [prompt.header.digest for prompt in prompts],
        "backbone": engine.vocabulary.fingerprint,
        "grounded": engine.grounded,
        "block": BLOCK,
    }


def _resume(lines: Path, about: Path, job: dict[str, Any], output: Path, sizes: Sequence[int]) -> int:
    """How many whole blocks of this very job are there, each of so many lines."""
    if not about.is_file():
        lines.unlink(missing_ok=True)
        write_atomically(about, json.dumps(job).encode() + b"\n")
        return 0
    job_line, *digests = about.read_bytes().split(b"\n")
    digests = digests[:-1]  # what is behind the last line end is nothing, or a torn line
    if _read(job_line) != job:
        raise InputError(
            f"Beside {output.name} lies the stopped job of other notes, prompts or another backbone",
            found=lines.name, wanted="the same command to go on with it",
            next_step=f"Choose another --output, or delete {about.name} there.",
        )  # fmt: skip
    finished = 0
    with lines.open("rb") if lines.is_file() else open(os.devnull, "rb") as file:
        for digest, size in zip(digests, sizes, strict=False):
            block = list(islice(file, size))
            if len(block) < size or not block[-1].endswith(b"\n"):
                break
            if _digest(b"".join(block)) != digest.decode("ascii", "replace"):
                raise InputError(
                    f"The unfinished answers beside {output.name} were changed after they were written",
                    found=f"another digest in lines {sum(sizes[:finished]) + 1} to {sum(sizes[: finished + 1])} of {lines.name}",
                    wanted="lines as they were written",
                    next_step=f"Delete {about.name} there, and all notes are answered anew.",
                )
            finished += 1
    _keep(about, job_line, digests[:finished])
    return finished


def _keep(about: Path, job_line: bytes, digests: Sequence[bytes]) -> None:
    """Write down what the job is made from and the digests of the blocks that are kept."""
    write_atomically(about, b"".join(line + b"\n" for line in (job_line, *digests)))


def _digest(written: bytes) -> str:
    return hashlib.sha256(written).hexdigest()


def _write(file: BinaryIO, content: bytes) -> None:
    """Write so that it is on the disk before anything that is written later."""
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _from_line(path: Path, count: int) -> BinaryIO:
    """The file, cut behind so many lines, to be written on."""
    path.touch()
    file = path.open("r+b")
    for _ in range(count):
        file.readline()
    file.truncate(file.tell())
    return file
