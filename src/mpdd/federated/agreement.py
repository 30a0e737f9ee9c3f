"""What must be alike at all sites before anything is averaged, and where their shared prompt starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from flwr.app import Message
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key

from mpdd.backbone import compute
from mpdd.backbone.model import Backbone
from mpdd.backbone.template import Template
from mpdd.errors import InputError, MpddError
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


SECURE = RECORD_KEY_CONFIGS
EXAMPLES, LOSS = "num-examples", "dev-loss"
PRIVACY, GUARANTEE = "privacy", "guarantee"  # numbers of the schedule and fixed words, as `spent_after` gives them
_MAY_LEAVE: Mapping[str, Mapping[str, frozenset[str]]] = {  # by the kind of message: records, and the names in them
    "train": {"arrays": frozenset({"shared"}), "metrics": frozenset({EXAMPLES})},
    "evaluate": {"metrics": frozenset({EXAMPLES, LOSS}), PRIVACY: frozenset({GUARANTEE})},
    "query": {"factors": frozenset({"u", "v"}), "tasks": frozenset({"names"})},
}
_MAY_LEAVE_SECURELY: Mapping[str, frozenset[str]] = {
    "fitres.parameters": frozenset(),  # emptied: what Flower has masked stands in the protocol's own record
    "fitres.num_examples": frozenset({"num_examples"}),
    "fitres.metrics": frozenset(),
    "fitres.status": frozenset({"code", "message"}),
    SECURE: frozenset(
        (
            Key.PUBLIC_KEY_1,
            Key.PUBLIC_KEY_2,
            Key.DESTINATION_LIST,
            Key.CIPHERTEXT_LIST,
            Key.MASKED_PARAMETERS,
            Key.NODE_ID_LIST,
            Key.SHARE_LIST,
        )
    ),
}


def require_only_prompts(reply: Message, *, shares_factors: bool) -> None:
    """Raise `MpddError` if a message that leaves a site holds anything but what this module names."""
    kind = reply.metadata.message_type
    allowed = dict(_MAY_LEAVE.get(kind, {}))
    if kind == "train" and SECURE in reply.content:
        allowed = dict(_MAY_LEAVE_SECURELY)
    if kind == "query" and not shares_factors:
        allowed = {}
    for name, record in reply.content.items():
        if name not in allowed or not set(record) <= allowed[name]:
            raise MpddError(f"A message that was to leave this site held more than prompts, and was stopped: {kind}, {name}.")
