"""A federation's file: what its sites have in common. Loads no torch, as the command line reads it too."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from mpdd.experiment.config import Compute
from mpdd.files.toml import Name, Positive, Seed, read_toml, validated
from mpdd.methods.options import PromptOptions


class Federation(BaseModel):
    """What is common to all sites; each site's tasks, steps and rates stand in its own experiment.

    P* starts at the rows that `prompt.start` and `seed` give, or at those of a metaprompt in the file `start`. A round is a
    `rounds`-th of each site's `distil.steps`. `sites` must all take part in each round. `secure` hides what each site sends
    from the server (SecAgg+), where no site has more than `most_examples`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    backbone: str = "embedded"
    template: Literal["plain", "chat"] = "plain"
    compute: Compute = Compute()
    start: str = ""
    seed: Seed = 0
    rounds: Positive = 10
    sites: Positive = 2
    secure: bool = False
    most_examples: Positive = 100_000
    prompt: PromptOptions = PromptOptions()

    @field_validator("secure")
    @classmethod
    def _has_company(cls, secure: bool, others: ValidationInfo) -> bool:
        if secure and others.data.get("sites", 2) < 2:
            raise ValueError("a sum hides nothing with fewer than 2 sites")
        return secure

    @field_validator("prompt")
    @classmethod
    def _starts_without_tasks(cls, prompt: PromptOptions) -> PromptOptions:
        if prompt.start == "text":
            raise ValueError('a federation has no text to start from, wanted start = "vocabulary" or "random"')
        return prompt

    @classmethod
    def read(cls, path: Path) -> Federation:
        """Read a federation's file; `InputError` with every problem in it. `start` counts from the file's folder."""
        read = validated(cls, read_toml(path, "federation file"), path.name)
        return read.model_copy(update={"start": str((path.parent / read.start).resolve())}) if read.start else read

    @classmethod
    def from_toml(cls, text: str) -> Federation:
        """What `to_toml` wrote."""
        return validated(cls, tomllib.loads(text), "the federation")

    def to_toml(self) -> str:
        """As resolved, defaults included."""
        return tomli_w.dumps(self.model_dump(mode="json"))
