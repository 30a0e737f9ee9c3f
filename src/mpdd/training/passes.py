"""Forward and backward passes over rows of any tasks and prompts: chunks of similar length, exact sums of gradients.

Rows of many jobs (teachers, learning rates tried) go through the frozen backbone together; what each adds to the
gradient of its own prompt does not depend on the others, nor on how the rows are cut into chunks. Where several processes
train together (`mpdd.backbone.distributed`), each runs its share of the rows, and the sums are those over all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mpdd.backbone import distributed
from mpdd.backbone.model import Backbone
from mpdd.data.batch import Batch, Encoded, collate
from mpdd.training.forward import Outputs, forward
from mpdd.training.losses import choice_losses, cross_entropy, sum_by_example, with_options

TOKENS = 8192  # padded tokens a chunk may have; a longer row goes alone
Prompts = Mapping[str, Float[Tensor, "_ width"] | None]
Parts = dict[str, Float[Tensor, " rows"]]


@dataclass(frozen=True)
class Row:
    """An encoded example, the name of the prompt that it stands under, and its weight in the summed loss."""

    encoded: Encoded
    prompt: str
    weight: float = 1.0


LossesOf = Callable[[Outputs, Batch, Sequence[Row]], Parts]  # each part a sum over the answer tokens of a row


def answer_losses(out: Outputs, batch: Batch, rows: Sequence[Row]) -> Parts:
    """The cross-entropy of each row's answer, in nats an answer."""
    return {"loss": cross_entropy(out.logits, batch.targets.to(out.logits.device), batch.rows)}


def answer_fit(out: Outputs, batch: Batch, rows: Sequence[Row]) -> Parts:
    """Beside the cross-entropy (`loss`) the number of answer tokens (`tokens`), and of those that are the likeliest at their
    place, the gold tokens before them given (`right`)."""
    targets = batch.targets.to(out.logits.device)
    right = (out.logits.argmax(-1) == targets).float()
    counted = {"right": right, "tokens": torch.ones_like(right)}
    return answer_losses(out, batch, rows) | {name: sum_by_example(values, batch.rows) for name, values in counted.items()}


def add_gradients(
    backbone: Backbone, rows: Sequence[Row], prompts: Prompts, losses_of: LossesOf = answer_losses, *, all_layers: bool = False
) -> Parts:
    """Add the gradient of the weighted sum of `loss` to whatever `prompts` are made of; return all parts by row.

    Each part is its sum over a row's answer tokens, over the mean number of answer tokens of the row's task.

    Where a row has no prompt (None), gradients go to what requires them inside the backbone, as LoRA's do.
    """
    leaves = {name: None if prompt is None else prompt.detach().requires_grad_() for name, prompt in prompts.items()}
    by_row: dict[str, Tensor] = {}
    with _summed(backbone, rows, leaves, by_row):
        for chunk, counts in _own_chunks(backbone, rows):
            chosen = [rows[i] for i in chunk]
            parts = _run(backbone, chosen, leaves, losses_of, all_layers)
            weights = torch.tensor([row.weight * counts for row in chosen], device=parts["loss"].device)
            (parts["loss"] * weights).sum().backward()  # type: ignore[no-untyped-call]
            if counts:
                _place(by_row, parts, chunk, len(rows))
    for name, leaf in leaves.items():
        prompt = prompts[name]
        if leaf is not None and leaf.grad is not None and prompt is not None:
            prompt.backward(leaf.grad, retain_graph=True)  # type: ignore[no-untyped-call]
    return by_row


@torch.no_grad()
def row_losses(backbone: Backbone, rows: Sequence[Row], prompts: Prompts) -> Float[Tensor, " rows"]:
    """The cross-entropy of each row's answer over the mean answer tokens of its task, in nats, without gradient."""
    return row_parts(backbone, rows, prompts, answer_losses)["loss"]


@torch.no_grad()
def row_parts(backbone: Backbone, rows: Sequence[Row], prompts: Prompts, losses_of: LossesOf) -> Parts:
    """All parts of `losses_of` by row, each over the mean answer tokens of the row's task, without gradient."""
    by_row: dict[str, Tensor] = {}
    for chunk, counts in _own_chunks(backbone, rows):
        parts = _run(backbone, [rows[i] for i in chunk], prompts, losses_of, False)
        if counts:
            _place(by_row, parts, chunk, len(rows))
    if distributed.shares(len(rows)):
        distributed.add_up(list(by_row.values()))
    return by_row


def set_master(weight: nn.Parameter, copy: Tensor | None) -> None:
    """Say that the gradients of a weight in the backbone go to this copy of it (None: no longer)."""
    weight.master = copy  # type: ignore[attr-defined]


@contextmanager
def _summed(backbone: Backbone, rows: Sequence[Row], leaves: Prompts, by_row: Parts) -> Iterator[None]:
    """Sum over all processes what is added within to gradients of prompts and of trained weights, and to `by_row`."""
    if not distributed.shares(len(rows)):
        yield
        return
    used = {row.prompt for row in rows}
    prompts = [leaf for name, leaf in sorted(leaves.items()) if leaf is not None and name in used]
    trained_weights = [weight for weight in backbone.model.parameters() if weight.requires_grad]
    inside = [weight if (copy := getattr(weight, "master", None)) is None else copy for weight in trained_weights]
    before = [weight.grad for weight in inside]
    for weight in inside:
        weight.grad = None
    yield
    for trained in (*prompts, *inside):
        trained.grad = torch.zeros_like(trained) if trained.grad is None else trained.grad
    distributed.add_up([*(t.grad for t in (*prompts, *inside) if t.grad is not None), *by_row.values()])
    for weight, grad in zip(inside, before, strict=True):
        if grad is not None and weight.grad is not None:
            weight.grad += grad


def mean_by_prompt(values: Float[Tensor, " rows"], rows: Sequence[Row]) -> dict[str, float]:
    """The plain mean of the values of each prompt's rows."""
    sums: dict[str, list[float]] = {}
    for row, value in zip(rows, values.tolist(), strict=True):
        sums.setdefault(row.prompt, []).append(value)
    return {name: sum(of_prompt) / len(of_prompt) for name, of_prompt in sums.items()}


def _run(backbone: Backbone, rows: Sequence[Row], prompts: Prompts, losses_of: LossesOf, all_layers: bool) -> Parts:
    if losses_of is answer_losses and any(row.encoded.wrong_answers for row in rows):
        return {"loss": _run_with_options(backbone, rows, prompts)}
    batch = encoded_batch(backbone, rows)
    chosen = [prompt for row in rows if (prompt := prompts[row.prompt]) is not None]
    parts = losses_of(forward(backbone, batch, chosen or None, all_layers=all_layers), batch, rows)
    answer_tokens = parts["loss"].new_tensor([row.encoded.mean_answer_tokens for row in rows])
    return {name: values / answer_tokens for name, values in parts.items()}


def _run_with_options(backbone: Backbone, rows: Sequence[Row], prompts: Prompts) -> Float[Tensor, " rows"]:
    """The losses of rows beside those of their wrong options, which share the input."""
    sequences = [replace(row, encoded=encoded) for row in rows for encoded in with_options(row.encoded)]
    batch = encoded_batch(backbone, sequences)
    chosen = [prompt for row in sequences if (prompt := prompts[row.prompt]) is not None]
    return choice_losses(forward(backbone, batch, chosen or None).logits, batch, [row.encoded for row in rows])


def _place(by_row: dict[str, Tensor], parts: Parts, chunk: Sequence[int], count: int) -> None:
    for name, values in parts.items():
        by_row.setdefault(name, values.new_zeros(count))[chunk] = values.detach()


def encoded_batch(backbone: Backbone, rows: Sequence[Row]) -> Batch:
    """The rows as one padded batch."""
    return collate([row.encoded for row in rows], backbone.end)


def chunks(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Indices from short to long rows, as many at a time as fit `TOKENS` after padding."""
    return _cut(rows, _by_length(rows))


def own_rows(rows: Sequence[Row]) -> list[Row]:
    """Those of a step's rows that this process runs."""
    order = _by_length(rows)
    return [rows[i] for i in (distributed.own_share(order) if distributed.shares(len(rows)) else order)]


def _own_chunks(backbone: Backbone, rows: Sequence[Row]) -> Iterator[tuple[list[int], bool]]:
    """This process's chunks, and whether they count: a split backbone runs equally often in every process, so that one with
    fewer chunks repeats its first."""
    order = _by_length(rows)
    if not distributed.shares(len(rows)):
        yield from ((chunk, True) for chunk in _cut(rows, order))
        return
    own_chunks = list(_cut(rows, distributed.own_share(order)))
    yield from ((chunk, True) for chunk in own_chunks)
    if backbone.is_split:
        most = max(sum(1 for _ in _cut(rows, share)) for share in distributed.all_shares(order))
        yield from ((own_chunks[0], False) for _ in range(most - len(own_chunks)))


def _by_length(rows: Sequence[Row]) -> list[int]:
    sizes = _sizes(rows)
    return sorted(range(len(rows)), key=lambda i: (sizes[i], i))


def _cut(rows: Sequence[Row], order: Sequence[int]) -> Iterator[list[int]]:
    sizes = _sizes(rows)
    chunk: list[int] = []
    for i in order:
        if chunk and (len(chunk) + 1) * sizes[i] > TOKENS:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk


def _sizes(rows: Sequence[Row]) -> list[int]:
    """Tokens of each row, its input once for each option."""
    return [
        (1 + len(e.wrong_answers)) * len(e.input_ids) + len(e.answer_ids) + sum(map(len, e.wrong_answers))
        for e in (row.encoded for row in rows)
    ]
