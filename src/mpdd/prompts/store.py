"""The prompt file: one safetensors file with a JSON header, bound to its backbone and checked for damage.

Kinds: `soft` (rows), `meta` (shared, u, v of many tasks) and `task` (one task: shared, u, v; or u and v alone,
with the digest of the metaprompt they belong to). Files are written whole or not at all. There is no pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.files import write_atomically
from mpdd.prompts import signature
from mpdd.prompts.header import FORMAT, problems_of
from mpdd.prompts.header import Header as Header
from mpdd.prompts.header import Kind as Kind
from mpdd.prompts.hub import local
from mpdd.prompts.meta import MetaPrompt

SUFFIX = ".safetensors"
_TYPES = (torch.float32, torch.float16)  # of the tensors in a file
_LARGEST = 2**31  # bytes of a prompt file; real ones have kilobytes, or megabytes with rows before every layer


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
        """The effective prompt [length, width] of a `soft` or `task` file, or a metaprompt's zero-shot prompt.

        It is the same tensor each time, which must not be changed, so that a backbone computes its keys and values once.
        Raises `InputError` where the metaprompt of factors is not beside them or does not fit, or a number overflows.
        """
        return self._finite_rows

    @cached_property
    def _finite_rows(self) -> Tensor:
        rows = self._rows()
        if not bool(torch.isfinite(rows).all()):
            raise InputError(f"The prompt of {self.path.name} is not finite", wanted="factors whose product is finite")
        return rows

    def _rows(self) -> Tensor:
        if self.header.kind == "soft":
            return self.tensors["rows"]
        if self.header.kind == "meta":
            return self.metaprompt().zero_shot()
        beside = self.metaprompt_file()
        shared = self.tensors["shared"] if beside is None else load_prompt(beside).tensors["shared"]
        if shared.shape != (self.header.length, self.header.width):
            raise InputError(
                f"{self.path.name} does not fit its metaprompt",
                found=f"a metaprompt of {list(shared.shape)}",
                wanted=f"one of {[self.header.length, self.header.width]}",
            )
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

    def metaprompt_file(self) -> Path | None:
        """The file in the same folder that has the metaprompt of a file of factors; None for a file that is whole.

        Raises `InputError` where there is no such file.
        """
        if self.header.kind != "task" or "shared" in self.tensors:
            return None
        if path := self._beside():
            return path
        raise InputError(
            f"{self.path.name} holds factors only and its metaprompt is not beside it",
            wanted=f"a prompt file with digest {self.header.metaprompt[:12]} in the same folder",
        )

    def started_from(self) -> PromptFile:
        """The metaprompt that a `task` file was adapted from; raises `InputError` where it is not in the same folder."""
        path = self._beside()
        if path is None:
            raise InputError(
                f"The metaprompt that {self.path.name} was adapted from is not beside it",
                wanted=f"a prompt file with digest {self.header.metaprompt[:12]} in the same folder",
            )
        return load_prompt(path)

    def _beside(self) -> Path | None:
        """The file in the same folder whose digest the header names as that of its metaprompt."""
        for path in sorted(self.path.parent.glob(f"*{SUFFIX}")):
            if path != self.path and _peek_digest(path) == self.header.metaprompt:
                return path
        return None


def save_prompt(path: Path, tensors: Mapping[str, Tensor], header: Header) -> PromptFile:
    """Write a prompt file atomically and return it as loaded. Tensors whose numbers all fit in 16 bits are written so.

    Raises `InputError` when the folder is not writable.
    """
    prompt = in_memory(path, tensors, header)
    described = {"mpdd": json.dumps(prompt.header.to_json(), sort_keys=True)}
    data = save({name: _in_least_bits(tensor) for name, tensor in prompt.tensors.items()}, metadata=described)
    write_atomically(path, data)
    return prompt


def _in_least_bits(tensor: Tensor) -> Tensor:
    """The tensor in fp16 where that loses nothing, else as it is."""
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor


def rounded(prompt: PromptFile) -> PromptFile:
    """The prompt with its numbers rounded to 16 bits (relative error at most 2**-11), so that its file is half as large.

    Tensors with numbers beyond what fp16 holds stay as they are.
    """
    halves = {name: tensor.half().float() for name, tensor in prompt.tensors.items()}
    kept = {name: half if bool(half.isfinite().all()) else prompt.tensors[name] for name, half in halves.items()}
    return in_memory(prompt.path, kept, prompt.header)


def in_memory(path: Path, tensors: Mapping[str, Tensor], header: Header) -> PromptFile:
    """Return a prompt file as `save_prompt` would write it, without writing it; `path` is what messages call it."""
    plain = {k: v.detach().to("cpu", torch.float32).contiguous() for k, v in tensors.items()}
    return PromptFile(path, replace(header, digest=_digest(header.to_json(), plain)), plain)


def without_provenance(file: PromptFile, path: Path) -> PromptFile:
    """Write a prompt file again without how it was made; what it does is the same, its digest is not."""
    return save_prompt(path, file.tensors, replace(file.header, provenance={}))


def load_prompt(path: Path, backbone: Backbone | Vocabulary | None = None, *, signed_by: Sequence[Path] = ()) -> PromptFile:
    """Read and check a prompt file, and, when given, that it belongs to `backbone` and is signed by one of the public keys.

    Raises `InputError` for a missing, foreign, truncated or edited file, for a header that does not fit its schema or
    its tensors, for numbers that are not finite, and for another backbone or width. The file is read, not mapped into
    memory: it may be replaced or cut short at any time.
    """
    data = _read_bytes(path)
    if signed_by:
        signature.verify(path, signed_by, data)
    described, written = _taken_apart(path, data)
    values = _parsed(path, described)
    header = _header(path, values)
    has_known_types = all(tensor.dtype in _TYPES for tensor in written.values())
    if not has_known_types or {name: tuple(tensor.shape) for name, tensor in written.items()} not in header.shapes():
        raise InputError(f"The tensors of the prompt file {path.name} do not fit its header", next_step="Copy it again.")
    tensors = {name: tensor.float() for name, tensor in written.items()}
    if header.digest != _digest(values, tensors):
        raise InputError(f"The prompt file {path.name} was changed after it was written", next_step="Copy it again.")
    if bad := [name for name, tensor in sorted(tensors.items()) if not bool(torch.isfinite(tensor).all())]:
        raise InputError(
            f"The prompt file {path.name} holds NaN or infinity", found=f"in {', '.join(bad)}", wanted="finite numbers",
            next_step="Make it anew.",
        )  # fmt: skip
    if backbone is not None:
        require_backbone(path.name, header, backbone)
    return PromptFile(path, header, tensors)


def load_tasks(paths: Sequence[str | Path]) -> list[PromptFile]:
    """Load the task prompts of files, folders and repositories on the hub (`hf://ORG/NAME`), in order; metaprompts in folders are
    passed over.

    Raise `InputError` for a file that is no prompt of a task, a folder without any, and where no path is given.
    """
    if not paths:
        raise InputError("No prompt file was named", wanted=f"{SUFFIX} files, or folders of them")
    return [prompt for path in map(local, paths) for prompt in (_of_folder(path) if path.is_dir() else [_task(path)])]


def require_distinct_tasks(prompts: Sequence[PromptFile]) -> None:
    """Raise `InputError` where two prompts are for tasks of one name: their answers to a note could not be told apart."""
    first: dict[str, PromptFile] = {}
    for prompt in prompts:
        if other := first.get(name := task_card(prompt).name):
            raise InputError(
                f"Two prompts are for the task {name}", found=f"{other.path} and {prompt.path}", wanted="one prompt a task",
                next_step="Answer with one of them at a time.",
            )  # fmt: skip
        first[name] = prompt


def one_task(path: str | Path) -> PromptFile:
    """Load the one task prompt of a file, a folder or a repository; raise `InputError` where there are several."""
    prompts = load_tasks([path])
    if len(prompts) > 1:
        names = ", ".join(prompt.path.name for prompt in prompts)
        raise InputError(f"{path} holds several prompts", found=names, wanted="one; name its file in the folder")
    return prompts[0]


def _of_folder(folder: Path) -> list[PromptFile]:
    prompts = [prompt for path in sorted(folder.glob(f"*{SUFFIX}")) if (prompt := load_prompt(path)).header.card is not None]
    if not prompts:
        raise InputError(f"The folder {folder} holds no task prompts", wanted=f"at least one {SUFFIX} file of a task")
    return prompts


def _task(path: Path) -> PromptFile:
    prompt = load_prompt(path)
    task_card(prompt)
    return prompt


def task_card(prompt: PromptFile) -> TaskCard:
    """The task card in a prompt file; `InputError` if it has none (a metaprompt)."""
    if prompt.header.card is None:
        kind = f"kind {prompt.header.kind}"
        raise InputError(f"{prompt.path.name} is not for one task", found=kind, wanted="a task's prompt file")
    return prompt.header.card


def require_backbone(name: str, header: Header, backbone: Backbone | Vocabulary) -> None:
    """Raise `InputError`, naming both sides, unless the prompt was made for this very backbone."""
    if header.fingerprint != backbone.fingerprint:
        raise InputError(
            f"The prompt {name} was made for another backbone",
            found=f"{backbone.name} (fingerprint {backbone.fingerprint[:12]}, width {backbone.width})",
            wanted=f"{header.backbone} (fingerprint {header.fingerprint[:12]}, width {header.width})",
        )
    layers = backbone.depth if header.depth == "all" else 1
    wanted = backbone.width * (layers or header.width // backbone.width)
    if header.width != wanted:
        raise InputError(f"The prompt {name} does not fit its backbone", found=f"width {header.width}", wanted=f"width {wanted}")


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is no prompt file", found="a folder", wanted=f"one {SUFFIX} file in it")
    if not path.is_file():
        raise InputError("There is no such prompt file", found=str(path), wanted=f"a {SUFFIX} file made by mpdd")
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path.name} is no prompt file of mpdd", found="more than 2 GiB", wanted="kilobytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"The prompt file {path.name} cannot be read", found=error.strerror) from error


def _taken_apart(path: Path, data: bytes) -> tuple[str, dict[str, Tensor]]:
    """The header as text and the tensors of a safetensors file."""
    try:
        deserialize(data)  # type: ignore[no-untyped-call]  # checks sizes and offsets
        described = _metadata(data).get("mpdd")
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError, RecursionError) as error:
        raise InputError(f"The prompt file {path.name} is damaged or no safetensors file", next_step="Copy it again.") from error
    if not isinstance(described, str):
        raise InputError(f"{path.name} is no prompt file of mpdd", found="no mpdd header", wanted="a file written by mpdd")
    return described, tensors


def _metadata(data: bytes) -> dict[str, Any]:
    """The free part of a safetensors header: 8 bytes of length, then JSON."""
    values = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, Any] = values.get("__metadata__") or {}
    return metadata


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"The header of the prompt file {path.name} is damaged", next_step="Copy it again.")
    return values


def _header(path: Path, values: Mapping[str, Any]) -> Header:
    """The header, checked as a whole; one sentence with all its problems."""
    version = values.get("format")
    if version != FORMAT or isinstance(version, bool):
        shown_version = str(version)[:20] if isinstance(version, int | str) and str(version).isprintable() else "no number"
        raise InputError(f"{path.name} has another format", found=shown_version, wanted=FORMAT, next_step="Update mpdd.")
    if problems := problems_of(values):
        raise InputError(
            f"The header of the prompt file {path.name} is damaged", found="; ".join(problems[:5]),
            next_step="Copy it again, or update mpdd if a later version wrote it.",
        )  # fmt: skip
    return Header.from_json(values)


def _digest(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Over the header as written (so that a later version with more fields reads it too) and the tensors in fp32."""
    described = {k: v for k, v in values.items() if k != "digest"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _peek_digest(path: Path) -> str:
    """The digest that a file says it has; empty for what is no prompt file."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            header = start + file.read(length) if length < 2**24 else b""
        return str(json.loads(_metadata(header).get("mpdd", "{}")).get("digest", ""))
    except (ValueError, OSError, AttributeError, TypeError, RecursionError):
        return ""
