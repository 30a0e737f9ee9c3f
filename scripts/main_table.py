"""Makes as many cells of a comparison as a time limit allows, by several processes that share one GPU (or a machine's cores):

    python -m scripts.main_table experiments/open31-smollm2.toml --out runs/open31-smollm2 --processes 12 --seconds 570

Each process is `mpdd run --shard I/N`. A cell that is finished stays, so the same command goes on where the last one was ended;
once all cells are there it writes results.json and the report. What the cells start from must be there before: a finished
metaprompt in the experiment, or `mpdd distil`. Exit code 0: the table is whole; 1: a process failed; 2: the experiment does not
fit; 3: cells are missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mpdd.data import catalogue
from mpdd.errors import MpddError
from mpdd.experiment import config
from mpdd.experiment.cells import cells_of
from mpdd.experiment.folder import RunFolder

LAST_SECONDS = 20  # that processes have to end after they are told to
FINAL_SECONDS = 60  # left free for the last command, which writes the table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the processes until they are done or the time is over; return the exit code."""
    options = _parser().parse_args(arguments)
    given = [str(options.experiment), "--out", str(options.out)]
    given += [word for setting in options.set for word in ("--set", setting)]
    began = time.monotonic()
    try:
        _missing(options.experiment, options.out, options.set)
    except MpddError as error:  # what every process would say
        print(f"mpdd: {error}", file=sys.stderr)
        return 2
    codes = _run(given, options.processes, began + options.seconds - FINAL_SECONDS)
    missing = _missing(options.experiment, options.out, options.set)
    print(f"{len(missing)} cells are missing after {time.monotonic() - began:.0f} s", flush=True)
    if any(code > 0 for code in codes):
        print(f"A process failed; its words are in {options.out}/processes/", flush=True)
        return 1
    if missing:
        return 3
    return subprocess.run([sys.executable, "-m", "mpdd", "run", *given], check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make a comparison's cells by several processes within a time limit.")
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=570)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser


def _run(given: Sequence[str], processes: int, until: float) -> list[int]:
    """Start the processes and wait for them, at most until the time `until`; return their exit codes, negative for a signal."""
    logs = Path(given[given.index("--out") + 1]) / "processes"
    logs.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, len(os.sched_getaffinity(0)) // processes))
    environment = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive", **os.environ}
    running = []
    for number in range(1, processes + 1):
        with (logs / f"{number}.log").open("ab") as log:
            command = [sys.executable, "-m", "mpdd", "run", *given, "--shard", f"{number}/{processes}"]
            running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
    while time.monotonic() < until and any(process.poll() is None for process in running):
        time.sleep(0.2)
    for process in running:
        process.terminate()
    return [_ended(process) for process in running]


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process that was told to end; one that does not is killed. 128 + N of a signal counts as the signal."""
    try:
        code = process.wait(LAST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return 128 - code if code > 128 else code


def _missing(experiment: Path, out: Path, settings: Sequence[str]) -> list[str]:
    """The names of the cells that are not finished."""
    read = config.read(experiment, settings)
    folder = RunFolder(out, read)
    names = [key.name for key in cells_of(read, [catalogue.get(name).name for name in read.targets])]
    return [name for name in names if not folder.finished(name)]


if __name__ == "__main__":
    sys.exit(main())
