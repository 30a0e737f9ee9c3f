"""The folder of one run: its configuration, finished units, checkpoints, metrics and provenance.

A unit is finished when its file is there; every file is written whole. So a killed run goes on where it was, and several
processes can make parts of one run: all share the units, and each has a log and a provenance of its own until these are
taken into the run's.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any

import torch

from mpdd import __version__
from mpdd.backbone.model import Backbone
from mpdd.errors import InputError
from mpdd.evaluation.records import former_names
from mpdd.experiment import config
from mpdd.experiment.config import Experiment
from mpdd.files import write_atomically
from mpdd.files.locks import held
from mpdd.files.shard import Shard
from mpdd.training.tune import Watch

METRICS, PROVENANCE, LOCK = "metrics.jsonl", "provenance.json", ".lock"
# What the files of a run must have, whatever else is in them.
_CELL: Mapping[str, type] = {"row": dict}
_STEP: Mapping[str, type | UnionType] = {"run": str, "step": int | float}
_PROVENANCE: Mapping[str, type] = {"data_sha256": dict, "backbone": dict}


class RunFolder:
    """Opens or continues the run of `experiment` in `path`; `InputError` if another experiment's run is there.

    A run may be continued with other methods, shots and further seeds: its cells do not depend on each other. With a
    `shard` this process makes that part of them, beside others in the same folder.
    """

    def __init__(self, path: Path, experiment: Experiment, shard: Shard | None = None) -> None:
        self.path = path
        self._shard = shard
        resolved = config.to_toml(experiment).encode()
        written = path / "config.toml"
        if written.is_file() and written.read_bytes() != resolved and self._has_work() and not _continues(experiment, written):
            raise InputError(
                f"The folder {path} holds a run with another configuration",
                wanted="the same configuration to resume, but for methods, shots and further seeds",
                next_step="Choose another folder with --out, or delete this one.",
            )
        self._require_writable()
        write_atomically(written, resolved)
        self._log_file = path / (shard.of(METRICS) if shard else METRICS)
        self._metrics, self._cut = _read_metrics(self._log_file)

    def prompt(self, name: str) -> Path:
        """Where the prompt file `name` lies."""
        return prompt_in(self.path, name)

    def watch(self, unit: str, tick: Callable[[], object], **labels: str | int | Callable[[str], str]) -> Watch:
        """Checkpoint, log and tick for one training unit; each job's metrics carry `labels`, or what these say of it."""
        checkpoint = self.path / "checkpoints" / f"{unit.replace('/', '--')}.safetensors"

        def log(job: str, values: Mapping[str, Any]) -> None:
            values_of_labels = {name: label(job) if callable(label) else label for name, label in labels.items()}
            self._log({"run": f"{unit}/{job}", **values_of_labels, **values})

        return Watch(checkpoint, log, tick)

    def forget(self, name: str) -> None:
        """Take the finished unit `name` away, if it is there, so that it is made anew."""
        self._unit(name).unlink(missing_ok=True)

    def _unit(self, name: str) -> Path:
        return _unit_in(self.path, name)

    def finished(self, name: str) -> dict[str, Any] | None:
        """The unit `name`, if it is finished."""
        return finished_in(self.path, name)

    def unit(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The finished unit `name`, made first if need be."""
        path = self._unit(name)
        if not path.is_file():
            write_atomically(path, json.dumps(make(), indent=1).encode())
        return _read_json(path, path.read_bytes(), **_CELL)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the run."""
        write_atomically(self.path / name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Write `provenance.json`; `InputError` if the folder's work was made from other data or another backbone.

        The configuration names a card, a backbone's folder and the like, but what lies there may have changed. A part of a
        run has a file of its own, and leaves that of the run's earlier work as it is.
        """
        path = self.path / PROVENANCE
        before = _read_json(path, path.read_bytes(), **_PROVENANCE) if path.is_file() and self._has_work() else {}
        if before:
            earlier_hashes = before["data_sha256"]
            changed = [name for name, digest in provenance["data_sha256"].items() if earlier_hashes.get(name) != digest]
            if provenance["backbone"]["fingerprint"] != before["backbone"]["fingerprint"]:
                changed.append("the backbone")
            if changed:
                raise InputError(
                    f"The folder {self.path} holds a run on other data, or on another backbone",
                    found=f"changed since: {', '.join(changed)}",
                    wanted="the same cards, data and backbone to resume",
                    next_step="Choose another folder with --out, or delete this one.",
                )
        if self._shard:
            self.write_json(self._shard.of(PROVENANCE), {"parts": [str(self._shard)], **_what_made(provenance)})
        if not (self._shard and before):
            self.write_json(PROVENANCE, {**provenance, **{name: before[name] for name in ("parts",) if name in before}})

    def take_in_parts(self) -> None:
        """Take what parts of the run have logged, and what made them, into the run's own files, and theirs away."""
        logs, provenances = (sorted(self.path.glob(name)) for name in ("metrics-*-of-*.jsonl", "provenance-*-of-*.json"))
        for log in logs:
            self._metrics |= {key: row for key, row in _read_metrics(log)[0].items() if key not in self._metrics}
        if logs:
            self._write_log()
        if provenances:
            path = self.path / PROVENANCE
            whole = _read_json(path, path.read_bytes())
            parts = [*whole.get("parts", ()), *(_read_json(file, file.read_bytes()) for file in provenances)]
            self.write_json(PROVENANCE, {**whole, "parts": _together(parts)})
        for path in (*logs, *provenances):
            path.unlink()

    def note_commits(self, cells: Sequence[Mapping[str, Any]]) -> None:
        """Write into `provenance.json` how many cells were made at which commit; "not kept" for cells that do not say."""
        path = self.path / PROVENANCE
        commits = Counter(str(cell.get("commit", "not kept")) for cell in cells)
        self.write_json(PROVENANCE, {**_read_json(path, path.read_bytes()), "cells": dict(commits.most_common())})

    def _log(self, values: Mapping[str, Any]) -> None:
        """Add a line to the log, where each (run, step) has one: steps that are made again take their line's place."""
        key = (values["run"], values["step"])
        again = key in self._metrics
        self._metrics[key] = dict(values)
        if again or self._cut:
            self._write_log()
        else:
            with self._log_file.open("ab") as log:
                log.write(_line(values).encode())

    def _write_log(self) -> None:
        write_atomically(self._log_file, "".join(map(_line, self._metrics.values())).encode())
        self._cut = False

    def _has_work(self) -> bool:
        """Whether the run got as far as training: before that, an experiment file may still be corrected."""
        return any(any(self.path.glob(name)) for name in ("checkpoints", "prompts", "cells", "metrics*.jsonl"))

    def _require_writable(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise _cannot_write_to(self.path, error) from error


@contextmanager
def alone_in(path: Path, shard: Shard | None = None) -> Iterator[None]:
    """Keep other runs out of the run folder at `path` within; with a `shard`, those that are no other part of this run.

    Raises `InputError` where another process works there, or where the folder cannot be written. A folder that was made for this
    and is still empty at the end is taken away again.
    """
    busy = InputError(
        f"Another process works in the run folder {path}", wanted="one run at a time in a folder",
        next_step="Wait for its end, or choose another folder with --out.",
    )  # fmt: skip
    is_new = not path.exists()
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
            with ExitStack() as locks:
                locks.enter_context(held(path / LOCK, busy, shared=shard is not None))
                if shard:
                    locks.enter_context(held(path / shard.of(LOCK), busy))
                run_locks = locks.pop_all()
        except OSError as error:
            raise _cannot_write_to(path, error) from error
        with run_locks:
            yield
    finally:
        if is_new:
            with suppress(OSError):
                path.rmdir()


def _cannot_write_to(path: Path, error: OSError) -> InputError:
    return InputError(f"Cannot write to the run folder {path}", found=error.strerror, wanted="a writable folder")


def prompt_in(path: Path, name: str) -> Path:
    """Where the prompt file `name` lies in the run folder at `path`."""
    return path / "prompts" / f"{name}.safetensors"


def finished_in(path: Path, name: str) -> dict[str, Any] | None:
    """The unit `name` of the run folder at `path`, if it is finished."""
    file = _unit_in(path, name)
    return _read_json(file, file.read_bytes(), **_CELL) if file.is_file() else None


def _unit_in(path: Path, name: str) -> Path:
    return path / "cells" / f"{name.replace('/', '--')}.json"


def _continues(experiment: Experiment, written: Path) -> bool:
    """Whether the run of a configuration file differs in nothing but which cells are made."""
    try:
        before = config.read_written(written)
    except InputError:
        return False
    if "mpdd" in former_names(written.parent):  # its cells of that name are another method's
        return False
    return _alike(experiment) == _alike(before)


def _alike(experiment: Experiment) -> Experiment:
    """The experiment as all that it shares between cells; sources are taught with the first seed."""
    return experiment.model_copy(update={"methods": (), "shots": (), "seeds": experiment.seeds[:1]})


def _read_metrics(path: Path) -> tuple[dict[tuple[str, int], dict[str, Any]], bool]:
    """What is logged, and whether a killed process left half a line at its end."""
    *lines, rest = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    rows = [_read_json(path, line, **_STEP) for line in lines]
    return {(row["run"], row["step"]): row for row in rows}, bool(rest)


def _what_made(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What may differ between parts of one run."""
    return {
        **{name: provenance[name] for name in ("mpdd_version", "commit", "machine")},
        "dtype": provenance["backbone"]["dtype"],
    }


def _together(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One record for all parts that were made by the same."""
    by_content: dict[str, dict[str, Any]] = {}
    for part in parts:
        same = json.dumps({**part, "parts": None}, sort_keys=True)
        before = by_content.get(same, {}).get("parts", [])
        by_content[same] = {**part, "parts": list(dict.fromkeys([*before, *part["parts"]]))}
    return list(by_content.values())


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values) + "\n"


def _read_json(path: Path, text: bytes, **required: type | UnionType) -> dict[str, Any]:
    """The object in a file of a run; `InputError` where it is none, or lacks what is required, of that type."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not all(isinstance(values.get(name), kind) for name, kind in required.items()):
        raise InputError(f"{path} is damaged", next_step="Delete it; the same command makes it anew.")
    return values


def provenance(experiment: Experiment, backbone: Backbone, files: Mapping[str, str], command: str) -> dict[str, Any]:
    """What made a run: code, backbone, seeds, data hashes, machine. No path of the user's and no text."""
    return {
        "command": command,
        "mpdd_version": __version__,
        "commit": commit(),
        "seeds": list(experiment.seeds),
        "data": _origin(files),
        "backbone": {
            "name": Path(experiment.backbone).name,
            "fingerprint": backbone.fingerprint,
            "parameters": backbone.parameters,
            "dtype": str(backbone.model.dtype).removeprefix("torch."),
            "quantize": experiment.compute.quantize,
            **backbone.rows_path,
        },
        "data_sha256": dict(files),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cores": os.cpu_count(),
            "device": str(backbone.device),
        },
    }


def _origin(files: Mapping[str, str]) -> str:
    if any(name.startswith("own/") for name in files):
        return "own"
    return "public" if files else "synthetic"


@cache
def commit() -> str:
    """The commit of the checkout this package runs from, `+` when it has changes, or `unknown`; as at the first call, when the
    code was read."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", here, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed.strip() else "")
