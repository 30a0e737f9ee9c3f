"""What the sites of a federation agree on: its file, and what must be alike before anything is averaged."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from mpdd import compute, config
from mpdd.backbone import Backbone
from mpdd.config import Compute, Name, Positive, PromptOptions, Seed
from mpdd.errors import InputError
from mpdd.federated.errors import DisagreementError
from mpdd.prompts.soft import row_width
from mpdd.prompts.store import PromptFile, load
from mpdd.template import Template


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
        read = config.validated(cls, config.read_toml(path, "federation file"), path.name)
        return read.model_copy(update={"start": str((path.parent / read.start).resolve())}) if read.start else read

    @classmethod
    def from_toml(cls, text: str) -> Federation:
        """What `to_toml` wrote."""
        return config.validated(cls, tomllib.loads(text), "the federation")

    def to_toml(self) -> str:
        """As resolved, defaults included."""
        return tomli_w.dumps(self.model_dump(mode="json"))


@dataclass(frozen=True)
class Agreement:
    """What averaging rows of prompts needs to be alike everywhere: the backbone, what stands around inputs, and the shape."""

    fingerprint: str
    template: Template
    length: int
    width: int
    rank: int

    @classmethod
    def of(cls, backbone: Backbone, prompt: PromptOptions) -> Agreement:
        """That of a loaded backbone and the shape of an experiment's or a federation's prompt."""
        width = row_width(backbone, prompt.depth)
        return cls(backbone.fingerprint, backbone.template, prompt.length, width, prompt.rank)

    @classmethod
    def from_json(cls, text: str) -> Agreement:
        """What `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "template": Template(**values["template"])})

    def to_json(self) -> str:
        """As it travels."""
        return json.dumps(asdict(self))

    def require(self, site: Agreement) -> None:
        """Raise one `DisagreementError` that names all differences of a site."""
        ours, theirs = self._told(), site._told()
        differing = [name for name in ours if ours[name] != theirs[name]]
        if differing:
            raise DisagreementError(
                "This site does not fit the federation",
                found=", ".join(f"{name} {theirs[name]}" for name in differing),
                wanted=", ".join(f"{name} {ours[name]}" for name in differing),
            )

    def _told(self) -> dict[str, object]:
        """What is compared, by the names that a message has for it; not the backbone's own, which may be a local path."""
        template = self.template if self.template.before or self.template.after else self.template.kind
        return {
            "backbone": self.fingerprint[:12], "template": template,
            "prompt.length": self.length, "width": self.width, "prompt.rank": self.rank,
        }  # fmt: skip


def opening(federation: Federation) -> tuple[Agreement, PromptFile | Backbone]:
    """What all sites must have, and where P* comes from: the file to start from, else the backbone, which is loaded for that."""
    if not federation.start:
        backbone = compute.load(federation.backbone, template=federation.template, **federation.compute.model_dump())
        return Agreement.of(backbone, federation.prompt), backbone
    given = load(Path(federation.start))
    header, wanted = given.header, federation.prompt
    given.metaprompt()  # or says what it is instead
    if (header.length, header.rank) != (wanted.length, wanted.rank) or header.template is None:
        raise InputError(
            f"The metaprompt {given.path.name} has another shape than the federation, or no template",
            found=f"length {header.length}, rank {header.rank}",
            wanted=f"prompt.length {wanted.length}, prompt.rank {wanted.rank}",
        )
    return Agreement(header.fingerprint, header.template, header.length, header.width, header.rank), given
