"""Prometheus metrics of the gateway: counts, times and sizes; labels are routes, statuses and task names, never anything sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """A registry of its own for each gateway."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("mpdd_requests", "Requests answered", ["route", "status"], registry=self.registry)
        self.answers = Counter("mpdd_answers", "Task answers given", ["task"], registry=self.registry)
        self.seconds = Histogram("mpdd_request_seconds", "Time from request to answer", ["route"], registry=self.registry)
        self.batch = Histogram("mpdd_batch_rows", "Rows a batch", buckets=_ROWS, registry=self.registry)
        Gauge("mpdd_waiting_rows", "Rows that wait for a batch", registry=self.registry).set_function(waiting)

    def text(self, tasks: Collection[str], may_see: Callable[[str], bool]) -> bytes:
        """In Prometheus' text format, for somebody who may use `tasks`: what `may_see` hides is left out."""
        return generate_latest(_View(self.registry, tasks, may_see))


class _View(CollectorRegistry):
    """A registry as one token may see it."""

    def __init__(self, registry: CollectorRegistry, tasks: Collection[str], may_see: Callable[[str], bool]) -> None:
        super().__init__()
        self._all, self._tasks, self._may_see = registry, tasks, may_see

    def collect(self) -> Iterator[Metric]:
        """All metrics, without the tasks of others."""
        for metric in self._all.collect():
            metric.samples = [s for s in metric.samples if "task" not in s.labels or self._may_see(s.labels["task"])]
            yield metric
        yield GaugeMetricFamily("mpdd_tasks", "Tasks being served to this token", value=len(self._tasks))
