"""Prompt files for any backbone, and checkpoints made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mpdd.data.task import TaskCard
from mpdd.export import virtual_vocabulary
from mpdd.export.record import RECORD
from mpdd.files import new_folder
from mpdd.prompts.store import Header, PromptFile, save_prompt


def prompt_file(folder: Path, backbone: Any, card: TaskCard, rows: torch.Tensor) -> PromptFile:
    depth = "all" if rows.shape[1] > backbone.width else "input"
    header = Header("soft", backbone.name, backbone.fingerprint, *rows.shape, tasks=(card.name,), card=card, depth=depth)
    return save_prompt(folder / f"{card.name}.safetensors", {"rows": rows}, header)


class Checkpoint:
    """An export as any program finds it: nothing of mpdd reads it."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.folder = folder
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        self.old = self.record["vocabulary"]["old"]

    def ids(self, task: str, text: str) -> list[int]:
        return [*self.record["tasks"][task]["ids"], *self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    @torch.no_grad()
    def logits(self, ids: list[int]) -> torch.Tensor:
        return self.model(input_ids=torch.tensor([ids])).logits[0]

    def greedy(self, ids: list[int], most: int, **options: Any) -> list[int]:
        given = torch.tensor([ids])
        found = self.model.generate(input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=most, **options)
        return found[0, len(ids) :].tolist()


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    """Export prompts, given as cards with rows, and read the checkpoint back."""

    def made(backbone, prompts, dtype=torch.float32) -> Checkpoint:
        folder = tmp_path_factory.mktemp("export")
        files = [prompt_file(folder, backbone, card, rows) for card, rows in prompts]
        with new_folder(folder / "made") as target:
            virtual_vocabulary.write(backbone, files, target)
        return Checkpoint(folder / "made", dtype)

    return made
