"""A soft prompt: rows of virtual token embeddings, and the ways to start one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.errors import InputError


class SoftPrompt(nn.Module):
    """`length` trainable rows of the backbone's width, in fp32 (Lester et al. 2021, arXiv 2104.08691)."""

    def __init__(self, rows: Float[Tensor, "length width"]) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows.detach().clone().float())

    def forward(self) -> Float[Tensor, "length width"]:
        """The prompt's rows."""
        return self.rows


def from_random(backbone: Backbone, length: int, seed: int) -> Float[Tensor, "length width"]:
    """Normal noise with the mean and spread of all token embeddings, as the embedding layer gives them."""
    mean, spread = _moments(backbone)
    noise = torch.randn(length, backbone.width, generator=torch.Generator().manual_seed(seed))
    return mean + spread * noise


def from_vocabulary(backbone: Backbone | Vocabulary, length: int, seed: int) -> Float[Tensor, "length width"]:
    """Embeddings of distinct ordinary tokens drawn at random (special tokens left out)."""
    special = set(backbone.tokenizer.all_special_ids)
    ordinary = torch.tensor([i for i in range(len(backbone.tokenizer)) if i not in special])
    drawn = torch.randperm(len(ordinary), generator=torch.Generator().manual_seed(seed))[:length]
    if length > len(ordinary):
        raise InputError("The prompt is longer than the vocabulary", found=length, wanted=f"at most {len(ordinary)}")
    return _rows(backbone, ordinary[drawn])


def from_text(backbone: Backbone | Vocabulary, length: int, text: str) -> Float[Tensor, "length width"]:
    """Embeddings of a text's tokens, repeated or cut to `length`."""
    ids = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise InputError("The text that should start a prompt has no tokens", wanted="at least one word")
    repeated = (ids * (length // len(ids) + 1))[:length]
    return _rows(backbone, torch.tensor(repeated))


def initial_rows(
    backbone: Backbone, length: int, how: str, *, depth: str = "input", seed: int, text: str = ""
) -> Float[Tensor, "length width"]:
    """Start rows by name: `vocabulary`, `text` or `random`. Raises `InputError` on another name or a bad length.

    With `depth` all they are deep, [length, layers * width]: before each layer stands what the prompt at the input would
    come to there, so that both start as the same prompt.
    """
    starts: dict[str, Callable[[], Tensor]] = {
        "vocabulary": lambda: from_vocabulary(backbone, length, seed),
        "random": lambda: from_random(backbone, length, seed),
        "text": lambda: from_text(backbone, length, text),
    }
    if how not in starts:
        raise InputError("Unknown prompt initialisation", found=repr(how), wanted=f"one of {', '.join(starts)}")
    if not 0 < length < backbone.context:
        raise InputError("The prompt length does not fit", found=length, wanted=f"1 to {backbone.context - 1}")
    rows = starts[how]()
    return deepened(backbone, rows) if depth == "all" else rows


def row_width(backbone: Backbone, depth: str) -> int:
    """Numbers of one virtual token: the backbone's width, times its layers with `depth` all."""
    return backbone.width * (backbone.depth if depth == "all" else 1)


@torch.no_grad()
def deepened(backbone: Backbone, rows: Float[Tensor, "length width"]) -> Float[Tensor, "length deep_width"]:
    """The deep prompt that does what `rows` at the input do."""
    embeddings = rows[None].to(backbone.table)
    every = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
    positions = torch.arange(len(rows), device=embeddings.device)[None]
    ids = torch.full_like(positions, -1)
    layers = backbone.states(embeddings, every, positions, every, all_layers=True, ids=ids).layers
    assert layers is not None
    return torch.cat([rows, *layers[:-1].float().cpu()], dim=1)


def _rows(backbone: Backbone | Vocabulary, ids: Int[Tensor, " length"]) -> Float[Tensor, "length width"]:
    """The tokens' embeddings in fp32, as the embedding layer gives them; nothing else of the table is converted or moved."""
    return backbone.embed(ids).detach().float().cpu()


@torch.no_grad()
def _moments(backbone: Backbone) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
    """The mean and standard deviation of each coordinate over the embeddings of all tokens."""
    embeddings = backbone.embed(torch.arange(len(backbone.table))).float().cpu()
    return embeddings.mean(0), embeddings.std(0)
