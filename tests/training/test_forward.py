"""Rows laid end to end give what a copy of the prompt before every row gives: losses, hidden states and gradients."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mpdd.backbone import distributed
from mpdd.backbone.model import load
from mpdd.backbone.packed import prefix_tree as tree
from mpdd.backbone.packed.group import rounded
from mpdd.data.batch import Encoded, collate
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.pack import Text, pack
from mpdd.training import passes
from mpdd.training.forward import forward, forward_attached
from mpdd.training.losses import cross_entropy
from mpdd.training.passes import Row, add_gradients, mean_by_prompt, row_losses
from tests.conftest import tries


def rows_of(sizes, tasks, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def ids(count):
        return tuple(torch.randint(3, 60, (count,), generator=generator).tolist())

    return [Encoded(task, ids(size), ids(1 + size % 3)) for size, task in zip(sizes, tasks, strict=True)]


def run(function, backbone, rows, lengths):
    generator = torch.Generator().manual_seed(1)
    prompts = {t: (0.3 * torch.randn(n, backbone.width, generator=generator)).requires_grad_() for t, n in lengths.items()}
    batch = collate(rows, backbone.end)
    out = function(backbone, batch, [prompts[row.task] for row in rows], all_layers=True)
    loss = functional.cross_entropy(out.logits, batch.targets) + out.layers.float().square().mean()
    loss.backward()
    return loss.item(), out, {task: prompt.grad for task, prompt in prompts.items() if prompt.grad is not None}


@settings(max_examples=tries(15), deadline=None)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5), lengths=st.tuples(*[st.integers(1, 6)] * 3), data=st.data())
def test_equals_the_reference_in_fp32(tiny, sizes, lengths, data):
    tasks = data.draw(st.lists(st.sampled_from("abc"), min_size=len(sizes), max_size=len(sizes)))
    rows = rows_of(sizes, tasks)
    ours, wanted = (run(f, tiny, rows, dict(zip("abc", lengths, strict=True))) for f in (forward, forward_attached))
    assert ours[0] == pytest.approx(wanted[0], rel=1e-5)
    torch.testing.assert_close(ours[1].logits, wanted[1].logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[1].layers, wanted[1].layers, rtol=1e-4, atol=1e-5)
    assert ours[2].keys() == wanted[2].keys()
    for task, gradient in wanted[2].items():
        assert (ours[2][task] - gradient).norm() <= 1e-5 * gradient.norm()


def test_bf16_gradients_point_the_same_way(tiny_folder):
    backbone = load(str(tiny_folder), dtype=torch.bfloat16)
    rows = rows_of((20, 5, 33, 12), "abab")
    ours, wanted = (run(f, backbone, rows, {"a": 6, "b": 6})[2] for f in (forward, forward_attached))
    for task, gradient in wanted.items():
        assert functional.cosine_similarity(ours[task].flatten(), gradient.flatten(), dim=0) > 0.999


def test_rows_under_the_same_prompt_share_it_and_the_words_they_begin_with(tiny):
    first, second = torch.randn(4, tiny.width), torch.randn(2, tiny.width)
    texts = [Text([7, 8, 9, 1], first), Text([7, 8, 9, 2, 2], second), Text([7, 8, 3], first), Text([7, 8, 9], first)]
    packed = pack(tiny, texts)
    assert [len(packed.layout.chains[segment]) for segment in packed.segments] == [8, 7, 7, 7]
    real = max(packed.ends)
    assert real == (4 + 2) + 2 + 1 + 1 + (2 + 5)
    assert packed.positions[:real].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 6, 6, *range(7)]


@settings(max_examples=tries(15), deadline=None)
@given(sizes=st.lists(st.integers(1, 8), min_size=2, max_size=6), shared=st.integers(0, 6))
def test_texts_that_begin_alike_equal_the_reference(tiny, sizes, shared):
    rows = [Encoded("a", (*range(5, 5 + shared), *row.input_ids), row.answer_ids) for row in rows_of(sizes, "a" * len(sizes))]
    ours, wanted = (run(f, tiny, rows, {"a": 5}) for f in (forward, forward_attached))
    torch.testing.assert_close(ours[1].logits, wanted[1].logits, rtol=1e-4, atol=1e-5)
    assert (ours[2]["a"] - wanted[2]["a"]).norm() <= 1e-5 * wanted[2]["a"].norm()


@pytest.mark.parametrize("most", [None, 0])
def test_gradients_add_up_in_the_same_order_every_time(tiny, most, monkeypatch):
    """On two threads: else a resumed run would not repeat an unbroken one. With and without torch's fused attention."""
    if most is not None:
        monkeypatch.setattr(tree, "_MOST", most)
    rows, threads, found = rows_of([9, 30, 17, 4] * 10, "abca" * 10), torch.get_num_threads(), set()
    torch.set_num_threads(2)
    try:
        for _ in range(5):
            gradients = run(forward, tiny, rows, {"a": 6, "b": 3, "c": 6})[2]
            found.add(b"".join(gradients[task].numpy().tobytes() for task in "abc"))
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


def test_fused_attention_and_products_agree(tiny, monkeypatch):
    rows = rows_of((20, 5, 33, 12), "abab")
    wanted = run(forward, tiny, rows, {"a": 6, "b": 2})
    monkeypatch.setattr(tree, "_MOST", 0)
    ours = run(forward, tiny, rows, {"a": 6, "b": 2})
    torch.testing.assert_close(ours[1].logits, wanted[1].logits, rtol=1e-4, atol=1e-5)
    for task, gradient in wanted[2].items():
        assert (ours[2][task] - gradient).norm() <= 1e-5 * gradient.norm()


def test_only_answers_are_computed_in_the_last_feed_forward_part(tiny):
    seen = []
    handle = tiny.decoder.layers[-1].mlp.up_proj.register_forward_hook(lambda module, given, _: seen.append(given[0].shape[1]))
    rows = rows_of((20, 5), "ab")
    run(forward, tiny, rows, {"a": 6, "b": 2})
    handle.remove()
    assert seen == [rounded(sum(len(row.answer_ids) for row in rows))] == [32]


def test_what_goes_wrong_under_one_prompt_stays_there(tiny):
    rows = rows_of((9, 4, 12, 7), "abab")
    prompts = {"a": torch.randn(4, tiny.width), "b": torch.full((5, tiny.width), float("nan"))}
    batch = collate(rows, tiny.end)
    with torch.no_grad():
        logits = forward(tiny, batch, [prompts[row.task] for row in rows]).logits
    fine = torch.tensor([rows[i].task == "a" for i in batch.rows])
    assert logits[fine].isfinite().all() and logits[~fine].isnan().all()


# Passes over chunks of rows give what the plain way gives: one batch, the prompt copied before every row.


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)

    def ids(count):
        return tuple(torch.randint(3, 60, (count,), generator=generator).tolist())

    return [Row(Encoded(name, ids(size), ids(2)), name, 0.25) for name, size in zip("abaab", (30, 4, 9, 17, 8), strict=True)]


def meta(tiny):
    made = MetaPrompt(torch.randn(4, tiny.width, generator=torch.Generator().manual_seed(1)), ["a", "b"])
    with torch.no_grad():
        made.u.normal_(generator=torch.Generator().manual_seed(2))
    return made


@pytest.mark.parametrize("tokens", [1, 40, 8192])
def test_gradients_and_losses_equal_the_reference_however_rows_are_cut(tiny, rows, tokens, monkeypatch):
    monkeypatch.setattr(passes, "TOKENS", tokens)
    ours, plain = meta(tiny), meta(tiny)
    parts = add_gradients(tiny, rows, {name: ours(name) for name in "ab"})
    batch = collate([row.encoded for row in rows], tiny.end)
    exact = replace(tiny, model=deepcopy(tiny.model).double())  # in fp32 the reference's own rounding is as large as ours
    out = forward_attached(exact, batch, [plain(row.prompt).double() for row in rows])
    losses = cross_entropy(out.logits, batch.targets, batch.rows)
    (0.25 * losses).sum().backward()
    torch.testing.assert_close(parts["loss"], losses.detach(), rtol=1e-5, atol=1e-6)
    for name, wanted in plain.named_parameters():
        gradient = ours.get_parameter(name).grad
        assert (gradient - wanted.grad).norm() <= 1e-5 * wanted.grad.norm()
    with torch.no_grad():
        torch.testing.assert_close(
            row_losses(tiny, rows, {name: ours(name) for name in "ab"}), losses.detach(), rtol=1e-5, atol=1e-6
        )


def test_chunks_hold_every_row_once_and_few_padding_tokens(rows, monkeypatch):
    monkeypatch.setattr(passes, "TOKENS", 40)
    cut = list(passes.chunks(rows))
    assert sorted(i for chunk in cut for i in chunk) == list(range(5))
    sizes = [len(row.encoded.input_ids) + 2 for row in rows]
    assert all(len(chunk) == 1 or len(chunk) * max(sizes[i] for i in chunk) <= 40 for chunk in cut)
    assert [len(chunk) for chunk in cut] == [3, 1, 1]


@pytest.mark.parametrize("tokens", [1, 25, 40, 8192])
def test_a_split_backbone_runs_equally_often_in_every_process(tiny, rows, tokens, monkeypatch):
    monkeypatch.setattr(passes, "TOKENS", tokens)
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    found = []
    for number in (0, 1):
        monkeypatch.setattr(distributed, "number", lambda number=number: number)
        found.append(list(passes._own_chunks(replace(tiny, is_split=True), rows)))
    assert len(found[0]) == len(found[1])
    assert sorted(i for chunks in found for chunk, counts in chunks if counts for i in chunk) == list(range(5))
    if tokens == 1:
        assert [counts for _, counts in found[1]] == [True, True, False]  # two rows against three


def test_means_by_prompt(rows):
    assert mean_by_prompt(torch.tensor([1.0, 2.0, 3.0, 5.0, 4.0]), rows) == {"a": 3.0, "b": 3.0}
