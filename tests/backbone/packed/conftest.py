"""Small random models of other families, built as the table of families builds them."""

from __future__ import annotations

import pytest
import torch

from mpdd.backbone import model as backbone
from scripts.families import FAMILIES

PADDED = ("BLOOM", "Falcon", "Qwen3.5", "LFM2", "Falcon-H1", "Mamba")


@pytest.fixture(scope="session")
def built(tiny, tmp_path_factory):
    """The backbone of a family, loaded once."""
    loaded = {}

    def of(title):
        if title not in loaded:
            family = next(family for family in FAMILIES if family.title == title)
            if not family.is_installed:
                pytest.skip(f"this transformers has no {title}")
            family.build(folder := tmp_path_factory.mktemp("family"), tiny.tokenizer)
            loaded[title] = backbone.load(str(folder), dtype=torch.float32, device="cpu")
        return loaded[title]

    return of


@pytest.fixture(scope="session")
def qwen(built):
    return built("Qwen3")


@pytest.fixture(params=PADDED)
def odd(built, request):
    """A backbone whose rows cannot be laid end to end."""
    found = built(request.param)
    assert not found.packs and found.why_padded
    return found
