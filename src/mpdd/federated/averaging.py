"""Flower's FedAvg (McMahan et al. 2017, arXiv 1602.05629) over P*: every site in every round, or the run ends.

A site that fails or leaves would bend the average towards the others, so nothing goes on without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.common import FitIns, FitRes, Parameters
from flwr.compat.common.recorddict_compat import parameters_to_arrayrecord
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from mpdd.errors import MpddError
from mpdd.federated import travelling
from mpdd.federated.federation import Federation
from mpdd.federated.private_rounds import worst


class Averaging(FedAvg):
    """The mean of the sites' P* [length, width], each weighted by its training examples."""

    def __init__(self, federation: Federation) -> None:
        sites = federation.sites
        super().__init__(min_train_nodes=sites, min_evaluate_nodes=sites, min_available_nodes=sites)
        self.sites = sites
        self.privacy = federation.privacy
        self.guarantee: dict[str, Any] = {}  # that of the joint metaprompt after the last round

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The weighted mean. Raises `MpddError` unless every site answered with a P* of one shape."""
        answered = self.answered(replies)
        shared_prompts = [travelling.shared_in(message.content.array_records["arrays"]) for message in answered]
        if len({tuple(shared.shape) for shared in shared_prompts}) > 1:
            raise MpddError("The sites answered with shared prompts of several shapes.")
        averaged: tuple[ArrayRecord | None, MetricRecord | None] = super().aggregate_train(server_round, answered)
        return averaged

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The weighted mean of dev losses; what the sites have kept is noted. Raises `MpddError` unless every site answered, and
        kept the privacy that the federation asks for."""
        answered = self.answered(replies)
        if self.privacy:
            kept = [guarantee for message in answered if (guarantee := travelling.guarantee_in(message.content))]
            if len(kept) < self.sites:
                raise MpddError(f"{len(kept)} of {self.sites} sites say which privacy they kept; the federation asks for it.")
            self.guarantee = worst(kept, self.privacy)
        averaged: MetricRecord | None = super().aggregate_evaluate(server_round, answered)
        return averaged

    def answered(self, replies: Iterable[Message]) -> list[Message]:
        """The answers of all sites. Raises `MpddError` with a failed site's sentence, or where one did not answer."""
        answers = list(replies)
        for message in answers:
            if message.has_error():
                raise MpddError(message.error.reason or "A site failed and did not say why.")
        if len(answers) < self.sites:
            raise MpddError(
                f"{len(answers)} of {self.sites} sites answered in time; start again from the last round's metaprompt."
            )
        return answers


class SecureAveraging(Averaging):
    """The same mean by Flower's SecAgg+ (Bell et al. 2020): the server sees masked numbers, and their sum alone in clear."""

    def __init__(self, federation: Federation, context: Context) -> None:
        super().__init__(federation)
        self.workflow = SecAggPlusWorkflow(
            1.0, 1.0, max_weight=float(federation.most_examples), clipping_range=travelling.CLIP, timeout=None
        )
        self.context = context
        self.waiting: tuple[ArrayRecord, ConfigRecord, Grid, list[int]] | None = None

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """No message of its own: the protocol sends them, in `aggregate_train`."""
        nodes = [m.metadata.dst_node_id for m in super().configure_train(server_round, arrays, config, grid)]
        self.waiting = (arrays, config, grid, nodes)
        return []

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Runs one round of the protocol. Raises `MpddError` with a failed site's sentence."""
        assert self.waiting is not None
        arrays, config, grid, nodes = self.waiting
        once = _Once(nodes, dict(config), self.sites)
        older: Any = once
        context = LegacyContext(self.context, strategy=older, client_manager=older)
        context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: server_round})
        context.state.array_records[MAIN_PARAMS_RECORD] = ArrayRecord([travelling.shared_in(arrays).numpy()])
        watched: Any = _Watched(grid, self)
        self.workflow(watched, context)
        if once.mean is None:
            raise MpddError("Secure aggregation ended before its end; Flower's log says at which stage.")
        return travelling.arrays(travelling.shared_in(parameters_to_arrayrecord(once.mean, True))), None


class _Once:
    """What the protocol asks of a strategy of Flower's older interface, for one round."""

    def __init__(self, nodes: list[int], config: dict[str, Any], sites: int) -> None:
        self.nodes, self.config, self.sites = nodes, config, sites
        self.mean: Parameters | None = None

    def num_available(self) -> int:
        """How many nodes there are."""
        return len(self.nodes)

    def configure_fit(self, _round: int, parameters: Parameters, _manager: object) -> list[tuple[_Node, FitIns]]:
        """The same for every node."""
        return [(_Node(node), FitIns(parameters, self.config)) for node in self.nodes]

    def aggregate_fit(
        self, _round: int, results: list[tuple[_Node, FitRes]], _failures: object
    ) -> tuple[Parameters | None, dict[str, Any]]:
        """The protocol has put the mean into each result."""
        if len(results) == self.sites:
            self.mean = results[0][1].parameters
        return self.mean, {}


class _Node:
    def __init__(self, node_id: int) -> None:
        self.node_id = node_id


class _Watched:
    """A grid whose every exchange ends the run where a site failed, with its sentence."""

    def __init__(self, grid: Grid, averaging: Averaging) -> None:
        self.grid, self.averaging = grid, averaging

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """As the grid's."""
        return self.averaging.answered(self.grid.send_and_receive(messages, timeout=timeout))
