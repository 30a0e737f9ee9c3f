"""What travels between server and sites, written and read in one place; `leaving` refuses all else on its way out.

From the server: P* and what all agree on. From a site: P*, how many training examples it weighs, one dev loss; with
differential privacy the guarantee that it has kept so far; where the site shares them, its factors with their tasks' names.
With secure aggregation a site's P* leaves as masked numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from jaxtyping import Float
from torch import Tensor

from mpdd.errors import MpddError
from mpdd.federated.agreement import EXAMPLES, GUARANTEE, LOSS, PRIVACY, Agreement
from mpdd.federated.federation import DisagreementError, Federation
from mpdd.federated.site import Turn
from mpdd.methods.options import Privacy

CLIP = 8.0  # weighted numbers of P* that secure aggregation can carry lie within this (Flower's own default)


@dataclass(frozen=True)
class Instruction:
    """What a site is told: P* [length, width], the round, and what all must have alike; `most_examples` bounds its weight, and
    `privacy` is what it must keep (None: nothing)."""

    shared: Float[Tensor, "length width"]
    turn: Turn
    agreement: Agreement
    most_examples: int
    privacy: Privacy | None = None


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
    matrix = None if array is None else torch.tensor(array.numpy(), dtype=torch.float32)
    if matrix is None or matrix.ndim != 2 or not matrix.isfinite().all():
        raise MpddError("A message of the federation does not hold one shared prompt of finite numbers.")
    return matrix


def settings(run: str, federation: Federation, agreement: Agreement) -> ConfigRecord:
    """What sites are told beside P*; Flower adds the number of the round."""
    settings_of_run: dict[str, str | int] = {"run": run, "rounds": federation.rounds, "agreement": agreement.to_json()}
    privacy = federation.privacy.model_dump_json() if federation.privacy else ""
    return ConfigRecord({**settings_of_run, "most-examples": federation.most_examples, PRIVACY: privacy})


def instruction_in(content: RecordDict) -> Instruction:
    """What a message to a site says, in both layouts: a strategy's, and that of secure aggregation."""
    (record,) = content.array_records.values()
    record_of_run: Mapping[str, Any] = next(record for record in content.config_records.values() if "agreement" in record)
    turn = Turn(record_of_run["run"], record_of_run["server-round"], record_of_run["rounds"])
    privacy = Privacy.model_validate_json(text) if (text := record_of_run[PRIVACY]) else None
    agreement = Agreement.from_json(record_of_run["agreement"])
    return Instruction(shared_in(record), turn, agreement, record_of_run["most-examples"], privacy)


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


def settled(loss: float, examples: int, guarantee: Mapping[str, Any]) -> RecordDict:
    """What a site answers once it has taken the average: its mean dev loss in nats, and the guarantee kept so far (or none)."""
    kept = {PRIVACY: ConfigRecord({GUARANTEE: json.dumps(dict(guarantee))})} if guarantee else {}
    return RecordDict({"metrics": MetricRecord({EXAMPLES: examples, LOSS: loss}), **kept})


def guarantee_in(content: RecordDict) -> dict[str, Any]:
    """The guarantee that a site says it has kept; empty where it says none."""
    if PRIVACY not in content:
        return {}
    found: dict[str, Any] = json.loads(str(content.config_records[PRIVACY][GUARANTEE]))
    return found


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
    return [Factors(*task_values) for task_values in zip(names, kinds, u, v, strict=True)]
