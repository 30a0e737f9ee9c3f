"""Fits the priors of a trained prompt or adapter (`mpdd.inference.decoding.priors`) to how its dev examples are answered.

Nothing is decoded: every token before one that is shifted is as in the right answer (teacher forcing). The shift of "none" is
the one with which greedy answers say it as often as the right ones do. The others make the dev answers likeliest; a normal
prior of variance 1 keeps them finite where dev has no such answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Encoded, encode_answer
from mpdd.data.task import Example, TaskCard
from mpdd.data.types import candidates, render_target
from mpdd.inference.decoding.priors import Priors as Priors
from mpdd.inference.decoding.priors import TokenShifts, shifts_of, writes_a_list
from mpdd.inference.predict import Request, ask, score_options
from mpdd.training.forward import forward
from mpdd.training.passes import Row, chunks, encoded_batch

Array = NDArray[np.float64]
Odds = tuple[bool, float, bool]  # of "none": its margin over the best other token; else of the end of a list: its log-odds;
# then whether the right answer has it
_PRECISION = 1.0  # of the normal prior of each shift
_EDGE = 30.0  # log-odds are kept so near to 0
_ROUNDS = 50
_BEYOND = 0.5  # nats


def fit_priors(backbone: Backbone, requests: Sequence[Request]) -> dict[str, Any]:
    """Fit the priors of one task's answers to requests for examples with their right answers.

    The result is as a prompt file keeps it: `none`, `stop`, `classes`, and the number of `examples` it was fitted on; empty for
    tasks that neither write a list nor choose one of the card's labels, and without requests.
    """
    if not requests:
        return {}
    card, examples = requests[0].card, [request.example for request in requests]
    none, stop, classes = 0.0, 0.0, ()
    if writes_a_list(card):
        odds = list(_odds_of_lists(backbone, requests))
        none = fit_share([(x, happened) for of_none, x, happened in odds if of_none])
        stop = fit_shift([(x, happened) for of_none, x, happened in odds if not of_none])
    elif _chooses_a_label(card, examples):
        right = [_label(card, example) for example in examples]
        classes = tuple(fit_classes(np.array(score_options(backbone, requests)), right).tolist())
    else:
        return {}
    return {"none": none, "stop": stop, "classes": list(classes), "examples": len(examples)}


def fit_shift(odds: Sequence[tuple[float, bool]]) -> float:
    """Return the shift of some log-odds that makes what happened likeliest; 0 where there are none."""
    x, y, shift = np.array([x for x, _ in odds]), np.array([float(happened) for _, happened in odds]), 0.0
    for _ in range(_ROUNDS):  # Newton's steps; the loss is convex
        p = 1 / (1 + np.exp(-(x + shift)))
        step = ((p - y).sum() + _PRECISION * shift) / ((p * (1 - p)).sum() + _PRECISION)
        shift -= float(np.clip(step, -1, 1))
        if abs(step) < 1e-9:
            break
    return shift


def fit_share(margins: Sequence[tuple[float, bool]]) -> float:
    """Return the shift with which as many margins are above 0 as happened; 0 where that is so without one.

    Halfway between the two margins that it must come between, or half a nat beyond the last one.
    """
    sizes, share = sorted((x for x, _ in margins), reverse=True), sum(happened for _, happened in margins)
    if sum(x > 0 for x in sizes) == share:
        return 0.0
    above = sizes[share - 1] if share else sizes[0] + 2 * _BEYOND
    below = sizes[share] if share < len(sizes) else sizes[-1] - 2 * _BEYOND
    return -(above + below) / 2


def fit_classes(scores: Array, right: Sequence[int]) -> Array:
    """Return the shift of each class [classes] that makes the right ones likeliest; `scores` [examples, classes] are
    log-likelihoods up to a constant of each example."""
    shifts, wanted = np.zeros(scores.shape[1]), np.eye(scores.shape[1])[list(right)]
    for _ in range(_ROUNDS):
        p = np.exp(scores + shifts - (scores + shifts).max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        gradient = (p - wanted).sum(0) + _PRECISION * shifts
        curvature = np.diag(p.sum(0) + _PRECISION) - p.T @ p
        step = np.linalg.solve(curvature, gradient)
        shifts -= step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return shifts


@torch.no_grad()
def _odds_of_lists(backbone: Backbone, requests: Sequence[Request]) -> Iterator[Odds]:
    """The log-odds of each token that a prior would shift, along the right answers of all requests."""
    words = backbone.vocabulary
    asked = [ask(words, request) for request in requests]
    rows = [
        Row(Encoded(r.card.name, question.ids, _right(words, r)[: question.most]), "")
        for r, question in zip(requests, asked, strict=True)
    ]
    shifts = shifts_of(words.tokenizer, requests[0].card, words.template, Priors())
    assert shifts is not None
    for chunk in chunks(rows):
        chosen = [rows[i] for i in chunk]
        prompts = [requests[i].prompt for i in chunk]
        logits = forward(backbone, encoded_batch(backbone, chosen), _given(backbone, prompts)).logits
        sizes = [len(row.encoded.answer_ids) for row in chosen]
        for row, of_row in zip(chosen, torch.split(logits, sizes), strict=True):
            yield from _odds_of_one(row.encoded.answer_ids, of_row, shifts)


def _given(backbone: Backbone, prompts: Sequence[Tensor | None]) -> list[Tensor] | None:
    """Prompts as a forward pass takes them: one for each row, or none at all."""
    if all(prompt is None for prompt in prompts):
        return None
    empty = torch.zeros(0, backbone.width, device=backbone.device)
    return [empty if prompt is None else prompt for prompt in prompts]


def _right(words: Any, request: Request) -> tuple[int, ...]:
    return encode_answer(words.tokenizer, render_target(request.card, request.example), words.template)


def _odds_of_one(answer: Sequence[int], logits: Float[Tensor, "tokens vocabulary"], shifts: TokenShifts) -> Iterator[Odds]:
    """Those of one answer."""
    for place, token in enumerate(answer):
        shifted = shifts.next(answer[:place])
        if shifted is None:
            continue
        of_none = place < len(shifts.none_tokens) and shifted[0] != shifts.end
        if (x := _log_odds(logits[place], shifted[0], over_best=of_none)) is not None:
            yield of_none, x, token == shifted[0]


def _log_odds(logits: Float[Tensor, " vocabulary"], token: int, *, over_best: bool) -> float | None:
    """That of a token against all others, or against the best of them; None where it is certain or impossible."""
    others = logits.clone()
    others[token] = float("-inf")
    x = float(logits[token] - (others.max() if over_best else others.logsumexp(0)))
    return None if x in (float("inf"), float("-inf")) else max(-_EDGE, min(_EDGE, x))


def _chooses_a_label(card: TaskCard, examples: Sequence[Example]) -> bool:
    return not any(example.choices for example in examples) and candidates(card, examples[0]) is not None


def _label(card: TaskCard, example: Example) -> int:
    return list(candidates(card, example) or ()).index(render_target(card, example))
