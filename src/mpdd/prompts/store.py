"""The prompt file: one safetensors file with a JSON header, bound to its backbone and checked for damage.

Kinds: `soft` (rows), `meta` (shared, u, v of many tasks) and `task` (one task: shared, u, v; or u and v alone,
with the digest of the metaprompt they belong to). Files are written whole or not at all. There is no pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mpdd.backbone import Backbone
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.files import write_atomically
from mpdd.prompts.meta import MetaPrompt
from mpdd.template import Template
from mpdd.vocabulary import Vocabulary

FORMAT = 1
SUFFIX = ".safetensors"
Kind = Literal["soft", "meta", "task"]


@dataclass(frozen=True)
class Header:
    """What a prompt file says of itself. `digest` covers all other fields and every tensor.

    With `depth` all there are rows before every layer, and `width` is that of all layers together.

    `template` is what stood around inputs when it was trained; None in files of an older version, which had none.
    `kinds` are those of the answers of a metaprompt's tasks, in the same order (none in files of an older version).
    `calibration` has the `slope` and `shift` of the scale of confidences, and how many `units` of dev it was fitted on.
    """

    kind: Kind
    backbone: str
    fingerprint: str
    length: int
    width: int
    rank: int = 0
    tasks: tuple[str, ...] = ()
    card: TaskCard | None = None
    metaprompt: str = ""
    template: Template | None = None
    depth: Literal["input", "all"] = "input"
    kinds: tuple[str, ...] = ()
    calibration: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    digest: str = ""


@dataclass(frozen=True)
class PromptFile:
    """A loaded prompt file: its header and its tensors (fp32, on the CPU)."""

    path: Path
    header: Header
    tensors: Mapping[str, Tensor]

    @property
    def stored_bytes(self) -> int:
        """Size on disk."""
        return self.path.stat().st_size

    def rows(self) -> Tensor:
        """The effective prompt [length, width] of a `soft` or `task` file, or a metaprompt's zero-shot prompt."""
        if self.header.kind == "soft":
            return self.tensors["rows"]
        if self.header.kind == "meta":
            return self.metaprompt().zero_shot()
        shared = self.tensors.get("shared")
        if shared is None:
            shared = self._find_shared()
        return shared * (self.tensors["u"][0].T @ self.tensors["v"][0])

    def metaprompt(self) -> MetaPrompt:
        """The metaprompt of a `meta` file."""
        if self.header.kind != "meta":
            raise InputError(f"{self.path.name} is not a metaprompt", found=f"kind {self.header.kind}", wanted="kind meta")
        meta = MetaPrompt(self.tensors["shared"], self.header.tasks, self.header.rank)
        with torch.no_grad():
            meta.u.copy_(self.tensors["u"])
            meta.v.copy_(self.tensors["v"])
        return meta

    def _find_shared(self) -> Tensor:
        """The shared prompt of the metaprompt these factors belong to, from a file in the same folder."""
        for path in sorted(self.path.parent.glob(f"*{SUFFIX}")):
            if path != self.path and _peek_digest(path) == self.header.metaprompt:
                return load(path).tensors["shared"]
        raise InputError(
            f"{self.path.name} holds factors only and its metaprompt is not beside it",
            wanted=f"a prompt file with digest {self.header.metaprompt[:12]} in the same folder",
        )


def save_prompt(path: Path, tensors: Mapping[str, Tensor], header: Header) -> PromptFile:
    """Write a prompt file atomically and return it as loaded. Raises `InputError` when the folder is not writable."""
    plain = {k: v.detach().to("cpu", torch.float32).contiguous() for k, v in tensors.items()}
    sealed = Header(**{**_shallow(header), "digest": _digest(_to_json(header), plain)})
    data = save(plain, metadata={"mpdd": json.dumps(_to_json(sealed), sort_keys=True)})
    write_atomically(path, data)
    return PromptFile(path, sealed, plain)


def load(path: Path, backbone: Backbone | Vocabulary | None = None) -> PromptFile:
    """Read and check a prompt file, and, when given, that it belongs to `backbone`.

    Raises `InputError` for a missing, foreign, truncated or edited file, and for another backbone or width.
    """
    if not path.is_file():
        raise InputError("There is no such prompt file", found=str(path), wanted=f"a {SUFFIX} file made by mpdd")
    try:
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get("mpdd")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise InputError(f"The prompt file {path.name} is damaged or no safetensors file", next_step="Copy it again.") from error
    if described is None:
        raise InputError(f"{path.name} is no prompt file of mpdd", found="no mpdd header", wanted="a file written by mpdd")
    values = _parsed(path, described)
    if values.get("digest") != _digest(values, tensors):
        raise InputError(f"The prompt file {path.name} was changed after it was written", next_step="Copy it again.")
    if values.get("format") != FORMAT:
        found = values.get("format")
        raise InputError(f"{path.name} has another format", found=found, wanted=FORMAT, next_step="Update mpdd.")
    header = _from_json(path, values)
    if {name: tuple(t.shape) for name, t in tensors.items()} not in _shapes(header):
        raise InputError(f"The tensors of the prompt file {path.name} do not fit its header", next_step="Copy it again.")
    if backbone is not None:
        require_backbone(path.name, header, backbone)
    return PromptFile(path, header, tensors)


def require_backbone(name: str, header: Header, backbone: Backbone | Vocabulary) -> None:
    """Raise `InputError`, naming both sides, unless the prompt was made for this very backbone."""
    if header.fingerprint != backbone.fingerprint:
        raise InputError(
            f"The prompt {name} was made for another backbone",
            found=f"{backbone.name} (fingerprint {backbone.fingerprint[:12]}, width {backbone.width})",
            wanted=f"{header.backbone} (fingerprint {header.fingerprint[:12]}, width {header.width})",
        )


def _shallow(header: Header) -> dict[str, Any]:
    return {name: getattr(header, name) for name in Header.__dataclass_fields__}


def _to_json(header: Header) -> dict[str, Any]:
    plain = asdict(header)
    plain["card"] = header.card.to_dict() if header.card else None
    return plain


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"The header of the prompt file {path.name} is damaged", next_step="Copy it again.")
    return values


def _shapes(header: Header) -> list[dict[str, tuple[int, ...]]]:
    """The tensors that a file of this kind may hold."""
    rows = (header.length, header.width)
    count = len(header.tasks) if header.kind == "meta" else 1
    factors: dict[str, tuple[int, ...]] = {"u": (count, header.rank, header.length), "v": (count, header.rank, header.width)}
    if header.kind == "soft":
        return [{"rows": rows}]
    whole = {"shared": rows, **factors}
    return [whole] if header.kind == "meta" else [factors, whole]


def _from_json(path: Path, values: Mapping[str, Any]) -> Header:
    try:
        card = TaskCard.from_dict(values["card"]) if values.get("card") else None
        template = Template(**values["template"]) if values.get("template") else None
        lists = {name: tuple(values.get(name, ())) for name in ("tasks", "kinds")}
        header = Header(**{**values, "card": card, "template": template, **lists})
        if header.kind not in get_args(Kind):
            raise ValueError("kind")
        return header
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"The header of the prompt file {path.name} is damaged", next_step="Copy it again.") from error


def _digest(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Over the header as written (so that a later version with more fields reads it too) and the tensors."""
    described = {k: v for k, v in values.items() if k != "digest"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _peek_digest(path: Path) -> str:
    try:
        with safe_open(path, framework="pt") as file:
            return str(json.loads((file.metadata() or {}).get("mpdd", "{}")).get("digest", ""))
    except (SafetensorError, ValueError, OSError):
        return ""
