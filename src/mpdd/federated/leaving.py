"""What may leave a site, name by name, and the layer that stops all else. Loads no torch: most steps of SecAgg+ need none."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Message
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key

from mpdd.errors import MpddError

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
