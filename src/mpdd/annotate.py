"""Answers a file of notes for many tasks into a JSON-lines file, in blocks: a stopped job goes on where it was.

While a job runs its lines are in a hidden file beside the output, and beside that what the job is made from; the output
appears whole at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mpdd.engines import Engine
from mpdd.errors import InputError
from mpdd.files import cannot_write, write_atomically
from mpdd.notes import Note, answer_notes, require_inputs
from mpdd.prompts.store import PromptFile

BLOCK = 64  # notes between two moments at which a stopped job can go on


def annotate(
    engine: Engine, prompts: Sequence[PromptFile], notes: Sequence[Note], output: Path, *, tick: Callable[[int], object]
) -> int:
    """Write one line for each note and task, in order, to `output`; return how many notes an earlier try had answered.

    Calls `tick(n)` for every n notes that are done. Raises `InputError` where a note lacks an input, where the
    output cannot be written, or where a stopped job of other notes, prompts or backbone left its lines beside it.
    """
    require_inputs(prompts, notes)
    if output.is_dir():
        raise InputError("Cannot write the output", found=f"a folder at {output}", wanted="a file that ends in .jsonl")
    lines, about = (output.with_name(f".{output.name}.{ending}") for ending in ("unfinished", "job"))
    done = _resume(lines, about, _job(engine, prompts, notes), output) // len(prompts)
    tick(done)
    try:
        with _from_line(lines, done * len(prompts)) as file:
            for first in range(done, len(notes), BLOCK):
                block = notes[first : first + BLOCK]
                found = answer_notes(engine, prompts, block)
                file.write("".join(json.dumps(result, ensure_ascii=False) + "\n" for result in found).encode())
                file.flush()
                tick(len(block))
        os.replace(lines, output)
        about.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(output, error) from error
    return done


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
    }


def _resume(lines: Path, about: Path, job: dict[str, Any], output: Path) -> int:
    """How many whole lines of this very job are there."""
    if about.is_file():
        if _read(about) != job:
            raise InputError(
                f"Beside {output.name} lies the stopped job of other notes, prompts or another backbone",
                found=lines.name, wanted="the same command to go on with it",
                next_step=f"Choose another --output, or delete {about.name} there.",
            )  # fmt: skip
        return lines.read_bytes().count(b"\n") if lines.is_file() else 0
    with suppress(NotADirectoryError):  # which the next line puts into words
        lines.unlink(missing_ok=True)
    write_atomically(about, json.dumps(job).encode())
    return 0


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def _from_line(path: Path, count: int) -> BinaryIO:
    """The file, cut behind so many lines, to be written on."""
    path.touch()
    file = path.open("r+b")
    for _ in range(count):
        file.readline()
    file.truncate(file.tell())
    return file
