"""A federation on one machine, in one process: the apps that Flower starts in earnest, without its servers. For rehearsals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from mpdd.federated import client_app, server_app
from mpdd.federated.federation import Federation, be_silent

RUN = 1


class Here(Grid):
    """Carries messages to sites in this process, one after another, and keeps every message that passed (`passed`)."""

    def __init__(self, nodes: Sequence[dict[str, Any]]) -> None:
        self.sites = {n: Context(RUN, n, node, RecordDict(), {}) for n, node in enumerate(nodes, start=1)}
        self.passed: list[Message] = []

    def get_node_ids(self) -> list[int]:
        """The numbers of the sites, from 1."""
        return list(self.sites)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Each message's answer; a site gets a copy, as over a wire."""
        replies = [client_app.app(deepcopy(message), self.sites[message.metadata.dst_node_id]) for message in messages]
        self.passed += replies
        return replies

    def create_message(self, *_: Any, **__: Any) -> Message:
        """Not needed here, and so the rest."""
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:  # noqa: D102
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:  # noqa: D102
        raise NotImplementedError

    def set_run(self, run: Any) -> None:  # noqa: D102
        raise NotImplementedError

    @property
    def run(self) -> Any:  # noqa: D102
        raise NotImplementedError


def federate_here(federation: Federation, sites: Sequence[Path], out: Path, nodes: Sequence[dict[str, Any]] = ()) -> Here:
    """Run a federation of the experiments `sites`, whose run folders lie under `out` beside the joint metaprompt.

    `nodes` adds to each site's node configuration. Raises what the apps raise.
    """
    be_silent()
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, 0, RUN
    more = list(nodes) or [{} for _ in sites]
    places = [
        {"experiment": str(path), "out": str(out / f"site-{n}"), **extra}
        for n, (path, extra) in enumerate(zip(sites, more, strict=True), start=1)
    ]
    grid = Here(places)
    settings: Any = {"federation": federation.to_toml(), "out": str(out)}
    server_app.app(grid, Context(RUN, 0, {}, RecordDict(), settings))
    return grid
