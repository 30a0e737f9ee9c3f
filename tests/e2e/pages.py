"""Runs the bash blocks of a page of the documentation in their order, as a reader would type them.

An `mpdd` in them is the installed command; those of its commands which a test names are forked (`processes.py`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.e2e.processes import Forked

DOCS = Path(__file__).parents[2] / "docs"
# Sends the words of a command through one named pipe, and its exit code comes back through another.
FUNCTION = """mpdd() {
  case "$1" in %s) ;; *) command mpdd "$@"; return ;; esac
  printf '%%s\\0' "$@" > "$MPDD_PIPES/words"
  read -r code < "$MPDD_PIPES/code"
  cat "$MPDD_PIPES/out"; cat "$MPDD_PIPES/err" >&2
  return "$code"
}
"""


def blocks(text: str) -> list[str]:
    """The bash blocks of a page, or of a part of it."""
    return re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run_blocks(scripts: Iterable[str], folder: Path, pipes: Path, forked: Iterable[str] = ("-",)) -> list[str]:
    """Run scripts in a folder to their good ends; give back what each printed. `forked` are first words behind `mpdd`."""
    pipes.mkdir()
    for name in ("words", "code"):
        os.mkfifo(pipes / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "MPDD_PIPES": str(pipes)}
    answering = threading.Thread(target=_answer, args=(folder, pipes, environment))
    answering.start()
    printed = []
    try:
        for script in scripts:
            command = ["bash", "-euo", "pipefail", "-c", FUNCTION % "|".join(forked) + script]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
            printed.append(done.stdout)
    finally:
        (pipes / "words").write_text("")  # the end
        answering.join()
    return printed


def _answer(folder: Path, pipes: Path, environment: Mapping[str, str]) -> None:
    """Run what comes through the pipe, until nothing comes."""
    while words := (pipes / "words").read_text(encoding="utf-8"):
        process = Forked(words.removesuffix("\0").split("\0"), folder, environment)
        for name, text in zip(("out", "err"), process.communicate(), strict=True):
            (pipes / name).write_text(text, encoding="utf-8")
        (pipes / "code").write_text(f"{process.returncode}\n")
