"""Published results: all files of a run in one archive, `results/NAME.tar.xz`, as the run left them.

`results/NAME` stands for the archive as well, so a run folder and published results are read by the same functions. Where
earlier versions had other names for methods, reading puts the present ones.
"""

from __future__ import annotations

import atexit
import io
import json
import lzma
import shutil
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mpdd.errors import InputError, in_words

SUFFIX = ".tar.xz"
# What is published, beside the cells: how the run was made, its rows, and what its report is made of.
RECORDS = (
    "config.toml", "provenance.json", "results.json", "comparisons.json", "failures.json", "metrics.json", "metrics.jsonl",
    "reliability.json", "transfer.json", "attacks.json",
)  # fmt: skip


def archive_of(run: Path) -> Path:
    """The archive of published results: `run` itself, or `run` with the ending of archives."""
    return run if run.name.endswith(SUFFIX) else run.parent / (run.name + SUFFIX)


def name_of(run: Path) -> str:
    """The name of a run folder or of published results."""
    return run.name.removesuffix(SUFFIX)


def is_run(run: Path) -> bool:
    """Whether there are published results, or a run folder with a configuration."""
    return archive_of(run).is_file() or (run / "config.toml").is_file()


def runs_in(folder: Path) -> list[Path]:
    """The runs and archives of published results in a folder, by name."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted((p for p in paths if p.name.endswith(SUFFIX) or (p / "config.toml").is_file()), key=name_of)


def packed(files: Mapping[str, bytes]) -> bytes:
    """The archive of some files by their path in the run folder; the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def unpack(archive: Path, to: Path) -> None:
    """Write what is in an archive into the folder `to`; `InputError` where the archive cannot be read."""
    try:
        with tarfile.open(archive, "r:xz") as files:
            files.extractall(to, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise InputError(
            f"{archive} cannot be unpacked", found=in_words(error), wanted="an archive of published results"
        ) from error


def raw_files(run: Path) -> Path:
    """A folder with all files of a run as they are: `run`, or for published results a temporary copy, unpacked."""
    archive = archive_of(run)
    if (run / "config.toml").is_file() or not archive.is_file():
        return run
    return _unpacked(archive, archive.stat().st_mtime_ns)


def run_files(run: Path) -> Path:
    """A folder with all files of a run, to read from, with the present names of methods; a temporary copy where need be."""
    files = raw_files(run)
    names = former_names(files)
    return _renamed(files, tuple(names.items()), _changed(files)) if names else files


def former_names(folder: Path) -> Mapping[str, str]:
    """The present names of methods by those in a run's files, where they differ.

    Until `mpdd-full` had a name, `mpdd` was that or the factors alone, as `adapt.mode` of the configuration said, and
    `mpdd-factors` the factors alone.
    """
    written = folder / "config.toml"
    try:
        adapt = tomllib.loads(written.read_text(encoding="utf-8")).get("adapt", {}) if written.is_file() else {}
    except ValueError:  # no TOML, or no UTF-8: who reads the configuration says so
        return {}
    if not isinstance(adapt, dict) or "mode" not in adapt:
        return {}
    return {"mpdd-factors": "mpdd"} | ({"mpdd": "mpdd-full"} if adapt["mode"] == "all" else {})


def _changed(files: Path) -> tuple[int, ...]:
    """When the files that a copy is made of were last written."""
    return tuple(path.stat().st_mtime_ns for path in (files, *(files / name for name in RECORDS)) if path.exists())


@cache
def _unpacked(archive: Path, _changed: int) -> Path:
    """A copy that lasts as long as this process; made again when the archive has changed."""
    place = _temporary()
    unpack(archive, place)
    return place


@cache
def _renamed(files: Path, names: tuple[tuple[str, str], ...], _changed: tuple[int, ...]) -> Path:
    """A copy in which the methods have other names."""
    place, new = _temporary(), dict(names)
    for path in (*(files / name for name in (*RECORDS, "examples.json")), *(files / "cells").glob("*.json")):
        if path.is_file():
            to = place / path.relative_to(files)
            if path.parent.name == "cells":
                target, method, *rest = path.stem.split("--")
                to = to.with_name("--".join((target, new.get(method, method), *rest)) + ".json")
            to.parent.mkdir(exist_ok=True)
            is_record = path.suffix in (".json", ".jsonl") and path.name != "provenance.json"
            to.write_text(_with_names(path, new) if is_record else path.read_text(encoding="utf-8"), encoding="utf-8")
    return place


def _with_names(path: Path, new: Mapping[str, str]) -> str:
    """The text of a file of JSON, or of lines of it, with other names of methods."""
    text = path.read_text(encoding="utf-8")
    values = [json.loads(part) for part in (text.splitlines() if path.suffix == ".jsonl" else [text])]
    return "".join(json.dumps(_named(value, new), ensure_ascii=False) + "\n" for value in values)


def _named(value: Any, new: Mapping[str, str]) -> Any:
    """A value of JSON in which what is the name of a method, by itself or in the name of a cell, is replaced."""
    if isinstance(value, dict):
        return {new.get(key, key): _named(inner, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_named(inner, new) for inner in value]
    if isinstance(value, str) and value.count("/") >= 3:
        return "/".join(new.get(part, part) for part in value.split("/"))
    return new.get(value, value) if isinstance(value, str) else value


def _temporary() -> Path:
    place = Path(tempfile.mkdtemp(prefix="mpdd-results-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place
