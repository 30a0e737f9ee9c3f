"""The splits of the catalogue's tasks, kept as Arrow files: a second load takes milliseconds.

A file's name carries a digest of all that its splits follow from: the pinned hashes of the task's files, the source of
`mpdd.data` and the Python version; so a stale file is never read. The upstream files were verified when it was written
and are not looked at again. It ends with the sha256 of the rest; a damaged file counts as none. `MPDD_CACHE` names the
folder; where it cannot be written nothing is kept.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from mpdd.data.store import registry
from mpdd.data.task import Splits, Task
from mpdd.errors import MpddError
from mpdd.files import write_atomically

SOURCE = Path(__file__).parent
_BEGAN = time.time_ns()
_DIGEST_BYTES = 32


def cache_root() -> Path:
    """Return the cache's folder: `MPDD_CACHE`, else `mpdd-splits` in the platform's cache folder; it may not exist yet."""
    if chosen := os.environ.get("MPDD_CACHE"):
        return Path(os.path.expanduser(chosen))
    import platformdirs

    return Path(platformdirs.user_cache_dir("mpdd-splits"))


def place(task: Task) -> Path | None:
    """Return where a task's splits are kept; None for what is not kept: a user's own task, and one without pinned files.

    None as well once the source has changed under the running process, which then has code that its digest is not of.
    """
    source = tuple((path, path.stat().st_mtime_ns) for path in sorted(SOURCE.rglob("*.py")))
    if task.role == "user" or not task.files or any(changed > _BEGAN for _, changed in source):
        return None
    pinned = "".join(f"{file}\t{registry()[file].sha256}\n" for file in task.files)
    key = hashlib.sha256(f"{platform.python_version()}\n{_digest(source)}\n{pinned}".encode()).hexdigest()
    return cache_root() / f"{task.name}-{key[:32]}.arrow"


def cached(task: Task) -> Splits | None:
    """Return a task's splits, or None if they are not in the cache or damaged."""
    path = place(task)
    try:
        content = path.read_bytes() if path else b""
    except OSError:
        return None
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if not body or hashlib.sha256(body).digest() != digest:
        return None
    import pyarrow as pa

    from mpdd.data.columns import unpack

    with suppress(pa.ArrowException):  # another build of Arrow, without the compression
        table = pa.ipc.open_stream(body).read_next_batch()
        splits: Splits = unpack(table.to_struct_array(), Splits)[0]
        return splits
    return None


def keep(task: Task, splits: Splits) -> None:
    """Keep a task's splits, in place of those of former versions, if that can be done."""
    path = place(task)
    if path is None:
        return
    import pyarrow as pa

    from mpdd.data.columns import pack

    batch, sink = pa.RecordBatch.from_struct_array(pack([splits], Splits)), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_batch(batch)
    body = sink.getvalue().to_pybytes()
    with suppress(MpddError, OSError):
        write_atomically(path, body + hashlib.sha256(body).digest())
        for former in set(path.parent.glob(f"{task.name}-*.arrow")) - {path}:
            former.unlink()


@cache
def _digest(source: tuple[tuple[Path, int], ...]) -> str:
    """The sha256 over all files of the source; the times only tell its states apart."""
    total = hashlib.sha256()
    for path, _ in source:
        total.update(f"{path.relative_to(SOURCE).as_posix()}\n".encode() + path.read_bytes())
    return total.hexdigest()
