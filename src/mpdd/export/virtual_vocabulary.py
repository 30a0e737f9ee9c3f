"""A virtual vocabulary: the backbone as a plain Hugging Face checkpoint in which task prompts are runs of new token ids.

Each row of a prompt becomes a row of the embedding table (divided by the number that the model multiplies these by, as Gemma
does), and every old row stays as it is, bit for bit. The head is untied, and each of its new rows is the mean of the old
ones: a new token's logit is then the mean of all old logits, which is never above the highest, whatever the hidden state, and
stays so where the model multiplies all logits or caps them. (A row that wins in no direction of the hidden state is one within
the convex hull of the others; zeros need not lie there.) So greedy decoding writes no new token. Sampling may: n new tokens
beside V old ones have a probability of n / (n + V) at most (not where logits are capped), as a geometric mean is never above
an arithmetic one. Hence the checkpoint's generation settings also suppress them, for programs that read these.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from mpdd.backbone.model import Backbone
from mpdd.backbone.text_part import text_config
from mpdd.backbone.vocabulary import folder_of, needs_ids, pretrained
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.export.record import described, layout, require_distinct_tasks, write_record
from mpdd.prompts.store import PromptFile

MULTIPLE = 64  # the vocabulary's size is padded to a multiple of it, which programs that split or tile it want
_ROUNDING = 1e-2  # relative; bf16 rounds what an embedding layer multiplies to 8 significant bits
_FAR = 1e4  # below the mean, where the head has a bias to say so; float16 still holds it


@dataclass(frozen=True)
class Ids:
    """The new token ids: `first` is the first of them, `runs` has each task's, `size` is the whole padded vocabulary."""

    first: int
    runs: Mapping[str, range]
    size: int


def own_dtype(name: str) -> torch.dtype:
    """The number format of a backbone's checkpoint, fp32 where it does not say; errors are those of `backbone.load`."""
    folder = folder_of(name)
    dtype = pretrained(name, folder, lambda: text_config(folder)).get_text_config().dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


@torch.no_grad()
def write(backbone: Backbone, prompts: Sequence[PromptFile], folder: Path) -> None:
    """Write a checkpoint with the prompts of all tasks, in the number format that `backbone` was loaded in, and the record.

    Raises `InputError` for prompts that cannot be exported, two for one task, and backbones with other than an
    embedding table, multiplied by a number at most, and a linear head.
    """
    tasks = require_distinct_tasks(backbone, prompts)
    ids = number(backbone, {name: prompt.header.length for name, (_, prompt) in tasks.items()})
    tokenizer = _tokenizer(backbone, ids)
    model = _model(backbone, ids, {name: prompt.rows() for name, (_, prompt) in tasks.items()})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {
        name: {**_prefix(backbone, tokenizer, ids.runs[name], task, prompt), **described(prompt, task, backbone)}
        for name, (task, prompt) in tasks.items()
    }
    vocabulary = {"old": len(backbone.table), "first_new": ids.first, "size": ids.size}
    dtype = str(backbone.table.dtype).removeprefix("torch.")
    write_record(folder, backbone, record, dtype=dtype, vocabulary=vocabulary)


def number(backbone: Backbone, lengths: Mapping[str, int]) -> Ids:
    """Give each task's prompt its ids, behind all rows of the table and all tokens of the tokenizer."""
    first = following = max(len(backbone.table), _next(backbone.tokenizer))
    runs = {}
    for name, length in lengths.items():
        runs[name] = range(following, following + length)
        following += length
    return Ids(first, runs, -(-following // MULTIPLE) * MULTIPLE)


def _next(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that the tokenizer gives to the next new token."""
    return max(tokenizer.get_vocab().values()) + 1


def _tokenizer(backbone: Backbone, ids: Ids) -> PreTrainedTokenizerBase:
    """The tokenizer with a special token for every new id; gaps below the first are filled with unused ones."""
    tokenizer = copy.deepcopy(backbone.tokenizer)
    begin = _next(tokenizer)
    names = [f"<|unused:{number}|>" for number in range(begin, ids.first)]
    names += [f"<|task:{task}:{place}|>" for task, run in ids.runs.items() for place in range(len(run))]
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in names], special_tokens=True)
    if tokenizer.convert_tokens_to_ids(names) != list(range(begin, begin + len(names))):
        raise InputError(
            f"The tokenizer of {backbone.name!r} does not number new tokens from its end",
            found="some of the names <|task:NAME:0|>, <|task:NAME:1|> and so on among its tokens, or an unusual numbering",
            wanted="a backbone that is no export itself, with a tokenizer of Hugging Face",
        )
    return tokenizer


def _prefix(backbone: Backbone, new: PreTrainedTokenizerBase, run: range, task: TaskCard, prompt: PromptFile) -> dict[str, Any]:
    """A prompt as ids and as text, and whether the text before an input gives just these ids and the input's own."""
    template = prompt.header.template or backbone.template
    text, asked = "".join(new.convert_ids_to_tokens(list(run))), template.before + layout(task)
    behind = backbone.tokenizer(asked, add_special_tokens=False)["input_ids"]
    is_exact = new(text + asked, add_special_tokens=False)["input_ids"] == [*run, *behind]
    return {"ids": list(run), "text": text, "text_gives_ids": is_exact}


def _model(backbone: Backbone, ids: Ids, rows: Mapping[str, Float[Tensor, "_ width"]]) -> Any:
    """The model with a longer table and an untied head; all other weights are the backbone's own, not copied."""
    table, head = _places(backbone)
    scale = _scale(backbone)
    state = dict(backbone.model.state_dict())
    state[f"{table}.weight"] = _longer(backbone.table, ids.size, 0.0)
    for name, run in ids.runs.items():
        state[f"{table}.weight"][run.start : run.stop] = (rows[name] / scale).to(backbone.table)
    weight = backbone.model.get_output_embeddings().weight
    state[f"{head}.weight"] = _longer(weight, ids.size, weight.mean(0, dtype=torch.float32))
    state |= _rows_by_id(backbone, ids.size)
    bias = state.get(f"{head}.bias")
    if bias is not None:
        state[f"{head}.bias"] = _longer(bias, ids.size, bias.mean(0, dtype=torch.float32) - _FAR)
    return _assembled(backbone, ids, state)


def _places(backbone: Backbone) -> tuple[str, str]:
    """The names of the embedding table and the head among the model's modules."""
    table, head = backbone.model.get_input_embeddings(), backbone.model.get_output_embeddings()
    plain = isinstance(table, nn.Embedding) and isinstance(head, nn.Linear)
    if not plain or head.weight.shape != backbone.table.shape:
        raise InputError(
            f"The backbone {backbone.name!r} has other than an embedding table and a linear head over the same tokens",
            found=f"{type(table).__name__} and {type(head).__name__}",
            wanted="Embedding and Linear, of one size",
        )
    names = {module: name for name, module in backbone.model.named_modules()}
    return names[table], names[head]


def _scale(backbone: Backbone) -> float:
    """By how much the model multiplies rows of its table before its layers begin: the square root of the width for Gemma, 1 for
    most. A prompt's rows are what the layers begin with, so the table must hold them divided by it."""
    probe = torch.linspace(0, len(backbone.table) - 1, 64, device=backbone.device).long()
    rows, given = backbone.table[probe].double(), backbone.embed(probe).double()
    if torch.equal(rows, given):
        return 1.0
    scale = float((rows * given).sum() / rows.square().sum())
    if not (given - scale * rows).norm() <= _ROUNDING * given.norm():
        raise InputError(
            f"The embedding layer of {backbone.name!r} does more than to look up rows and to multiply them",
            found=type(backbone.model.get_input_embeddings()).__name__,
            wanted="rows of a table, times one number",
        )
    return scale


def _rows_by_id(backbone: Backbone, size: int) -> dict[str, Tensor]:
    """The longer table of a model with rows by token for every layer (Gemma 4 E2B and E4B), by its name; none for others. New
    tokens have the rows of the padding token, as rows of prompts have everywhere."""
    config = backbone.model.config.get_text_config()
    if not needs_ids(config):
        return {}
    table: Any = backbone.decoder.embed_tokens_per_layer
    name = next(name for name, module in backbone.model.named_modules() if module is table)
    return {f"{name}.weight": _longer(table.weight, size, table.weight[config.pad_token_id or 0])}


def _longer(rows: Tensor, size: int, fill: Tensor | float) -> Tensor:
    """The rows, and below them `fill` until there are `size`."""
    longer = rows.new_empty(size, *rows.shape[1:])
    longer[: len(rows)] = rows
    longer[len(rows) :] = fill
    return longer


def _assembled(backbone: Backbone, ids: Ids, state: Mapping[str, Tensor]) -> Any:
    """A model of the backbone's class around given weights."""
    config = copy.deepcopy(backbone.model.config)
    for part in (config, config.get_text_config()):
        part.tie_word_embeddings = False
    config.get_text_config().vocab_size = ids.size
    if needs_ids(config):
        config.get_text_config().vocab_size_per_layer_input = ids.size
    try:
        with torch.device("meta"):
            model = type(backbone.model)(config)
        model.load_state_dict(state, assign=True)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The backbone {backbone.name!r} cannot have a longer vocabulary", found=f"class {type(backbone.model).__name__}",
            wanted="a model whose vocabulary is its embedding table and its head alone, not quantised",
        ) from error  # fmt: skip
    model._weight_conversions = getattr(backbone.model, "_weight_conversions", None)  # how its file names differ from ours
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        eos_token_id=backbone.end,
        pad_token_id=backbone.tokenizer.pad_token_id,
        suppress_tokens=list(range(len(backbone.table), ids.size)),
    )
    return model
