"""`mpdd prompt`: keys, signatures and stripped files, as typed."""

from __future__ import annotations

import pytest
import torch

from mpdd.cli.show import print_results
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


# Answers on a terminal: each kind on lines of its own, with what is wrong about it.

FINE = {"id": "n", "task": "t", "unparseable": False, "ungrounded": 0, "cut_characters": 0}
PLACED = {"start": 6, "end": 13, "text": "aspirin"}


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ({"answer": "yes"}, ["yes"]),
        ({"answer": None, "unparseable": True}, ["None", "(the model's output could not be read in full)"]),
        ({"answer": PLACED}, ["6     13  aspirin"]),
        ({"labels": ["I10", "J45"]}, ["I10; J45"]),
        ({"labels": [], "ungrounded": 2}, ["none", "(2 named labels are not the task's and were left out)"]),
        ({"answer": PLACED | {"start": None, "end": None}, "ungrounded": 1}, ["aspirin", "(these words are not in the text)"]),
        (
            {"summary": "Well.", "cut_characters": 3},
            ["Well.", "(3 characters at the end did not fit the context and were not read)"],
        ),
        (
            {"entities": [PLACED | {"label": "Drug"}], "ungrounded": 2},
            ["6     13  Drug             aspirin", "(2 named items are not in the text and were left out)"],
        ),
    ],
)
def test_answers_are_printed(result, lines, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    print_results([FINE | result], as_json=False)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ["n  t", *lines]
