"""A small experiment on real data with a tiny random backbone, run by the real program in processes of its own.

Most of these are forked from one that has imported torch (`processes.py`); of every documented command one is a new Python.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import tomli_w

from tests.conftest import make_model
from tests.e2e.processes import Forked

MIRROR = Path(os.environ.get("MPDD_MIRROR") or Path(__file__).resolve().parents[3] / "shared" / "data")
RATES = {"prompt_tuning": [0.02], "mpdd": [0.02], "lora": [0.002]}
EXPERIMENT = {
    "name": "small",
    "sources": ["bc5cdr_ner", "scifact", "medqa"],
    "targets": ["ncbi_disease", "rqe", "meqsum"],
    "methods": ["zero-shot", "prompt-tuning", "lora", "mpdd-zero-shot", "mpdd", "mpdd-full", "mpdd-no-teachers"],
    "shots": [8],
    "limits": {"train": 12, "dev": 4, "test": 4},
    "prompt": {"length": 4, "rank": 2},
    "teach": {"steps": 4, "batch_size": 2, "every": 1, "lrs": [0.02, 0.1]},
    "distil": {"steps": 6, "batch_size": 4, "every": 1},
    "adapt": {"steps": 4, "batch_size": 2, "every": 2, **RATES},
}


@dataclass(frozen=True)
class World:
    """An experiment file with its backbone, and how to run `mpdd` on it."""

    folder: Path

    @property
    def backbone(self) -> Path:
        return self.folder / "backbone"

    @property
    def experiment(self) -> Path:
        return self.folder / "small.toml"

    @property
    def environment(self) -> dict[str, str]:
        """One thread makes a process quick beside others, and the same sums come out the same."""
        return {**os.environ, "OMP_NUM_THREADS": "1", "MPDD_MIRROR": str(MIRROR)}

    def start(self, *arguments: object, **environment: str) -> Forked:
        """Start `mpdd` in a process of its own, forked from one that has its imports; with more in its environment."""
        return Forked(list(map(str, arguments)), self.folder, self.environment | environment)

    def start_python(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Start Python anew with `-m mpdd`, imports and all, as a user's shell does; with more in its environment."""
        command = [sys.executable, "-m", "mpdd", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment | environment, text=True, **pipes)

    def run(self, *arguments: object, python: bool = False) -> tuple[str, str]:
        """Run `mpdd` to its good end, in a forked process or in a new Python, and return what it printed."""
        process = (self.start_python if python else self.start)(*arguments)
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        return out, err


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    if not MIRROR.is_dir():
        pytest.skip("no real data: ../shared/data is absent and MPDD_MIRROR is not set")
    made = World(tmp_path_factory.mktemp("world"))
    make_model(made.backbone, seed=0, context=768)
    made.experiment.write_text(tomli_w.dumps(EXPERIMENT | {"backbone": str(made.backbone)}), encoding="utf-8")
    return made


@dataclass(frozen=True)
class Finished:
    """An unbroken run: its folder, what it printed, and the backbone's files as they were before it."""

    folder: Path
    out: str
    err: str
    backbone_before: dict[str, bytes]


@pytest.fixture(scope="session")
def finished(world) -> Finished:
    before = contents(world.backbone)
    out, err = world.run("run", world.experiment, "--out", "unbroken", python=True)
    return Finished(world.folder / "unbroken", out, err, before)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@contextmanager
def serving(world: World, *arguments: object, python: bool = False) -> Iterator[tuple[Forked | subprocess.Popen[str], str, str]]:
    """A server that is ready, as a process with its address and the token of its run; it is gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = (world.start_python if python else world.start)("serve", *arguments, "--port", port)
    try:
        line = process.stderr.readline() if isinstance(process, subprocess.Popen) else process.first_line()
        token, url = line.removeprefix("Token for this run: ").strip(), f"http://127.0.0.1:{port}/"
        until = time.monotonic() + 300
        while not _is_ready(url):
            assert process.poll() is None and time.monotonic() < until, process.communicate(timeout=60)
            time.sleep(0.1)
        yield process, url, token
    finally:
        process.kill()
        process.communicate()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}health/ready").status_code == 200
    except httpx.TransportError:
        return False
