"""The shared prefix gives what a copy of the prompt before every row gives: losses, hidden states and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import DynamicCache

from mpdd.backbone import load
from mpdd.data.batch import Encoded, collate
from mpdd.prompts.prefix import _expand, prefix
from mpdd.training.forward import forward, forward_attached


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


@settings(max_examples=25, deadline=None)
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


def test_rows_under_the_same_prompt_share_one_pass(tiny, monkeypatch):
    seen = []
    read = type(tiny).read_prefix
    monkeypatch.setattr(type(tiny), "read_prefix", lambda self, rows, mask: seen.append(rows.shape[0]) or read(self, rows, mask))
    first, second = torch.randn(4, tiny.width), torch.randn(2, tiny.width)
    made = prefix(tiny, [first, second, first, first])
    assert seen == [2]
    assert made.lengths.tolist() == [4, 2, 4, 4]
    assert made.mask.tolist() == [[True] * 4, [False, False, True, True], [True] * 4, [True] * 4]
    assert made.cache.get_seq_length() == 4


def test_gradients_of_shared_prompts_add_up_in_the_same_order_every_time():
    """On two threads plain indexing does not, in fp32: a resumed run would not repeat an unbroken one."""
    generator = torch.Generator().manual_seed(0)
    of_row, up = torch.randint(0, 3, (120,), generator=generator), torch.randn(120, 2, 16, 64, generator=generator)
    threads, found = torch.get_num_threads(), set()
    torch.set_num_threads(2)
    try:
        for _ in range(10):
            prompts, cache = torch.ones(3, 2, 16, 64, requires_grad=True), DynamicCache()
            cache.update(prompts, prompts.detach(), 0)
            _expand(cache, of_row)
            (cache.layers[0].keys * up).sum().backward()
            found.add(prompts.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
    torch.testing.assert_close(prompts.grad, torch.stack([up[of_row == n].sum(0) for n in range(3)]), rtol=1e-4, atol=1e-4)
