"""What must be alike at all sites before anything is averaged, and where their shared prompt starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mpdd.backbone import compute
from mpdd.backbone.model import Backbone
from mpdd.backbone.template import Template
from mpdd.errors import InputError
from mpdd.federated.federation import DisagreementError, Federation
from mpdd.methods.options import PromptOptions
from mpdd.prompts.soft import row_width
from mpdd.prompts.store import PromptFile, load_prompt


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
        ours, theirs = self._compared(), site._compared()
        differing = [name for name in ours if ours[name] != theirs[name]]
        if differing:
            raise DisagreementError(
                "This site does not fit the federation",
                found=", ".join(f"{name} {theirs[name]}" for name in differing),
                wanted=", ".join(f"{name} {ours[name]}" for name in differing),
            )

    def _compared(self) -> dict[str, object]:
        """What is compared, by the names that a message has for it; not the backbone's own, which may be a local path."""
        template = self.template if self.template.before or self.template.after else self.template.kind
        return {
            "backbone": self.fingerprint[:12], "template": template,
            "prompt.length": self.length, "width": self.width, "prompt.rank": self.rank,
        }  # fmt: skip


def opening(federation: Federation) -> tuple[Agreement, PromptFile | Backbone]:
    """What all sites must have, and where P* comes from: the file to start from, else the backbone, which is loaded for that."""
    if not federation.start:
        backbone = compute.load_backbone(federation.backbone, template=federation.template, **federation.compute.model_dump())
        return Agreement.of(backbone, federation.prompt), backbone
    given = load_prompt(Path(federation.start))
    header, wanted = given.header, federation.prompt
    given.metaprompt()  # or says what it is instead
    shape = (header.length, header.rank, header.depth)
    if shape != (wanted.length, wanted.rank, wanted.depth) or header.template is None:
        raise InputError(
            f"The metaprompt {given.path.name} has another shape than the federation, or no template",
            found=f"length {header.length}, rank {header.rank}, depth {header.depth}",
            wanted=f"prompt.length {wanted.length}, prompt.rank {wanted.rank}, prompt.depth {wanted.depth}",
        )
    return Agreement(header.fingerprint, header.template, header.length, header.width, header.rank), given
