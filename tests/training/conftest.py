"""Fixtures of all tests of training."""

from __future__ import annotations

import hashlib

import pytest


def digest(backbone):
    found = hashlib.sha256()
    for name, tensor in sorted(backbone.model.state_dict().items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


@pytest.fixture
def unchanged(tiny):
    before = digest(tiny)
    yield
    assert digest(tiny) == before
    assert not any(p.requires_grad or p.grad is not None for p in tiny.model.parameters())
