"""The only inference path: many tasks, each under its own prompt, in one batch; generate freely or score choices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from mpdd.backbone import Backbone
from mpdd.data.batch import encode_answer, encode_input, pad_left
from mpdd.data.task import Example, Parsed, TaskCard
from mpdd.data.types import candidates, parse
from mpdd.prompts.prefix import prefix

BATCH = 32


@dataclass(frozen=True)
class Request:
    """One example to answer for one task, under `prompt` [length, width] (None: the bare backbone)."""

    card: TaskCard
    example: Example
    prompt: Tensor | None = None


@dataclass(frozen=True)
class Prediction:
    """The raw output, the answer read from it, and how many characters of the text did not fit the context."""

    output: str
    parsed: Parsed
    cut: int


@torch.inference_mode()
def predict(
    backbone: Backbone, requests: Sequence[Request], *, batch_size: int = BATCH, tick: Callable[[int], object] = lambda _: None
) -> list[Prediction]:
    """Answer every request, in order; tasks and prompts may be mixed freely.

    Rows of similar length go together. Tasks with a fixed set of answers score each by likelihood; the others
    generate greedily up to their card's `max_answer_tokens`. Calls `tick(n)` after each batch of n.
    """
    encoded = [_encode(backbone, request) for request in requests]
    found: dict[int, Prediction] = {}
    for batch in _batches(requests, encoded, batch_size):
        chosen = [requests[i] for i in batch]
        state = _prefill(backbone, chosen, [encoded[i][0] for i in batch])
        options = [candidates(r.card, r.example) for r in chosen]
        per_token = [bool(r.example.choices) for r in chosen]
        outputs = _score(backbone, state, options, per_token) if options[0] is not None else _generate(backbone, state, chosen)
        for i, request, output in zip(batch, chosen, outputs, strict=True):
            found[i] = Prediction(output, parse(request.card, request.example, output), encoded[i][1])
        tick(len(batch))
    return [found[i] for i in range(len(requests))]


@dataclass
class _State:
    """The state after prompt and input: cache, next-token logits, mask and the next position, by row."""

    cache: DynamicCache
    logits: Tensor
    mask: Tensor
    position: Tensor

    def take(self, rows: Tensor) -> None:
        """Keep, drop or repeat rows in place."""
        self.cache.batch_select_indices(rows)
        self.logits, self.mask, self.position = self.logits[rows], self.mask[rows], self.position[rows]


def _encode(backbone: Backbone, request: Request) -> tuple[tuple[int, ...], int]:
    taken = 0 if request.prompt is None else request.prompt.shape[0]
    options = candidates(request.card, request.example) or ()
    longest = max((len(encode_answer(backbone.tokenizer, option)) for option in options), default=0)
    answer = max(_most(backbone, request.card), min(longest, backbone.context // 2))
    encoded = encode_input(backbone.tokenizer, request.card, request.example, backbone.context - taken - answer)
    return encoded.input_ids, encoded.cut


def _most(backbone: Backbone, card: TaskCard) -> int:
    """The most tokens that an answer may have: what the card says, but never more than half of the context."""
    return min(card.max_answer_tokens, backbone.context // 2)


def _batches(requests: Sequence[Request], encoded: Sequence[tuple[tuple[int, ...], int]], size: int) -> Iterator[list[int]]:
    """Indices by batch: generating and choosing apart, with and without a prompt too, each from short to long."""
    by_kind: dict[tuple[bool, bool], list[int]] = defaultdict(list)
    for i, request in enumerate(requests):
        by_kind[candidates(request.card, request.example) is None, request.prompt is None].append(i)
    for indices in by_kind.values():
        indices.sort(key=lambda i: (len(encoded[i][0]), i))
        yield from (indices[i : i + size] for i in range(0, len(indices), size))


def _prefill(backbone: Backbone, requests: Sequence[Request], ids: Sequence[tuple[int, ...]]) -> _State:
    padded, mask = pad_left(ids, backbone.end)
    padded, mask = padded.to(backbone.device), mask.to(backbone.device)
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    prompts = [request.prompt for request in requests if request.prompt is not None]
    if prompts:  # then every row has one, see `_batches`
        before = prefix(backbone, prompts)
        cache, mask, positions = before.cache, torch.cat([before.mask, mask], dim=1), positions + before.lengths[:, None]
    else:
        cache = DynamicCache(config=backbone.model.config)
    out = backbone.model(
        input_ids=padded,
        attention_mask=mask.long(),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return _State(out.past_key_values, out.logits[:, -1].float(), mask, positions[:, -1] + 1)


def _advance(backbone: Backbone, state: _State, ids: Tensor, real: Tensor) -> Tensor:
    """Feed ids [rows, n] (right-padded, `real` marks tokens) after the prefix; return logits [rows, n, vocabulary]."""
    state.mask = torch.cat([state.mask, real], dim=1)
    positions = state.position[:, None] + torch.arange(ids.shape[1], device=ids.device)[None]
    out = backbone.model(
        input_ids=ids,
        attention_mask=state.mask.long(),
        position_ids=positions,
        past_key_values=state.cache,
        use_cache=True,
    )
    state.position = state.position + ids.shape[1]
    logits: Tensor = out.logits.float()
    return logits


def _generate(backbone: Backbone, state: _State, requests: Sequence[Request]) -> list[str]:
    """Greedy decoding; a row leaves the batch when it ends or has its task's most tokens."""
    written: list[list[int]] = [[] for _ in requests]
    active = list(range(len(requests)))
    while True:
        following = state.logits.argmax(-1)
        for row, token in zip(active, following.tolist(), strict=True):
            written[row].append(token)
        going = [
            k
            for k, row in enumerate(active)
            if written[row][-1] != backbone.end and len(written[row]) < _most(backbone, requests[row].card)
        ]
        if not going:
            return [str(backbone.tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in written]
        if len(going) < len(active):
            keep = torch.tensor(going, device=following.device)
            state.take(keep)
            following, active = following[keep], [active[k] for k in going]
        fed = following[:, None]
        state.logits = _advance(backbone, state, fed, torch.ones_like(fed, dtype=torch.bool))[:, -1]


def _score(backbone: Backbone, state: _State, options: Sequence[Sequence[str] | None], per_token: Sequence[bool]) -> list[str]:
    """Pick each row's likeliest option, end token included: the whole answer's log-likelihood for fixed labels, the
    mean of a token (`per_token`) for options written out, whose lengths differ for reasons of their own.
    """
    flat = [(row, option) for row, found in enumerate(options) for option in found or ()]
    ids = [encode_answer(backbone.tokenizer, option) for _, option in flat]
    longest = max(map(len, ids))
    padded = torch.tensor([[*i, *[backbone.end] * (longest - len(i))] for i in ids], device=backbone.device)
    real = torch.tensor([[True] * len(i) + [False] * (longest - len(i)) for i in ids], device=backbone.device)
    state.take(torch.tensor([row for row, _ in flat], device=backbone.device))
    first = state.logits[:, None]
    logits = torch.cat([first, _advance(backbone, state, padded[:, :-1], real[:, :-1])], dim=1) if longest > 1 else first
    likelihood = logits.log_softmax(-1).gather(2, padded[..., None])[..., 0]
    sizes = torch.where(torch.tensor([per_token[row] for row, _ in flat], device=real.device), real.sum(1), 1)
    best: dict[int, tuple[float, str]] = {}
    for (row, option), found in zip(flat, ((likelihood * real).sum(1) / sizes).tolist(), strict=True):
        if row not in best or found > best[row][0]:
            best[row] = (found, option)
    return [best[row][1] for row in range(len(options))]
