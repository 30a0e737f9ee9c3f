"""A tiny backbone's prompt files, as `mpdd predict` takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpdd.data.task import TaskCard
from mpdd.inference.engines.local import Local
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, save_prompt

LENGTH = 4
NER = TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",), max_answer_tokens=8)
NLI = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no"), fields=("Hypothesis",))
TRIAGE = TaskCard("urgency", "classification", "How urgent is it?", labels=("urgent", "routine"))


@pytest.fixture(scope="session")
def shelf(tiny, tmp_path_factory) -> Path:
    """A folder with prompts for NER (whole), NLI (rows) and triage (factors beside their metaprompt)."""
    folder = tmp_path_factory.mktemp("shelf")
    torch.manual_seed(0)
    header = Header("soft", tiny.name, tiny.fingerprint, LENGTH, tiny.width, template=tiny.template)
    rows = torch.randn(LENGTH, tiny.width)
    save_prompt(folder / "says.safetensors", {"rows": rows}, replace(header, card=NLI, tasks=(NLI.name,)))
    meta = MetaPrompt(torch.randn(LENGTH, tiny.width), ["a", "b"])
    tensors = {"shared": meta.shared, "u": meta.u, "v": meta.v}
    saved = save_prompt(folder / "meta.safetensors", tensors, replace(header, kind="meta", rank=1, tasks=meta.tasks))
    task = replace(header, kind="task", rank=1, metaprompt=saved.header.digest)
    factors = {"u": meta.u[:1], "v": torch.randn(1, 1, tiny.width)}
    save_prompt(folder / "urgency.safetensors", factors, replace(task, card=TRIAGE, tasks=(TRIAGE.name,)))
    save_prompt(folder / "drugs.safetensors", {**factors, "shared": meta.shared}, replace(task, card=NER, tasks=(NER.name,)))
    return folder


@pytest.fixture
def backbone(tiny):
    return Local(tiny)
