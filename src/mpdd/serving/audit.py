"""The audit log: one line of JSON a request, each with the sha256 of the line before, so that edits and gaps are found.

Requests that are refused before they are looked at (without a known token, too many at once) have no line each: once a minute
one line says how many there were, so that nobody without a token can fill the disk.

It has lengths, names and hashes, never text. The last line has no line after it: that it was changed, or that lines are
missing at the end, is found only by who kept `AuditLog.head` elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mpdd.errors import InputError

_FIRST = "0" * 64
_START = b'{"time": "'  # of every first line
_TAIL = 2**20  # bytes read on opening; far longer than a line
_EVERY = 60.0  # seconds between lines about refused requests


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

    def __init__(self, path: Path, *, fsync: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._lock, self._fsync, self._clock = path.absolute(), threading.Lock(), fsync, clock
        self._refused: Counter[tuple[str, int]] = Counter()  # by caller and status, since the last line about them
        self._last_line_at = float("-inf")  # when that was
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
        """Write one line. Raises `InputError` where it cannot be written, another program changed the file's length, or the
        file was moved or removed."""
        with self._lock:
            self._write(asdict(entry))

    def count(self, when: str, caller: str, outcome: int) -> None:
        """Count a request that was refused with this status; at most once a minute a line says how many there were.

        `when` is the UTC time (ISO), `caller` "" without a known token. Raises `InputError` as `append` does.
        """
        with self._lock:
            self._refused[caller, outcome] += 1
            if self._clock() - self._last_line_at >= _EVERY:
                self._write_refused(when)

    def close(self, when: str = "") -> None:
        """Let the file go; no line can be appended after that. Refusals that no line counts get theirs, with the time `when`."""
        with self._lock:
            if self._file >= 0:
                with contextlib.suppress(InputError):
                    self._write_refused(when)
                os.close(self._file)
            self._file = -1

    def _write_refused(self, when: str) -> None:
        if not self._refused:
            return
        counts = [[caller, outcome, count] for (caller, outcome), count in sorted(self._refused.items())]
        self._last_line_at = self._clock()
        self._write({"time": when, "refused": counts})
        self._refused.clear()

    def _write(self, values: Mapping[str, object]) -> None:
        line = json.dumps({**values, "previous": self.head}).encode()  # ASCII, so that no name can fail to be encoded
        data = line + b"\n"
        try:
            if not self._is_in_place():
                raise InputError(f"The audit log {self._path} was moved or removed", wanted="a restart, or the file in its place")
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

    def _is_in_place(self) -> bool:
        """Whether the open file is still the one at the path."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except FileNotFoundError:
            return False


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
    entry = {field.name for field in fields(Entry)} | {"previous"}
    kinds = (entry, {"time", "refused", "previous"}, {"torn", "previous"})
    return values if isinstance(values, dict) and values.keys() in kinds else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
