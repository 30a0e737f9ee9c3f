"""Prompt rows made of a task's own examples, without training: what the examples' tokens are before every layer.

The rows stand behind another prompt (a metaprompt's) as the second part of one longer deep prompt. A row is what the backbone
makes of a token that has read the whole example, so a prompt with such rows is derived from the examples' texts. They are
tokens' own states: means of several tokens are unlike anything that the layers know, and spoil every answer (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.data.batch import Encoded
from mpdd.prompts.attach import attach, move
from mpdd.prompts.soft import deepened


@dataclass(frozen=True)
class ExampleRows:
    """Deep rows [n, layers * width], and the number of the example that each was made of."""

    rows: Float[Tensor, "n deep_width"]
    owners: Int[Tensor, " n"]

    def not_of(self, examples: Sequence[int]) -> Bool[Tensor, " n"]:
        """Which rows were made of none of these examples."""
        return ~torch.isin(self.owners, torch.tensor(examples, dtype=torch.long))


@torch.no_grad()
def example_rows(backbone: Backbone, prompt: Float[Tensor, "length _"], examples: Sequence[Encoded], most: int) -> ExampleRows:
    """Read each example with its answer behind `prompt`, and take the states of its last tokens: equally many of each example,
    `most` in all.

    These tokens, the answer's and those before a short answer, have read all of the example. Each example is read by itself, so
    its rows hold nothing of another one. There may be at most `most` examples. The rows are in fp32 on the CPU.
    """
    each = most // len(examples)
    parts = [states_behind(backbone, prompt, example)[-each:] for example in examples]
    owners = [torch.full((len(part),), number) for number, part in enumerate(parts)]
    return ExampleRows(torch.cat(parts), torch.cat(owners))


@torch.no_grad()
def states_behind(backbone: Backbone, prompt: Float[Tensor, "length _"], example: Encoded) -> Float[Tensor, "tokens deep_width"]:
    """What the tokens of an example and its answer are before every layer, when they are read behind `prompt`."""
    ids = torch.tensor([[*example.input_ids, *example.answer_ids]], device=backbone.device)
    every = torch.ones_like(ids, dtype=torch.bool)
    embeddings = backbone.embed(ids)
    attached = attach([prompt.to(backbone.device)], embeddings, every, side="right")
    layers = backbone.states(
        attached.embeddings, attached.mask, attached.positions, move(every, attached), all_layers=True, deep=attached.deep,
        ids=move(ids, attached, front=-1),
    ).layers  # fmt: skip
    assert layers is not None
    return torch.cat([embeddings[0].float(), *layers[:-1].float()], dim=1).cpu()


def before_every_layer(backbone: Backbone, prompt: Float[Tensor, "length _"]) -> Float[Tensor, "length deep_width"]:
    """A prompt as a deep one, in fp32 on the CPU: a prompt at the input becomes the deep prompt that does the same."""
    rows = prompt.detach().float().cpu()
    return deepened(backbone, rows) if rows.shape[1] == backbone.width and backbone.depth > 1 else rows
