"""The padded path of backbones that cannot be packed: deep prompts in training and prediction, against the packed path."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mpdd.data.batch import Encoded, collate
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.inference.predict import Request, predict
from mpdd.prompts.attach import attach
from mpdd.prompts.soft import deepened, from_vocabulary
from mpdd.training.forward import forward

ROWS = [Encoded("a", (5, 6, 7, 8, 9), (11, 12)), Encoded("b", (5, 6, 9), (13,)), Encoded("c", (5, 6, 7), (14, 15, 16))] * 2
CARDS = (
    TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",), max_answer_tokens=7),
    TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not sure")),
)


def deep(backbone, length, seed):
    return torch.randn(length, backbone.depth * backbone.width, generator=torch.Generator().manual_seed(seed))


def outcome(backbone):
    """Logits, hidden states and gradients of a batch under two deep prompts and one at the input."""
    prompts = {"a": deep(backbone, 4, 0), "b": deep(backbone, 2, 1), "c": from_vocabulary(backbone, 3, 0)}
    prompts = {name: prompt.requires_grad_() for name, prompt in prompts.items()}
    out = forward(backbone, collate(ROWS, backbone.end), [prompts[row.task] for row in ROWS], all_layers=True)
    loss = torch.nn.functional.cross_entropy(out.logits, collate(ROWS, backbone.end).targets) + out.layers.square().mean()
    return out, torch.autograd.grad(loss, list(prompts.values()))


@pytest.mark.parametrize("of", ["tiny", "qwen"])
def test_logits_states_and_gradients_of_deep_prompts_are_those_of_the_packed_path(tiny, qwen, of):
    backbone = {"tiny": tiny, "qwen": qwen}[of]
    assert backbone.packs
    wanted, wanted_gradients = outcome(backbone)
    found, gradients = outcome(replace(backbone, packs=False))
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.layers, wanted.layers, rtol=1e-4, atol=1e-5)
    for gradient, other in zip(gradients, wanted_gradients, strict=True):
        assert other.norm() > 0 and (gradient - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize(("of", "grounded"), [("tiny", False), ("tiny", True), ("qwen", False)])
def test_answers_and_their_probabilities_are_those_of_the_packed_path(tiny, qwen, of, grounded):
    backbone = {"tiny": tiny, "qwen": qwen}[of]
    prompts = (deep(backbone, 4, 0), deep(backbone, 1, 1), from_vocabulary(backbone, 3, 0), None)
    texts = ("aspirin given", "fever and cough, one two none")
    asked = [
        Request(card, Example(t, t, t, Answer()), prompt, grounded=grounded)
        for card in CARDS for t in texts for prompt in prompts
    ]  # fmt: skip
    for wanted, found in zip(predict(backbone, asked), predict(replace(backbone, packs=False), asked), strict=True):
        assert (found.output, [token for token, _ in found.tokens]) == (wanted.output, [token for token, _ in wanted.tokens])
        assert found.confidence == pytest.approx(wanted.confidence, rel=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_deep_rows_stand_where_their_prompt_stands(tiny, side):
    prompts = [deep(tiny, 3, 0), deep(tiny, 1, 1), from_vocabulary(tiny, 2, 0)]
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    attached = attach(prompts, tiny.embed(torch.randint(3, 60, mask.shape)), mask, side=side)
    flat = attached.embeddings.flatten(0, 1)
    at_input = torch.cat([prompt[:, : tiny.width] for prompt in prompts[:2]])
    assert torch.equal(flat[attached.deep.places], at_input)
    assert torch.equal(attached.deep.rows.flatten(1), torch.cat([prompt[:, tiny.width :] for prompt in prompts[:2]]))


def test_a_deepened_prompt_does_what_the_prompt_at_the_input_does(odd):
    rows = from_vocabulary(odd, 4, 0)
    batch = collate([Encoded("a", (5, 6, 7), (8, 9)), Encoded("a", (5,), (7, 9, 3))], odd.end)
    found = forward(odd, batch, [deepened(odd, rows)] * 2).logits
    torch.testing.assert_close(found, forward(odd, batch, [rows] * 2).logits, rtol=1e-4, atol=1e-4)
    card, text = CARDS[0], "aspirin given"
    shallow, below = (
        predict(odd, [Request(card, Example(text, text, text, Answer()), p)])[0] for p in (rows, deepened(odd, rows))
    )
    assert (shallow.output, shallow.confidence) == (below.output, pytest.approx(below.confidence, rel=1e-3))
