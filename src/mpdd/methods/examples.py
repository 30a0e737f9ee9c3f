"""The methods that read examples of the target: in front of a question, or as rows of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mpdd.data.batch import Encoded, encode, fitting, shown
from mpdd.data.mixture import few_shot
from mpdd.data.task import Example
from mpdd.inference.predict import Request, ask, predict
from mpdd.methods.cell import Cell, Outcome
from mpdd.methods.prompts import header_of, metaprompt_of, source_weights, zero_shot_target
from mpdd.prompts.examples import before_every_layer, example_rows
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import PromptFile, save_prompt
from mpdd.training.context import tune_context
from mpdd.training.tune import Data, best


def in_context(cell: Cell) -> Outcome:
    """The bare backbone with training examples and their answers in front of each question (Brown et al. 2020, arXiv 2005.14165).

    At most `adapt.in_context_examples` of them, in one order for all questions; in front of a question stand those that fit the
    context beside it and its longest answer, uncut.
    """
    tokens = [_tokens(cell, example) for example in few_shot(cell.train, cell.adapt.in_context_examples, cell.seed)]
    fronts: dict[tuple[int, ...], Tensor | None] = {(): None}

    def request(example: Example, priors: Mapping[str, Any] | None = None) -> Request:
        room = ask(cell.backbone.vocabulary, Request(cell.task.card, example)).free
        numbers = fitting([len(example_tokens) for example_tokens in tokens], room)
        if numbers not in fronts:
            ids = torch.tensor([token for number in numbers for token in tokens[number]], device=cell.backbone.device)
            fronts[numbers] = cell.backbone.embed(ids).float()
        return cell.requests(fronts[numbers], [example], priors)[0]

    priors = cell.priors_by([request(example) for example in cell.dev])
    answers = predict(cell.backbone, [request(example, priors) for example in cell.test], tick=cell.tick)
    return Outcome(answers, priors=priors)


def mpdd_examples(cell: Cell) -> Outcome:
    """The metaprompt as `mpdd-zero-shot` has it, and behind it rows that are made of training examples; nothing is trained.

    At most `adapt.in_context_examples` examples become at most `adapt.example_rows` rows before every layer
    (`mpdd.prompts.examples`).
    """
    start = zero_shot_target(cell)(cell.task.name).detach()
    read_examples = _examples_for_rows(cell, cell.data_for(len(start) + cell.adapt.example_rows))
    from_examples = example_rows(cell.backbone, start, read_examples, cell.adapt.example_rows)
    rows = torch.cat([before_every_layer(cell.backbone, start), from_examples.rows]).to(cell.backbone.device)
    saved, calibration = _saved(cell, rows, len(read_examples))
    priors = saved.header.priors
    return Outcome(cell.answer(rows, priors), stored_bytes=saved.stored_bytes, calibration=calibration, priors=priors)


def mpdd_context(cell: Cell) -> Outcome:
    """As `mpdd-examples`, then the factors of the metaprompt's rows and of the examples' rows are trained (Context Tuning).

    An example that is predicted itself has no rows, and `adapt.row_dropout` of the others' are left out at random. A
    metaprompt at the input alone is turned into rows before every layer first, with fresh factors.
    """
    meta = metaprompt_of(cell)
    start = meta.for_target(cell.task.name, source_weights(cell, meta))
    prompt = start(cell.task.name).detach()
    data = cell.data_for(len(prompt) + cell.adapt.example_rows)
    read_examples = _examples_for_rows(cell, data)
    examples = example_rows(cell.backbone, prompt, read_examples, cell.adapt.example_rows)
    if prompt.shape[1] < examples.rows.shape[1]:
        start = MetaPrompt(before_every_layer(cell.backbone, prompt), start.tasks, start.rank, seed=cell.seed)
    trials = tune_context(
        cell.backbone, data, start, examples, read_examples, cell.plan, lrs=cell.adapt.mpdd, dropout=cell.adapt.row_dropout,
        factor_ratio=cell.adapt.factor_ratio, seed=cell.seed, watch=cell.watch,
    )  # fmt: skip
    tuned = best(trials).trained
    rows = tuned().detach()
    saved, calibration = _saved(cell, rows, len(read_examples))
    numbers = sum(tensor.numel() for tensor in tuned.trained.values())
    priors = saved.header.priors
    return Outcome.of(cell.answer(rows, priors), numbers, saved.stored_bytes, trials, calibration, priors)


def _examples_for_rows(cell: Cell, data: Data) -> tuple[Encoded, ...]:
    """The training rows that prompt rows are made of."""
    return few_shot(data.train, min(cell.adapt.in_context_examples, cell.adapt.example_rows), cell.seed)


def _tokens(cell: Cell, example: Example) -> tuple[int, ...]:
    """An example as it is trained on, uncut unless it is longer than the context, as it stands in front of a question."""
    backbone = cell.backbone
    row = encode(backbone.tokenizer, cell.task.card, example, backbone.context, backbone.template)
    return shown(backbone.tokenizer, row)


def _saved(cell: Cell, rows: Tensor, examples: int) -> tuple[PromptFile, dict[str, float]]:
    """The prompt's file, which says that it is derived from so many examples, and the scale of confidences under it."""
    priors = cell.priors(rows)
    calibration = cell.calibration(rows, priors)
    header = header_of(cell, "soft", rows, calibration, priors, derived_from_examples=examples)
    return save_prompt(cell.save_to, {"rows": rows}, header), calibration
