"""One job at a time in one place: locks that the operating system lets go when a process ends, however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mpdd.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]


_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # from file systems that have none


@contextmanager
def held(path: Path, busy: InputError, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path` within; raise `busy` where another process has it.

    Any number of processes may hold it `shared`, but not beside one that has it alone. The file is made, and taken away again
    by the last one; what a killed process left behind is no lock. Raises `OSError` where it cannot be made.
    """
    descriptor = _open(path)
    try:
        if not _lock(descriptor, shared):
            raise busy
        if not _is_there(descriptor, path):  # another process has ended just now, and taken the file away
            with held(path, busy, shared=shared):
                yield
            return
        try:
            yield
        finally:
            if not shared or _lock(descriptor, shared=False):  # nobody else has it
                with suppress(OSError):
                    path.unlink()
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)


def _lock(descriptor: int, shared: bool) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
