"""`mpdd prompt`: keys, signatures and stripped files, as typed."""

from __future__ import annotations

import pytest
import torch

from mpdd.prompts.store import Header, save_prompt


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "drugs.safetensors"
    save_prompt(path, {"rows": torch.ones(3, 8)}, Header("soft", "any", "0" * 64, 3, 8, provenance={"seed": 7}))
    return path


def test_the_commands_sign_verify_and_strip(file, tmp_path, monkeypatch, mpdd):
    monkeypatch.chdir(tmp_path)
    assert mpdd("prompt", "new-key", "clinic").code == 0
    assert "is not signed" in mpdd("prompt", "verify", file, "--key", "clinic.pub").err
    assert mpdd("prompt", "sign", file, "--key", "clinic.key").code == 0
    assert mpdd("prompt", "verify", file, "--key", "clinic.pub").out == "drugs.safetensors is signed by clinic.pub\n"
    assert mpdd("prompt", "strip", file, "--out", "plain.safetensors").code == 0
    assert "plain.safetensors is there already" in mpdd("prompt", "strip", file, "--out", "plain.safetensors").err
