"""The command line in this process, and a place with a tiny backbone, its prompt files and a note."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers.utils import logging
from typer.main import get_command

from mpdd import cli
from mpdd.data.task import TaskCard
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, save_prompt

SECRET = "ZZPATIENTNAMEZZ"
LENGTH = 4
CARDS = (
    TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",), max_answer_tokens=8),
    TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no"), fields=("Hypothesis",)),
    TaskCard("short", "summarization", "Say it in one line.", max_answer_tokens=8),
)


parser_of = cache(get_command)  # typer makes the parser of all commands anew at each call: half of a short call's time


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def mpdd(monkeypatch, capfd) -> Iterator[Callable[..., Ran]]:
    """Run `mpdd` as typed, in this process; give back its exit code and what it printed."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["mpdd", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as left:
            cli.main()
        return Ran(left.value.code, *capfd.readouterr())

    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr("typer.main.get_command", parser_of)
    logging.disable_progress_bar()  # the libraries read the variables that `mpdd` sets when they are imported: here, before
    yield run
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def shelf(tiny, tmp_path_factory) -> Path:
    """A folder of prompt files for the tiny backbone: one for each card, and a metaprompt."""
    folder = tmp_path_factory.mktemp("shelf")
    header = Header("soft", tiny.name, tiny.fingerprint, LENGTH, tiny.width)
    torch.manual_seed(0)
    for card in CARDS:
        described = replace(header, card=card, tasks=(card.name,), provenance={"experiment": "shelf"})
        save_prompt(folder / f"{card.name}.safetensors", {"rows": torch.randn(LENGTH, tiny.width)}, described)
    meta = MetaPrompt(torch.randn(LENGTH, tiny.width), ["a", "b"])
    tensors = {"shared": meta.shared, "u": meta.u, "v": meta.v}
    save_prompt(folder / "meta.safetensors", tensors, replace(header, kind="meta", rank=1, tasks=meta.tasks))
    return folder


@pytest.fixture
def place(shelf, tmp_path, monkeypatch) -> Path:
    """An empty working folder with the prompt files and a note that holds what must never be printed."""
    for path in shelf.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "note.txt").write_text(f"{SECRET} was given aspirin.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path
