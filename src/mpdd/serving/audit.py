"""The audit log: one line of JSON a request, each with the sha256 of the line before, so that edits and gaps are found.

It has lengths, names and hashes, never text. That lines are missing at its end is found only by who kept `AuditLog.head`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mpdd.errors import InputError

_FIRST = "0" * 64


@dataclass(frozen=True)
class Entry:
    """A request: UTC time (ISO), token's name, route, tasks and their prompts' digests, backbone's fingerprint, length of the
    text in characters, HTTP status, seconds."""

    time: str
    caller: str
    route: str
    tasks: tuple[str, ...]
    prompts: tuple[str, ...]
    backbone: str
    characters: int
    outcome: int
    seconds: float
    request_id: str


class AuditLog:
    """Appends to the log at `path`, one process at a time; several threads may share it.

    A line that a crash left unfinished is closed and marked as torn. With `fsync` a line is on the disk before `append` returns.
    Raises `InputError` where the file is no audit log, or another process has it.
    """

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self._lock, self._fsync = threading.Lock(), fsync
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise InputError(f"Another process writes the audit log {path}", wanted="one server for each log") from None
        except OSError as error:
            raise InputError(f"The audit log {path} cannot be written", found=error.strerror) from error
        whole, torn = _tail(path)
        if whole and _problem(whole):
            os.close(self._file)
            raise InputError(f"{path} is no audit log", wanted="a file that mpdd wrote, or a new one")
        if torn:
            os.write(self._file, b"\n")
        self.head = _hash(torn or whole) if torn or whole else _FIRST
        if torn and _problem(torn):
            self._write({"torn": True})

    def append(self, entry: Entry) -> None:
        """Write one line."""
        self._write(asdict(entry))

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)

    def _write(self, values: Mapping[str, object]) -> None:
        with self._lock:
            line = json.dumps({**values, "previous": self.head}, ensure_ascii=False).encode()
            os.write(self._file, line + b"\n")
            if self._fsync:
                os.fsync(self._file)
            self.head = _hash(line)


def verify(path: Path) -> int:
    """Walk the whole chain and return the number of its lines; `InputError` names the first line that does not fit."""
    head, number, torn = _FIRST, 0, False
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):  # noqa: B007  also after the loop
            bare = line.removesuffix(b"\n")
            values = _parsed(bare)
            if torn and (values is None or "torn" not in values):
                raise _unfit(path, number - 1)
            if values is not None and (_problem(bare) or values["previous"] != head or ("torn" in values) != torn):
                raise _unfit(path, number)
            torn, head = values is None, _hash(bare)
    if torn:
        raise _unfit(path, number)
    return number


def _unfit(path: Path, number: int) -> InputError:
    return InputError(f"The chain of {path.name} is broken", found=f"line {number}", wanted="the line that was written there")


def _problem(line: bytes) -> bool:
    """Whether this is no line of an audit log."""
    values = _parsed(line)
    wanted = {field.name for field in fields(Entry)} | {"previous"}
    return values is None or (set(values) != wanted and values.keys() != {"torn", "previous"})


def _parsed(line: bytes) -> dict[str, object] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and isinstance(values.get("previous"), str) else None


def _tail(path: Path) -> tuple[bytes, bytes]:
    """The last whole line, and what stands behind it unfinished."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**20))
        lines = file.read().split(b"\n")
    return (lines[-2] if len(lines) > 1 else b""), lines[-1]


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
