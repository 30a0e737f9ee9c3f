"""The Flower app of the server: starts P*, averages it round by round, and writes the joint metaprompt. It sees no text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from flwr.app import DEFAULT_TTL, ArrayRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from torch import Tensor

from mpdd.backbone.model import Backbone
from mpdd.federated import travelling
from mpdd.federated.agreement import LOSS, Agreement, opening
from mpdd.federated.averaging import Averaging, SecureAveraging
from mpdd.federated.federation import Federation, require_silence
from mpdd.federated.travelling import Factors
from mpdd.files import write_atomically
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import initial_rows
from mpdd.prompts.store import Header, save_prompt

app = ServerApp()
NO_TASK = "federated"  # stands for the sources in a joint metaprompt without their factors


def main(grid: Grid, context: Context) -> None:
    """Run a federation to its end. Its file, as text, and the folder for what comes of it stand in the run's configuration."""
    require_silence()
    federation = Federation.from_toml(str(context.run_config["federation"]))
    out, run = Path(str(context.run_config["out"])), str(context.run_id)
    agreement, origin = opening(federation)
    if isinstance(origin, Backbone):
        shape = federation.prompt
        shared = initial_rows(origin, shape.length, shape.start, depth=shape.depth, seed=federation.seed)
    else:
        shared = origin.tensors["shared"]
    strategy = SecureAveraging(federation, context) if federation.secure else Averaging(federation)

    def keep(number: int, arrays: ArrayRecord) -> None:
        provenance = {"run": run, "round": number}
        _save(out, federation, agreement, travelling.shared_in(arrays), [], provenance, strategy.guarantee)

    settings = travelling.settings(run, federation, agreement)
    result = strategy.start(
        grid, travelling.arrays(shared), num_rounds=federation.rounds, timeout=float(DEFAULT_TTL), train_config=settings,
        evaluate_config=settings, evaluate_fn=keep,
    )  # fmt: skip
    _write_rounds(out, result.evaluate_metrics_clientapp)
    provenance = {"run": run, "round": federation.rounds}
    final = travelling.shared_in(result.arrays)
    _save(out, federation, agreement, final, _factors(grid, strategy, agreement), provenance, strategy.guarantee)


app.main()(main)


def _factors(grid: Grid, strategy: Averaging, agreement: Agreement) -> list[Factors]:
    """Those of every task of the sites that share them."""
    ask = [Message(RecordDict(), node, MessageType.QUERY) for node in grid.get_node_ids()]
    replies = strategy.answered(grid.send_and_receive(ask, timeout=float(DEFAULT_TTL)))
    return [factors for message in replies for factors in travelling.factors_in(message.content, agreement)]


def _save(
    out: Path,
    federation: Federation,
    agreement: Agreement,
    shared: Tensor,
    factors: Sequence[Factors],
    origin: dict[str, Any],
    guarantee: dict[str, Any],
) -> None:
    """The joint metaprompt, with the factors that are shared; else with those of one task that leaves P* as it is."""
    names: list[str] = []
    for number, task_factors in enumerate(factors):  # the same task may be at several sites
        before = sum(other.task == task_factors.task for other in factors[:number])
        names.append(f"{task_factors.task} ({before + 1})" if before else task_factors.task)
    meta = MetaPrompt(shared, names or [NO_TASK], agreement.rank)
    with torch.no_grad():
        for k, task_factors in enumerate(factors):
            meta.u[k], meta.v[k] = task_factors.u, task_factors.v
    header = Header(
        "meta", federation.backbone, agreement.fingerprint, agreement.length, agreement.width, agreement.rank, meta.tasks,
        kinds=tuple(task_factors.kind for task_factors in factors), template=agreement.template, depth=federation.prompt.depth,
        privacy=guarantee,
        provenance={"federation": {**origin, "name": federation.name, "sites": federation.sites, "rounds": federation.rounds}},
    )  # fmt: skip
    save_prompt(out / "prompts" / "metaprompt.safetensors", {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)


def _write_rounds(out: Path, losses: dict[int, MetricRecord]) -> None:
    rows = [{"round": number, "dev_loss": record[LOSS]} for number, record in sorted(losses.items())]
    write_atomically(out / "rounds.json", (json.dumps(rows, indent=1) + "\n").encode())
