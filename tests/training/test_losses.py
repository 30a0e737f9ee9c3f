"""Loss parts against torch's own and by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mpdd.training.losses import cross_entropy, hidden, kl, sum_by_example


def test_each_example_gets_the_sum_over_its_tokens():
    values = torch.tensor([1.0, 3.0, 10.0])
    assert sum_by_example(values, torch.tensor([0, 0, 1])).tolist() == [4.0, 10.0]


def test_cross_entropy_of_single_token_answers_is_torchs():
    logits, targets = torch.randn(5, 7), torch.randint(0, 7, (5,))
    expected = functional.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(cross_entropy(logits, targets, torch.arange(5)), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_kl_is_the_true_divergence(temperature):
    teacher, student = torch.randn(6, 9), torch.randn(6, 9)
    expected = functional.kl_div(
        (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1), log_target=True, reduction="batchmean"
    )
    found = kl(teacher, student, torch.arange(6), temperature)
    assert torch.allclose(found.mean(), expected * temperature**2, atol=1e-6)
    assert kl(teacher, teacher, torch.arange(6), temperature).abs().max() < 1e-6
    assert (found > 0).all()


def test_hidden_distance_is_relative_to_the_teacher_and_layerwise():
    teacher = torch.randn(3, 4, 8)
    rows = torch.arange(4)
    assert (hidden(teacher, teacher, rows) == 0).all()
    assert torch.allclose(hidden(teacher, torch.zeros_like(teacher), rows), torch.ones(4))
    assert torch.allclose(hidden(10 * teacher, 11 * teacher, rows), hidden(teacher, 1.1 * teacher, rows), atol=1e-6)
