"""The audit log: one line of JSON a request, each with the sha256 of the line before, so that edits and gaps are found.

It has lengths, names and hashes, never text. The last line has no line after it: that it was changed, or that lines are
missing at the end, is found only by who kept `AuditLog.head` elsewhere.
"""

from __future__ import annotations

import errno
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
_START = b'{"time": "'  # of every first line
_TAIL = 2**20  # bytes read on opening; far longer than a line


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
    """Appends to the log at `path`, one process at a time; several threads may share it. `head` is the sha256 of its last line.

    What a crash left of an unfinished line is cut off, and a line {"torn": true} stands in its place. With `fsync` a line is on
    the disk before `append` returns. Raises `InputError` where the file is no audit log, or another process has it.
    """

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self._path, self._lock, self._fsync = path, threading.Lock(), fsync
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise _cannot_write(path, error) from error
        try:
            self._continue()
        except BaseException:
            os.close(self._file)
            raise

    def _continue(self) -> None:
        """Take the file and its last whole line as the head; put a mark in place of an unfinished one."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end = os.lseek(self._file, 0, os.SEEK_END)
            *lines, rest = os.pread(self._file, _TAIL, max(0, end - _TAIL)).split(b"\n")
            if not (_parsed(lines[-1]) if lines else _START.startswith(rest[: len(_START)])):
                raise InputError(f"{self._path} is no audit log", wanted="a file that mpdd wrote, or a new one")
            lacks_newline_alone = _parsed(rest) is not None
            if lacks_newline_alone:
                os.write(self._file, b"\n")
                lines.append(rest)
            elif rest:
                os.ftruncate(self._file, end - len(rest))
            self._end = os.lseek(self._file, 0, os.SEEK_END)
        except BlockingIOError:
            raise InputError(f"Another process writes the audit log {self._path}", wanted="one server for each log") from None
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        self.head = _hash(lines[-1]) if lines else _FIRST
        if rest and not lacks_newline_alone:
            self._write({"torn": True})

    def append(self, entry: Entry) -> None:
        """Write one line. Raises `InputError` where it cannot be written, or another program changed the file's length."""
        with self._lock:
            self._write(asdict(entry))

    def close(self) -> None:
        """Let the file go; no line can be appended after that."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _write(self, values: Mapping[str, object]) -> None:
        line = json.dumps({**values, "previous": self.head}).encode()  # ASCII, so that no name can fail to be encoded
        data = line + b"\n"
        try:
            if os.lseek(self._file, 0, os.SEEK_END) != self._end:
                raise InputError(f"The audit log {self._path} has another length than was written", wanted="a restart")
            if os.write(self._file, data) < len(data):  # a full disk
                os.ftruncate(self._file, self._end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.head, self._end = _hash(line), self._end + len(data)
            if self._fsync:
                os.fsync(self._file)
        except OSError as error:
            raise _cannot_write(self._path, error) from error


def verify(path: Path, head: str | None = None) -> int:
    """Walk the whole chain and return the number of its lines; `InputError` names the first line that does not fit.

    `head`: an `AuditLog.head` that was kept; the chain must contain that line, so that nothing up to it was cut off or changed.
    """
    previous, number, seen = _FIRST, 0, head in (None, _FIRST)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):  # noqa: B007  also after the loop
                bare = line.removesuffix(b"\n")
                values = _parsed(bare)
                if values is None or values["previous"] != previous:
                    raise InputError(
                        f"The chain of {path.name} is broken", found=f"line {number}", wanted="the line written there"
                    )
                previous = _hash(bare)
                seen = seen or previous == head
    except OSError as error:
        raise InputError(f"The audit log {path} cannot be read", found=error.strerror) from error
    if not seen:
        raise InputError(f"{path.name} does not contain the line of this head", found=f"{number} lines", wanted="that line too")
    return number


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"The audit log {path} cannot be written", found=error.strerror)


def _parsed(line: bytes) -> dict[str, object] | None:
    """The values of a line of an audit log; None for anything else."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kinds = ({field.name for field in fields(Entry)} | {"previous"}, {"torn", "previous"})
    return values if isinstance(values, dict) and values.keys() in kinds else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
