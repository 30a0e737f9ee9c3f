"""`mpdd` in a process of its own that is forked from one which has imported torch and transformers already.

It has its own memory, working folder, environment and standard streams, takes signals and leaves an exit code, as a newly
started Python does; it only saves the two to four CPU seconds that the imports take in each of a hundred processes.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    "torch", "transformers", "transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama", "peft",
    "rouge_score.rouge_scorer", "mpdd.cli.app", "mpdd.experiment.pipeline", "mpdd.experiment.processes",
    "mpdd.inference.predict", "tests.e2e.processes",
])  # fmt: skip
QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


class Forked:
    """A started `mpdd`, with the methods of `subprocess.Popen` that the tests use. What it prints lies in files."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], module: str = "mpdd.cli") -> None:
        place = Path(tempfile.mkdtemp(prefix="mpdd-forked-"))
        self.out, self.err = place / "out", place / "err"
        self.out.touch()
        self.err.touch()
        given = (arguments, folder, dict(environment), self.out, self.err, module)
        self.process = FORKS.Process(target=run_module, args=given, daemon=True)  # none outlives the tests
        with pytest.MonkeyPatch.context() as patch:  # of the process from which all are forked, where this is the first
            for name, value in (QUIET | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}).items():
                patch.setenv(name, value)
            self.process.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("mpdd", timeout)
        return self.process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8")

    def first_line(self) -> str:
        """The first line on standard error, for which it waits."""
        while "\n" not in (text := self.err.read_text(encoding="utf-8")):
            assert self.poll() is None, text
            time.sleep(0.05)
        return text.partition("\n")[0]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()


def run_module(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path, module: str) -> None:
    """In the forked process: take on folder, environment and streams, and call the `main` of `mpdd.cli` or of a script."""
    from mpdd.experiment import processes

    os.chdir(folder)
    for starter in (processes, import_module(module)):  # what they start as `python -m mpdd`
        if hasattr(starter, "subprocess"):
            starter.subprocess = SimpleNamespace(
                Popen=Child, run=Child.run, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
            )
    _be(module, arguments, environment, *(os.open(path, os.O_WRONLY | os.O_APPEND) for path in (out, err)))


def _be(module: str, arguments: Sequence[str], environment: Mapping[str, str], out: int, err: int) -> None:
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["mpdd", *arguments]
    try:
        sys.exit(import_module(module).main())
    finally:
        sys.stdout.flush()
        atexit._run_exitfuncs()


class Child:
    """Stands in for `subprocess.Popen` where a forked `mpdd` starts others (`--processes`): they are forked in their turn."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], stdout: IO[bytes] | int, stderr: IO[bytes] | None,
        **_options: object,
    ) -> None:  # fmt: skip
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):  # as a new Python has them
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            out = os.open(os.devnull, os.O_WRONLY) if stdout == subprocess.DEVNULL else getattr(stdout, "fileno", lambda: 1)()
            _be("mpdd.cli", command[3:], env, out, stderr.fileno() if stderr else 2)
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 0
        finally:
            os._exit(code)

    @classmethod
    def run(cls, command: Sequence[str], check: bool) -> Child:
        """In place of `subprocess.run`, with the streams of this process."""
        process = cls(command, env=os.environ.copy(), stdout=1, stderr=None)
        process.wait()
        return process

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float = math.inf) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("mpdd", timeout)
            time.sleep(0.02)
        return code

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)
