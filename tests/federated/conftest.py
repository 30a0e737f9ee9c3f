"""Two sites with two invented tasks each, on the tiny backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from mpdd.data import catalogue
from tests.data.cards.conftest import CARDS, lines, record


@dataclass(frozen=True)
class World:
    """A folder with experiments of sites, whose tasks are invented, and the values of a federation."""

    folder: Path
    backbone: Path

    @property
    def federation(self) -> dict[str, Any]:
        return {
            "name": "joint", "backbone": str(self.backbone), "compute": {"dtype": "fp32"}, "rounds": 2, "sites": 2,
            "prompt": {"length": 4},
        }  # fmt: skip

    def site(self, name: str, examples: int = 20, **more: Any) -> Path:
        """Write a site's experiment; `examples` records a task, of which four are dev and test."""
        kinds = {"nli": "target", "single": "first", "fixed": "second"}
        for kind, task in kinds.items():
            self._card(f"{name}-{task}", kind, examples)
        distil = {"steps": 4, "batch_size": 2, "every": 2, "kl": 0.0, "hidden": 0.0, **more.pop("distil", {})}
        values = {
            "name": name, "backbone": str(self.backbone), "compute": {"dtype": "fp32"}, "methods": ["mpdd"],
            "sources": [f"{name}-first.toml", f"{name}-second.toml"], "targets": [f"{name}-target.toml"],
            "prompt": {"length": 4}, "distil": distil, **more,
        }  # fmt: skip
        path = self.folder / f"{name}.toml"
        path.write_text(tomli_w.dumps(values))
        catalogue._load.cache_clear()
        return path

    def _card(self, name: str, kind: str, examples: int) -> None:
        first = sum(map(ord, name)) * 1000  # other notes for every task
        records = [record(kind, n) for n in range(first, first + examples)]
        (self.folder / f"{name}.jsonl").write_text(lines(records))
        card = {"name": name, "instruction": "Answer.", **CARDS[kind], "data": {"format": "jsonl", "train": f"{name}.jsonl"}}
        (self.folder / f"{name}.toml").write_text(tomli_w.dumps(card))


@pytest.fixture
def world(tiny_folder, tmp_path) -> World:
    return World(tmp_path, tiny_folder)
