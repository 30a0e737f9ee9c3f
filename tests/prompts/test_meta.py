"""The metaprompt's arithmetic."""

from __future__ import annotations

import pytest
import torch

from mpdd.errors import InputError
from mpdd.prompts.meta import MetaPrompt


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
