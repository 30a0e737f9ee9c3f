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
from mpdd.prompts.meta import MetaPrompt
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


# The metaprompt's arithmetic.


@pytest.mark.parametrize("rank", [1, 3])
def test_starts_at_identity(rank):
    shared = torch.randn(6, 8)
    meta = MetaPrompt(shared, ["a", "b"], rank)
    assert torch.equal(meta("a"), shared)
    assert torch.equal(meta("b"), shared)


def test_every_factor_gets_a_gradient_from_identity():
    meta = MetaPrompt(torch.randn(6, 8), ["a"], 3)
    meta("a").square().sum().backward()
    assert (meta.u.grad != 0).all()
    assert (meta.v.grad[0, 0] != 0).all()


def test_product_of_factors_by_hand():
    meta = MetaPrompt(torch.randn(4, 5), ["a", "b"], 2)
    with torch.no_grad():
        meta.u.normal_()
        meta.v.normal_()
    expected = torch.zeros(4, 5)
    for i in range(4):
        for j in range(5):
            weight = sum(meta.u[1, r, i] * meta.v[1, r, j] for r in range(2))
            expected[i, j] = meta.shared[i, j] * weight
    assert torch.allclose(meta("b"), expected, atol=1e-6)


def test_rank_one_is_diag_u_shared_diag_v():
    meta = MetaPrompt(torch.randn(4, 5), ["a"])
    with torch.no_grad():
        meta.u.normal_()
        meta.v.normal_()
    assert torch.allclose(meta("a"), torch.diag(meta.u[0, 0]) @ meta.shared @ torch.diag(meta.v[0, 0]), atol=1e-6)


def test_target_starts_from_the_mean_factors_and_leaves_the_sources_alone():
    meta = MetaPrompt(torch.randn(4, 5), ["a", "b"])
    with torch.no_grad():
        meta.u.normal_()
    target = meta.for_target("new")
    assert torch.allclose(target("new"), meta.shared * (meta.u.mean(0).T @ meta.v.mean(0)))
    with torch.no_grad():
        target.shared.zero_()
    assert meta.shared.abs().sum() > 0
    assert torch.equal(meta.for_target("x")("x"), meta.zero_shot())


def test_parameter_arithmetic_of_the_reference_shape():
    """l = 100, d = 4096, r = 1: 413,796 numbers, 0.0052 % of 8.03 B."""
    target = MetaPrompt(torch.zeros(100, 4096), ["t"])
    count = sum(p.numel() for p in target.parameters())
    assert count == 413_796
    assert round(100 * count / 8.03e9, 4) == 0.0052


def test_unknown_task_and_bad_rank_are_named():
    meta = MetaPrompt(torch.randn(4, 5), ["a"])
    with pytest.raises(InputError, match="found nope; wanted one of a"):
        meta("nope")
    with pytest.raises(InputError, match="found 5; wanted 1 to 4"):
        MetaPrompt(torch.randn(4, 5), ["a"], 5)
