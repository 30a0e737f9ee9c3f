"""Prometheus metrics of the gateway: counts, times and sizes; labels are routes, statuses and task names, never anything sent."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """A registry of its own for each gateway."""

    def __init__(self, waiting: Callable[[], float], tasks: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("mpdd_requests", "Requests answered", ["route", "status"], registry=self.registry)
        self.answers = Counter("mpdd_answers", "Task answers given", ["task"], registry=self.registry)
        self.seconds = Histogram("mpdd_request_seconds", "Time from request to answer", ["route"], registry=self.registry)
        self.batch = Histogram("mpdd_batch_rows", "Rows a batch", buckets=_ROWS, registry=self.registry)
        Gauge("mpdd_waiting_rows", "Rows that wait for a batch", registry=self.registry).set_function(waiting)
        Gauge("mpdd_tasks", "Tasks being served", registry=self.registry).set_function(tasks)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
