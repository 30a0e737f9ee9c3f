"""A federation's file: what its sites have in common, and the app of Flower that is made of it. Loads no torch, as the command
line reads it too."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from mpdd import __version__
from mpdd.errors import InputError
from mpdd.experiment.config import Compute
from mpdd.files.toml import Name, Positive, Seed, read_toml, validated
from mpdd.methods.options import Privacy, PromptOptions

# Flower tells its makers that it was started, and asks them for updates, unless two variables say no. Here they must.
SILENCE: Mapping[str, str] = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


class DisagreementError(InputError):
    """A site does not fit its federation; the sentence holds numbers, hashes and names of settings alone."""


class Federation(BaseModel):
    """What is common to all sites; each site's tasks, steps and rates stand in its own experiment.

    P* starts at the rows that `prompt.start` and `seed` give, or at those of a metaprompt in the file `start`. A round is a
    `rounds`-th of each site's `distil.steps`. `sites` must all take part in each round. `secure` hides what each site sends
    from the server (SecAgg+), where no site has more than `most_examples`. With `privacy` each site trains by DP-SGD, so that
    what it sends in all rounds together hides each of its own examples or documents.
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
    privacy: Privacy | None = None

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
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def write_app(folder: Path, federation: Federation, out: Path) -> Path:
    """Write the app folder that `flwr run` takes: a file that names our two apps and the federation, and no code. Its server
    leaves its files in `out`; return the app's folder, under `folder`."""
    app = folder / "mpdd-federated"
    app.mkdir()
    values = {
        "project": {"name": app.name, "version": __version__, "description": "A federated metaprompt", "license": "Apache-2.0"},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "mpdd",
                    "components": {
                        "serverapp": "mpdd.federated.server_app:app",
                        "clientapp": "mpdd.federated.client_app:app",
                    },
                    "config": {"federation": federation.to_toml(), "out": str(out.resolve())},
                }
            }
        },
    }
    (app / "pyproject.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    return app


def require_silence() -> None:
    """Raise `InputError` unless Flower was started so that nothing phones home."""
    if any(os.environ.get(name) != value for name, value in SILENCE.items()):
        wanted = " ".join(f"{name}={value}" for name, value in SILENCE.items())
        raise InputError("Flower phones home as it was started here", wanted=f"the environment {wanted}")


def be_silent() -> None:
    """Set the variables for this process and those that it starts."""
    os.environ.update(SILENCE)
