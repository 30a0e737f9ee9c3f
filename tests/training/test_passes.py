"""Passes over chunks of rows give what the plain way gives: one batch, the prompt copied before every row."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from mpdd.backbone import distributed
from mpdd.data.batch import Encoded, collate
from mpdd.prompts.meta import MetaPrompt
from mpdd.training import passes
from mpdd.training.forward import forward_attached
from mpdd.training.losses import cross_entropy
from mpdd.training.passes import Row, add_gradients, mean_by_prompt, row_losses


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
