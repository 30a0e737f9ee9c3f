"""From examples to token batches: encoding, cutting to the context by a stated rule, and padding.

Rule: when an input does not fit, its text is cut at its end, never its instruction, question or options, and not within
a placeholder of de-identification; cuts are counted. Inputs end with `Answer:`; an answer is one space, the target and
the end token. A chat template may stand around an input, and leaves the space out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mpdd.backbone.template import PLAIN, Template
from mpdd.data.placeholders import last_edge
from mpdd.data.task import Example, TaskCard
from mpdd.data.types import candidates, render_input, render_target
from mpdd.errors import InputError

BETWEEN = "\n\n"  # between an example and what follows it


@dataclass(frozen=True)
class Encoded:
    """Token ids of one input and, for training, of its answer (end token included); `cut` counts characters lost.

    `mean_answer_tokens` is the mean number of answer tokens over the training examples of the task: losses, which are sums
    over an answer's tokens, are divided by it. `wrong_answers` are the other options of a choice, for losses that use them.
    """

    task: str
    input_ids: tuple[int, ...]
    answer_ids: tuple[int, ...] = ()
    cut: int = 0
    mean_answer_tokens: float = 1.0
    wrong_answers: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Batch:
    """Padded rows. `predicts[b, t]` is true where the token at t predicts a token of the answer;
    `targets` lists those tokens, row by row, and `rows` says which row each belongs to."""

    tasks: tuple[str, ...]
    ids: Int[Tensor, "batch length"]
    mask: Bool[Tensor, "batch length"]
    predicts: Bool[Tensor, "batch length"]
    targets: Int[Tensor, " n"]
    rows: Int[Tensor, " n"]


def encode_input(
    tokenizer: PreTrainedTokenizerBase, card: TaskCard, example: Example, room: int, template: Template = PLAIN
) -> Encoded:
    """Encode an input, its template included, into at most `room` tokens, cutting the end of `example.text` if need be.

    Raises `InputError` when even without its text the input does not fit.
    """
    before, after = around(tokenizer, template)
    room -= len(before) + len(after)
    ids = _ids(tokenizer, render_input(card, example))
    shortened = example
    while len(ids) > room:
        keep = last_edge(shortened.text, _characters_for(tokenizer, shortened.text, len(ids) - room))
        shortened = replace(shortened, text=shortened.text[:keep])
        if keep == 0 and len(_ids(tokenizer, render_input(card, shortened))) > room:
            raise InputError(
                f"Example {example.id} of {card.name} does not fit the context without its text",
                found=f"{len(_ids(tokenizer, render_input(card, shortened)))} tokens",
                wanted=f"at most {room}",
                next_step="Use a backbone with a longer context or a shorter prompt.",
            )
        ids = _ids(tokenizer, render_input(card, shortened))
    return Encoded(card.name, (*before, *ids, *after), cut=len(example.text) - len(shortened.text))


def around(tokenizer: PreTrainedTokenizerBase, template: Template) -> tuple[list[int], list[int]]:
    """Tokens before and after an input; what is spelt like a special token in a template is one."""
    before, after = (
        tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else []
        for text in (template.before, template.after)
    )
    return before, after


def encode_answer(tokenizer: PreTrainedTokenizerBase, target: str, template: Template = PLAIN) -> tuple[int, ...]:
    """One space where the template wants it, the target, the end token."""
    return (*_ids(tokenizer, " " + target if template.space else target), int(tokenizer.eos_token_id or 0))


def encode(
    tokenizer: PreTrainedTokenizerBase, card: TaskCard, example: Example, context: int, template: Template = PLAIN
) -> Encoded:
    """Encode an example for training into at most `context` tokens; an answer longer than half of it is cut."""
    answer = encode_answer(tokenizer, render_target(card, example), template)[: context // 2]
    asked = encode_input(tokenizer, card, example, context - len(answer), template)
    return replace(asked, answer_ids=answer)


def shown(tokenizer: PreTrainedTokenizerBase, example: Encoded) -> tuple[int, ...]:
    """An encoded example with its answer as it stands in front of a question, an empty line behind it."""
    return (*example.input_ids, *example.answer_ids, *_ids(tokenizer, BETWEEN))


def behind(tokens: Sequence[int], row: Encoded) -> Encoded:
    """The row with tokens in front of its input."""
    return replace(row, input_ids=(*tokens, *row.input_ids))


def fitting(lengths: Sequence[int], room: int) -> tuple[int, ...]:
    """The numbers of the pieces that fit into `room` tokens together: in their order, one that is too long left out."""
    numbers = []
    for number, length in enumerate(lengths):
        if length <= room:
            numbers.append(number)
            room -= length
    return tuple(numbers)


def wrong_answers(
    tokenizer: PreTrainedTokenizerBase, card: TaskCard, example: Example, template: Template = PLAIN
) -> tuple[tuple[int, ...], ...]:
    """Encode the options that are not the example's answer, in order; none for tasks whose answer is no choice."""
    right = render_target(card, example)
    others = [option for option in candidates(card, example) or () if option != right]
    return tuple(encode_answer(tokenizer, option, template) for option in others)


def collate(rows: Sequence[Encoded], pad: int) -> Batch:
    """Right-pad training rows: input, then answer; the last answer token is only predicted, never fed."""
    fed = [(*row.input_ids, *row.answer_ids[:-1]) for row in rows]
    length = max(map(len, fed))
    ids = torch.full((len(rows), length), pad)
    mask, predicts = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
    for b, (row, tokens) in enumerate(zip(rows, fed, strict=True)):
        ids[b, : len(tokens)] = torch.tensor(tokens)
        mask[b, : len(tokens)] = True
        predicts[b, len(row.input_ids) - 1 : len(tokens)] = True
    targets = torch.tensor([token for row in rows for token in row.answer_ids])
    owners = torch.tensor([b for b, row in enumerate(rows) for _ in row.answer_ids])
    return Batch(tuple(row.task for row in rows), ids, mask, predicts, targets, owners)


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Int[Tensor, "batch length"], Bool[Tensor, "batch length"]]:
    """Left-pad token rows for generation; returns ids and mask."""
    length = max(map(len, rows))
    ids = torch.tensor([[pad] * (length - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[False] * (length - len(row)) + [True] * len(row) for row in rows])
    return ids, mask


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of plain text: what is spelt like the end token, in a note say, is not the end token."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return ids


def _characters_for(tokenizer: PreTrainedTokenizerBase, text: str, surplus: int) -> int:
    """How many characters of `text` to keep so that about `surplus` tokens go."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    keep = len(offsets) - surplus
    return 0 if keep <= 0 else min(int(offsets[keep][0]), len(text) - 1)
