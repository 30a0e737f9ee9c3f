"""What teachers say at the answer tokens of rows: asked at every step, or once, kept in a memory-mapped cache.

The cache keeps the k likeliest tokens of each answer token with their log-probabilities, the log of the mass of all
others, and every layer's hidden state. KL over these k + 1 events is never above the KL over the whole vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Batch, Encoded
from mpdd.errors import InputError
from mpdd.training.forward import forward
from mpdd.training.losses import divergence, kl, sum_by_example
from mpdd.training.passes import Row, chunks, encoded_batch

FORMAT = 1
_LEAST = 1e-7  # mass of all other tokens, below which fp32 cannot tell it from none


@dataclass(frozen=True)
class Whole:
    """A teacher's logits over the whole vocabulary and its hidden states, at n answer tokens."""

    logits: Float[Tensor, "n vocabulary"]
    layers: Float[Tensor, "layers n width"]

    def divergence(
        self, student: Float[Tensor, "n vocabulary"], rows: Int[Tensor, " n"], temperature: float, *, reverse: bool = False
    ) -> Tensor:
        """KL(teacher || student) of each example, or the reverse, in nats times temperature squared."""
        return kl(self.logits, student, rows, temperature, reverse=reverse)


@dataclass(frozen=True)
class TopK:
    """A teacher's k likeliest tokens, their log-probabilities at its temperature, and the log mass of all others."""

    ids: Int[Tensor, "n k"]
    log_p: Float[Tensor, "n k"]
    log_rest: Float[Tensor, " n"]
    layers: Float[Tensor, "layers n width"]

    @classmethod
    def of(cls, whole: Whole, k: int, temperature: float) -> TopK:
        """The k likeliest tokens of what a teacher gives in full."""
        log_p, ids = torch.log_softmax(whole.logits / temperature, dim=-1).topk(k)
        return cls(ids, log_p, _log_rest(log_p), whole.layers)

    def divergence(
        self, student: Float[Tensor, "n vocabulary"], rows: Int[Tensor, " n"], temperature: float, *, reverse: bool = False
    ) -> Tensor:
        """KL over the k tokens and the event of any other token; see `Whole.divergence`."""
        scaled = student / temperature
        log_q = scaled.gather(1, self.ids) - scaled.logsumexp(1, keepdim=True)
        others = divergence(self.log_rest, _log_rest(log_q), reverse)
        return sum_by_example(divergence(self.log_p, log_q, reverse).sum(1) + others, rows) * temperature**2


# Whoever can say what the teachers of rows say on them, in the batch's order of answer tokens.
Teachers = Callable[[Batch, Sequence[Row]], Whole | TopK]


@dataclass(frozen=True)
class LiveTeachers:
    """Runs the teachers' prompts [length, width] through the backbone whenever it is asked."""

    backbone: Backbone
    prompts: Mapping[str, Float[Tensor, "length width"]]

    @torch.no_grad()
    def __call__(self, batch: Batch, rows: Sequence[Row]) -> Whole:
        """One forward pass without gradient."""
        out = forward(self.backbone, batch, [self.prompts[task] for task in batch.tasks], all_layers=True)
        assert out.layers is not None
        return Whole(out.logits, out.layers)


@dataclass(frozen=True)
class CachedTeachers:
    """Reads what teachers gave out of memory-mapped files; `places` has each row's first token there and their number."""

    places: Mapping[tuple[str, Encoded], tuple[int, int]]
    ids: np.memmap
    log_p: np.memmap
    layers: np.memmap
    device: torch.device
    dtype: torch.dtype

    def __call__(self, batch: Batch, rows: Sequence[Row]) -> TopK:
        """Gather the rows' tokens."""
        spans = [self.places[row.encoded.task, row.encoded] for row in rows]
        at = np.concatenate([np.arange(start, start + count) for start, count in spans])
        log_p = torch.from_numpy(self.log_p[at]).to(self.device)
        layers = torch.from_numpy(self.layers[at]).view(self.dtype).to(self.device)
        ids = torch.from_numpy(self.ids[at]).long().to(self.device)
        return TopK(ids, log_p, _log_rest(log_p), layers.transpose(0, 1))


def cached(
    folder: Path, backbone: Backbone, prompts: Mapping[str, Tensor], rows: Sequence[Row], *, k: int, temperature: float
) -> CachedTeachers:
    """Ask the teachers about all `rows` once, or open what `folder` holds if it was made from the very same.

    Answers are k token ids and fp32 log-probabilities, and the hidden states in the backbone's dtype.
    """
    distinct = list(dict.fromkeys((row.prompt, row.encoded) for row in rows))
    counts = np.array([len(encoded.answer_ids) for _, encoded in distinct])
    starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
    places = {key: (starts[i], int(counts[i])) for i, key in enumerate(distinct)}
    key = _key(backbone, prompts, distinct, k, temperature)
    if not _is_whole(folder, key):
        _ask(folder, backbone, prompts, [Row(encoded, task) for task, encoded in distinct], places, k, temperature)
        (folder / "made.json").write_text(json.dumps({"key": key, "sha256": _digests(folder)}))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    return CachedTeachers(places, device=backbone.device, dtype=backbone.table.dtype, **arrays)


_ARRAYS = ("ids", "log_p", "layers")


def _ask(
    folder: Path, backbone: Backbone, prompts: Mapping[str, Tensor], rows: Sequence[Row],
    places: Mapping[tuple[str, Encoded], tuple[int, int]], k: int, temperature: float,
) -> None:  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    live, total = LiveTeachers(backbone, prompts), sum(count for _, count in places.values())
    arrays: dict[str, np.memmap] = {}
    for chunk in chunks(rows):
        chosen = [rows[i] for i in chunk]
        taught = TopK.of(live(encoded_batch(backbone, chosen), chosen), k, temperature)
        values = {"ids": taught.ids.int(), "log_p": taught.log_p, "layers": _as_bits(taught.layers.transpose(0, 1).contiguous())}
        at = 0
        if not arrays:
            _require_room(folder, total * sum(tensor[0].numel() * tensor.element_size() for tensor in values.values()))
        for name, tensor in values.items():
            if name not in arrays:
                shape = (total, *tensor.shape[1:])
                path = folder / f"{name}.npy"
                arrays[name] = np.lib.format.open_memmap(path, mode="w+", dtype=tensor.cpu().numpy().dtype, shape=shape)
        for row in chosen:
            start, count = places[row.prompt, row.encoded]
            for name, tensor in values.items():
                arrays[name][start : start + count] = tensor[at : at + count].cpu().numpy()
            at += count
    for array in arrays.values():
        array.flush()


def _require_room(folder: Path, wanted: int) -> None:
    """Raise `InputError` where the disk has no room; writing to a memory map would end the process without a word."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise InputError(
            f"No room for what the teachers say, in {folder}",
            found=f"{free / 1e9:.1f} GB free",
            wanted=f"{wanted / 1e9:.1f} GB, or distil.top_k = 0, which asks the teachers at every step",
        )


def _as_bits(values: Tensor) -> Tensor:
    """numpy knows no bf16: keep its bits."""
    return values.view(torch.int16) if values.dtype == torch.bfloat16 else values


def _key(
    backbone: Backbone, prompts: Mapping[str, Tensor], rows: Sequence[tuple[str, Encoded]], k: int, temperature: float
) -> str:
    """A hash of everything that the answers depend on."""
    digest = hashlib.sha256(f"{FORMAT} {backbone.fingerprint} {backbone.table.dtype} {k} {temperature}".encode())
    for task, prompt in sorted(prompts.items()):
        digest.update(task.encode() + prompt.detach().float().cpu().contiguous().numpy().tobytes())
    for task, encoded in rows:
        digest.update(repr((task, encoded.input_ids, encoded.answer_ids)).encode())
    return digest.hexdigest()


def _is_whole(folder: Path, key: str) -> bool:
    """Whether `folder` holds the answers of this key, unchanged since they were written."""
    try:
        record = json.loads((folder / "made.json").read_text())
        return bool(record["key"] == key and record["sha256"] == _digests(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for name in _ARRAYS:
        with (folder / f"{name}.npy").open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _log_rest(log_p: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """The log of the mass that these log-probabilities leave."""
    return torch.log((1 - log_p.exp().sum(1)).clamp(min=_LEAST))
