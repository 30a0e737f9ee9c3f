"""Where a soft prompt's rows come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mpdd.backbone.packed.group import rounded
from mpdd.data.batch import Encoded, collate
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.errors import InputError
from mpdd.inference.predict import Request, predict
from mpdd.prompts.soft import SoftPrompt, deepened, from_text, from_vocabulary, initial_rows
from mpdd.training.forward import forward


def test_vocabulary_rows_are_distinct_ordinary_embeddings(tiny):
    rows = initial_rows(tiny, 10, "vocabulary", seed=3)
    matches = (rows[:, None] == tiny.table[None]).all(-1)
    assert matches.any(1).all()
    ids = matches.float().argmax(1).tolist()
    assert len(set(ids)) == 10
    assert tiny.end not in ids


def test_text_rows_repeat_the_text(tiny):
    ids = tiny.tokenizer("fever and cough")["input_ids"]
    rows = initial_rows(tiny, len(ids) + 2, "text", seed=0, text="fever and cough")
    assert torch.equal(rows, tiny.table[torch.tensor([*ids, *ids[:2]])])


@pytest.mark.parametrize("how", ["vocabulary", "text"])
def test_of_a_vocabulary_only_the_rows_are_converted(tiny, how):
    words = replace(tiny.vocabulary, embedding=nn.Embedding.from_pretrained(tiny.table.detach().bfloat16()))
    start = {"vocabulary": lambda: from_vocabulary(words, 3, seed=3), "text": lambda: from_text(words, 3, "fever and cough")}[how]
    with Copies(words.table) as copies:
        rows = start()
    assert rows.dtype == torch.float32
    assert torch.equal(rows, initial_rows(tiny, 3, how, seed=3, text="fever and cough").bfloat16().float())
    assert max(copies.numbers) == rows.numel() < words.table.numel()


class Copies(TorchDispatchMode):
    """Notes how many floating-point numbers each operation makes anew, beside those of `known`."""

    def __init__(self, known):
        super().__init__()
        self.known, self.numbers = known.untyped_storage().data_ptr(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if found.is_floating_point() and found.untyped_storage().data_ptr() != self.known:
            self.numbers.append(found.numel())
        return found


def test_random_rows_have_the_tables_spread(tiny):
    rows = initial_rows(tiny, 200, "random", seed=0)
    assert torch.allclose(rows.std(0).mean(), tiny.table.std(0).mean(), rtol=0.1)
    assert torch.equal(rows, initial_rows(tiny, 200, "random", seed=0))


def test_a_prompt_owns_its_rows_in_fp32():
    start = torch.zeros(2, 3, dtype=torch.bfloat16)
    prompt = SoftPrompt(start)
    assert prompt().dtype == torch.float32
    with torch.no_grad():
        prompt.rows.add_(1)
    assert start.sum() == 0


@pytest.mark.parametrize(
    ("length", "how", "text", "message"),
    [
        (4, "zeros", "", "found 'zeros'; wanted one of vocabulary, random, text"),
        (0, "random", "", "wanted 1 to 255"),
        (256, "random", "", "found 256"),
        (4, "text", "", "at least one word"),
    ],
)
def test_bad_starts_are_named(tiny, length, how, text, message):
    with pytest.raises(InputError, match=message):
        initial_rows(tiny, length, how, seed=0, text=text)


# Deep prompts against a loop over the layers written out by hand.


def by_hand(backbone, ids, prompt):
    """Vocabulary logits after each text token: one row, the prompt's rows put in place before every layer."""
    model, width, length = backbone.model.model, backbone.width, len(prompt)
    states = torch.cat([prompt[:, :width], backbone.embed(torch.tensor(ids))])[None]
    positions = torch.arange(states.shape[1])[None]
    turned = model.rotary_emb(states, positions)
    hidden = torch.full((states.shape[1],) * 2, float("-inf")).triu(1)[None, None]
    for number, layer in enumerate(model.layers):
        rows = prompt[:, number * width : (number + 1) * width]
        states = torch.cat([rows[None], states[:, length:]], dim=1)
        states = layer(states, attention_mask=hidden, position_ids=positions, position_embeddings=turned)
    return backbone.model.lm_head(model.norm(states))[0, length:]


def deep(backbone, length, seed):
    return torch.randn(length, backbone.depth * backbone.width, generator=torch.Generator().manual_seed(seed))


def test_losses_and_gradients_are_those_of_the_loop(tiny):
    rows = [Encoded("a", (5, 6, 7, 8, 9), (11, 12)), Encoded("b", (5, 6, 9), (13,)), Encoded("a", (5, 6, 7), (14, 15, 16))]
    prompts = {"a": deep(tiny, 4, 0).requires_grad_(), "b": deep(tiny, 2, 1).requires_grad_()}
    wanted = []
    for row in rows:
        ids = (*row.input_ids, *row.answer_ids[:-1])
        wanted.append(by_hand(tiny, ids, prompts[row.task])[len(row.input_ids) - 1 :])
    found = forward(tiny, collate(rows, tiny.end), [prompts[row.task] for row in rows]).logits
    torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-4, atol=1e-5)
    ours = torch.autograd.grad(found.square().sum(), list(prompts.values()))
    theirs = torch.autograd.grad(torch.cat(wanted).square().sum(), list(prompts.values()))
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


def test_feed_forward_parts_leave_out_what_the_next_layer_replaces(tiny):
    seen = []
    parts = [layer.mlp.up_proj for layer in tiny.decoder.layers]
    handles = [part.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1])) for part in parts]
    row = Encoded("a", tuple(range(5, 45)), (11, 12))
    for prompt in (deep(tiny, 40, 0), from_vocabulary(tiny, 40, 0)):
        forward(tiny, collate([row], tiny.end), [prompt])
    for handle in handles:
        handle.remove()
    below, last = len(parts) - 1, rounded(2)
    assert seen == [*[rounded(41)] * below, last, *[rounded(81)] * below, last]


def test_answers_are_those_of_the_loop_beside_prompts_at_the_input(tiny):
    card = TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",), max_answer_tokens=6)
    example = Example("1", "1", "aspirin given", Answer())
    shallow, below = from_vocabulary(tiny, 3, 0), deep(tiny, 3, 2)
    mixed = predict(tiny, [Request(card, example, below), Request(card, example, shallow), Request(card, example)])
    written = list(tiny.tokenizer("List the drugs.\nLabels: Drug\nText: aspirin given\nAnswer:")["input_ids"])
    first = len(written)
    while len(written) < first + 6 and (not written[first:] or written[-1] != tiny.end):
        written.append(int(by_hand(tiny, written, below)[-1].argmax()))
    assert mixed[0].output == tiny.tokenizer.decode(written[first:], skip_special_tokens=True).strip()
    assert [p.output for p in mixed[1:]] == [predict(tiny, [Request(card, example, p)])[0].output for p in (shallow, None)]


@pytest.mark.parametrize("length", [1, 5])
def test_a_deepened_prompt_does_what_the_prompt_at_the_input_does(tiny, length):
    rows = from_vocabulary(tiny, length, 0)
    batch = collate([Encoded("a", (5, 6, 7), (8, 9))], tiny.end)
    found = forward(tiny, batch, [deepened(tiny, rows)]).logits
    torch.testing.assert_close(found, forward(tiny, batch, [rows]).logits, rtol=1e-4, atol=1e-5)
