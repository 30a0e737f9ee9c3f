"""All that a run trains, made by several processes side by side on the cores of this machine.

They share the rows of stages 1 and 2 (`backbone.distributed`) and then deal the cells out among them (`parts`). With a small
backbone two processes of one thread each are a little faster than one of two threads (`benchmarks.side_by_side`).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import torch

from mpdd.backbone import distributed
from mpdd.data import catalogue
from mpdd.errors import InputError, MpddError
from mpdd.evaluation.row import Row
from mpdd.experiment.cells import Key, cells_of, row_line
from mpdd.experiment.config import Experiment
from mpdd.experiment.folder import RunFolder
from mpdd.experiment.origins import not_prepared
from mpdd.progress import Reporter

_LOOK = 0.2  # seconds between two looks at the processes
_LAST_WORDS = 20  # seconds for the others to end by themselves, after one has failed


class ProcessError(MpddError):
    """One of the processes failed; the sentence is its own, and so is the exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def suitable() -> int:
    """How many processes a small run is made by: two on two cores and more, as measured; one on a GPU, and where nobody has
    tried two (Windows)."""
    return 1 if torch.cuda.is_available() or os.name != "posix" else min(2, cores())


def make(experiment: Experiment, path: Path, given: Sequence[str], processes: int, reporter: Reporter) -> None:
    """Make all that the run of `experiment` in `path` trains; `mpdd run` then finds it there.

    `given` are the arguments with which `mpdd distil` and `mpdd run` read this experiment and find the folder. Raises
    `InputError` under torchrun and where a GPU would be shared, and `ProcessError` where a process fails, with the others ended.
    """
    if distributed.started() > 1:
        raise InputError("--processes starts processes of its own, and torchrun has started some", wanted="one of the two")
    if torch.cuda.is_available():
        raise InputError(
            "Several processes on the cores of a machine are for machines without a GPU", found=f"--processes {processes}",
            next_step="Leave it out; docs/scaling.md has torchrun, and --shard, for GPUs.",
        )  # fmt: skip
    folder = RunFolder(path, experiment)  # refuses at once what does not fit, and writes config.toml
    if not_prepared(experiment, path):
        _prepare(given, processes)
    cells = cells_of(experiment, [catalogue.get(name).name for name in experiment.targets])
    if missing := [key for key in cells if not folder.finished(key.name)]:
        _deal(missing, folder, given, processes, reporter)


def _prepare(given: Sequence[str], processes: int) -> None:
    """Stages 1 and 2; the first process says on standard error how they go."""
    joined = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    joined["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", loopback)
    with _Processes(processes) as beside:
        for number in range(processes):
            beside.start(["distil", *given], {**joined, "RANK": str(number), "LOCAL_RANK": str(number)}, aloud=number == 0)
        while beside.go_on():
            pass


def _deal(missing: Sequence[Key], folder: RunFolder, given: Sequence[str], processes: int, reporter: Reporter) -> None:
    """Stage 3: each process makes its part of the cells; what is made is said here."""
    reporter.stage(f"Stage 3: {len(missing)} cells by {processes} processes")
    waiting = dict.fromkeys(missing)
    with _Processes(processes) as beside, reporter.job("cells", len(missing)) as tick:
        for number in range(1, processes + 1):
            beside.start(["run", *given, "--shard", f"{number}/{processes}"], {})
        running = True
        while running:
            running = beside.go_on()
            for key in list(waiting):
                if cell := folder.finished(key.name):
                    reporter.say(row_line(Row.from_dict(cell["row"])))
                    del waiting[key]
                    tick(1)


class _Processes:
    """Some processes of `mpdd` that end together: well, or with the first that fails, or with this one."""

    def __init__(self, count: int) -> None:
        self._threads = str(max(1, cores() // count))
        self._running: list[tuple[subprocess.Popen[bytes], IO[bytes] | None]] = []
        self._open = ExitStack()

    def __enter__(self) -> _Processes:
        self._open.enter_context(distributed.told_to_stop(KeyboardInterrupt()))
        return self

    def __exit__(self, *_: object) -> None:
        for process, log in self._running:
            process.terminate() if log else process.kill()  # the one that is heard has nothing to say of it
        try:
            for process, _log in self._running:  # so that they take their copies of the run folder away
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LAST_WORDS)
        finally:
            for process, _log in self._running:
                process.kill()
                process.wait()
            self._open.close()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], *, aloud: bool = False) -> None:
        """Start `mpdd` with some arguments; what it says on standard error is shown if `aloud`, else kept for when it fails."""
        log = None if aloud else self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        polite = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"), "OMP_NUM_THREADS": self._threads}
        command = [sys.executable, "-m", "mpdd", *arguments]
        process = subprocess.Popen(
            command, env={**os.environ, **polite, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            start_new_session=True,  # a Ctrl-C is for this process, which ends the others
        )  # fmt: skip
        self._running.append((process, log))

    def go_on(self) -> bool:
        """Wait a little; whether one is still at work. Raises `ProcessError` where one has failed."""
        time.sleep(_LOOK)
        codes = [process.poll() for process, _ in self._running]
        if any(codes):
            self._fail(next(code for code in codes if code))
        return None in codes

    def _fail(self, code: int) -> None:
        until = time.monotonic() + _LAST_WORDS
        sentences = []
        for process, log in self._running:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
            if process.returncode and (log or process.returncode < 0):  # else it has said so itself
                sentences.append(_sentence(log, process.returncode))
        raise ProcessError(" ".join(dict.fromkeys(filter(None, sentences))), code if code > 0 else 1)


def _sentence(log: IO[bytes] | None, code: int) -> str:
    """What a process that failed said of it; all of it goes to standard error where it was no sentence of ours."""
    output = ""
    if log:
        log.seek(0)
        output = log.read().decode("utf-8", "replace")
    last = output.strip().rpartition("\n")[2]
    if last.startswith("mpdd: "):
        return last.removeprefix("mpdd: ")
    sys.stderr.write(output)
    how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    return f"A process of this run {how}. Start the same command again: it goes on where it was."


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
