"""What travels between server and sites, written and read in one place, and the guard that refuses all else on its way out.

From the server: P* and what all agree on. From a site: P*, how many training examples it weighs, one dev loss; where the site
shares them, its factors with their tasks' names. With secure aggregation a site's P* leaves as masked numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS
from jaxtyping import Float
from torch import Tensor

from mpdd.errors import MpddError
from mpdd.federated.federation import Agreement, DisagreementError, Federation
from mpdd.federated.site import Turn

CLIP = 8.0  # weighted numbers of P* that secure aggregation can carry lie within this (Flower's own default)
SECURE = RECORD_KEY_CONFIGS
EXAMPLES, LOSS = "num-examples", "dev-loss"


@dataclass(frozen=True)
class Told:
    """What a site is told: P* [length, width], the round, and what all must have alike; `most_examples` bounds its weight."""

    shared: Float[Tensor, "length width"]
    turn: Turn
    agreement: Agreement
    most_examples: int


@dataclass(frozen=True)
class Factors:
    """A task that a site shares: its name, the kind of its answers, u [rank, length] and v [rank, width]."""

    task: str
    kind: str
    u: Float[Tensor, "rank length"]
    v: Float[Tensor, "rank width"]


def arrays(shared: Float[Tensor, "length width"]) -> ArrayRecord:
    """P* as a record."""
    return ArrayRecord({"shared": Array(shared.detach().cpu().float().numpy())})


def shared_in(record: ArrayRecord) -> Float[Tensor, "length width"]:
    """P* out of a record. Raises `MpddError` where the record does not hold one finite matrix."""
    (array,) = record.values() if len(record) == 1 else [None]
    found = None if array is None else torch.tensor(array.numpy(), dtype=torch.float32)
    if found is None or found.ndim != 2 or not found.isfinite().all():
        raise MpddError("A message of the federation does not hold one shared prompt of finite numbers.")
    return found


def settings(run: str, federation: Federation, agreement: Agreement) -> ConfigRecord:
    """What sites are told beside P*; Flower adds the number of the round."""
    said: dict[str, str | int] = {"run": run, "rounds": federation.rounds, "agreement": agreement.to_json()}
    return ConfigRecord({**said, "most-examples": federation.most_examples})


def told(content: RecordDict) -> Told:
    """What a message to a site says, in both layouts: a strategy's, and that of secure aggregation."""
    (record,) = content.array_records.values()
    said: Mapping[str, Any] = next(record for record in content.config_records.values() if "agreement" in record)
    turn = Turn(said["run"], said["server-round"], said["rounds"])
    return Told(shared_in(record), turn, Agreement.from_json(said["agreement"]), said["most-examples"])


def trained(shared: Float[Tensor, "length width"], examples: int, *, secure: bool, most_examples: int) -> RecordDict:
    """What a site answers after a round; `secure`: in the layout that Flower's SecAgg+ masks.

    Raises `DisagreementError` where numbers are too large for that.
    """
    if not secure:
        return RecordDict({"arrays": arrays(shared), "metrics": MetricRecord({EXAMPLES: examples})})
    if examples > most_examples:
        raise DisagreementError(
            "This site has more examples than secure aggregation can weigh", found=examples, wanted=f"at most {most_examples}",
            next_step="Raise most_examples of the federation.",
        )  # fmt: skip
    if (largest := float(shared.abs().max()) * examples / most_examples) > CLIP:
        raise DisagreementError(
            "The shared prompt has numbers that secure aggregation would cut", found=f"{largest:.1f}", wanted=f"up to {CLIP}"
        )
    return RecordDict(
        {
            "fitres.parameters": ArrayRecord([shared.detach().cpu().float().numpy()]),
            "fitres.num_examples": MetricRecord({"num_examples": examples}),
            "fitres.metrics": ConfigRecord({}),
            "fitres.status": ConfigRecord({"code": 0, "message": ""}),
        }
    )


def settled(loss: float, examples: int) -> RecordDict:
    """What a site answers once it has taken the average: its mean dev loss in nats."""
    return RecordDict({"metrics": MetricRecord({EXAMPLES: examples, LOSS: loss})})


def shared_factors(tensors: Mapping[str, Tensor], tasks: Sequence[str], kinds: Sequence[str]) -> RecordDict:
    """The factors u [tasks, rank, length] and v [tasks, rank, width] of a site that shares them, with its tasks' names."""
    factors = ArrayRecord({name: Array(tensors[name].float().numpy()) for name in ("u", "v")})
    return RecordDict({"factors": factors, "tasks": ConfigRecord({"names": json.dumps([list(tasks), list(kinds)])})})


def factors_in(content: RecordDict, agreement: Agreement) -> list[Factors]:
    """The factors that a site shares, task by task; none where it shares none. Raises `MpddError` for other shapes."""
    if "factors" not in content:
        return []
    record: Mapping[str, Any] = content.array_records["factors"]
    u, v = (torch.tensor(record[name].numpy(), dtype=torch.float32) for name in ("u", "v"))
    names, kinds = json.loads(str(content.config_records["tasks"]["names"]))
    wanted = [(len(names), agreement.rank, width) for width in (agreement.length, agreement.width)]
    if [tuple(u.shape), tuple(v.shape)] != wanted or len(kinds) != len(names):
        raise MpddError("A site shared factors of another shape than it agreed to.")
    return [Factors(*one) for one in zip(names, kinds, u, v, strict=True)]


_MAY_LEAVE: Mapping[str, Mapping[str, frozenset[str]]] = {  # by the kind of message: records, and the names in them
    "train": {"arrays": frozenset({"shared"}), "metrics": frozenset({EXAMPLES})},
    "evaluate": {"metrics": frozenset({EXAMPLES, LOSS})},
    "query": {"factors": frozenset({"u", "v"}), "tasks": frozenset({"names"})},
}
_MAY_LEAVE_SECURELY: Mapping[str, frozenset[str]] = {
    "fitres.parameters": frozenset(),  # emptied: what Flower has masked stands in the protocol's own record
    "fitres.num_examples": frozenset({"num_examples"}),
    "fitres.metrics": frozenset(),
    "fitres.status": frozenset({"code", "message"}),
    SECURE: frozenset({"pk1", "pk2", "dsts", "ctxts", "masked_params", "nids", "shares"}),
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
