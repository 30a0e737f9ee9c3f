"""Training in several processes, as `torchrun` starts them: each takes its share of the rows of every step, and sums travel.

Every process holds the whole frozen backbone (or, where it is `split`, a part of each layer), draws the same examples and steps
the same optimizers; what it adds to the gradients of prompts (a few hundred thousand numbers), and the losses of its rows, are
summed over all. So all processes
know the same and decide the same, and the global batch is that of one process. Only the first one's run folder is kept:
the others work in copies of it that are thrown away, so that a run can be resumed with another number of processes.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mpdd.errors import InputError, MpddError

_ENDED = "A process of this run has ended, and the others with it. Start the same command again: it goes on where it was."


def processes() -> int:
    """How many there are; one, where nothing was started."""
    return dist.get_world_size() if dist.is_initialized() else 1


def started() -> int:
    """How many `torchrun` started, whether they work together yet or not."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def number() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def together() -> Iterator[None]:
    """Within, this process works with the others that `torchrun` started; alone, where it started none.

    Raises `MpddError` where another one ended before its time.
    """
    if started() < 2 or dist.is_initialized():
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        place = int(os.environ.get("LOCAL_RANK", "0"))
        if place >= torch.cuda.device_count():
            raise InputError(
                "More processes than GPUs", found=f"process {place + 1} on {torch.cuda.device_count()}",
                wanted="torchrun --nproc-per-node with the number of GPUs",
            )  # fmt: skip
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        with told_to_stop(MpddError(_ENDED)):  # as torchrun tells all processes when one has ended
            yield
    except RuntimeError as error:  # what gloo and NCCL raise has no class of its own that both share
        if "gloo" not in str(error).lower() and "nccl" not in str(error).lower() and not isinstance(error, dist.DistError):
            raise
        raise MpddError(_ENDED) from None
    finally:
        dist.destroy_process_group()


@contextmanager
def told_to_stop(error: BaseException) -> Iterator[None]:
    """Within, SIGTERM raises this error in the place where the process is, so that it can put things in order."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def shares(count: int) -> bool:
    """Whether so many rows are shared out; fewer than there are processes are not, and each computes them all."""
    return 1 < processes() <= count


def own_share(items: Sequence[int]) -> Sequence[int]:
    """This process's share of items, every so many-th of them."""
    return all_shares(items)[number()]


def all_shares(items: Sequence[int]) -> list[Sequence[int]]:
    """The share of each process."""
    return [items[first :: processes()] for first in range(processes())]


def split(layers: Sequence[nn.Module]) -> None:
    """Keep 1/n of the weights of each layer in each of n processes, in place; a layer's are gathered while it runs (FSDP, Zhao
    et al. 2023, arXiv 2304.11277). From now on all processes must run the layers equally often, forward and backward.
    """
    from torch.distributed.fsdp import fully_shard

    for layer in layers:  # each for itself: transformers records no hidden states of a decoder that FSDP has wrapped
        fully_shard(layer, reshard_after_forward=True)


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor, in place, by its sum over all processes."""
    for kind in dict.fromkeys((t.dtype, t.device) for t in tensors):
        chosen = [t for t in tensors if (t.dtype, t.device) == kind]
        flat = torch.cat([t.reshape(-1) for t in chosen])
        dist.all_reduce(flat)
        start = 0
        for tensor in chosen:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()


@contextmanager
def working_copy(folder: Path) -> Iterator[Path]:
    """The folder itself in the first process; in the others a copy of what the first one has there, which is thrown away."""
    if processes() == 1:
        yield folder
        return
    files: list[Any] = [_files(folder) if number() == 0 else None]
    dist.broadcast_object_list(files)
    if number() == 0:
        yield folder
        return
    copy = Path(tempfile.mkdtemp(prefix="mpdd-"))
    try:
        for name, content in files[0].items():
            path = copy / folder.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield copy / folder.name
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path in it; none where there is no folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
