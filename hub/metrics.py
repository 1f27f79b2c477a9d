"""What the hub counts, in Prometheus' form: every metric with its name, labels and meaning."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Upper bounds in seconds. A commit takes about a millisecond, a slow disk some tens.
COMMIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUEST_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def version() -> str:
    """The installed release of gamehub, or 0 when it runs from a bare checkout."""
    try:
        return metadata.version("gamehub")
    except metadata.PackageNotFoundError:
        return "0"


def _tasks() -> float:
    try:
        return float(len(asyncio.all_tasks()))
    except RuntimeError:  # asked for outside of the loop
        return 0.0


@dataclass(frozen=True, slots=True)
class PipelineWork:
    """What a pipeline has done since it is there, all workers together."""

    pipeline: str
    batches: int
    facts: int
    busy_s: float
    last_batch_s: float
    failures: int
    dead_letters: int


class Pipelines(Collector):
    """Counters that the workers keep in Postgres, as the last look found them.

    Every hub tells the same; sum() them by pipeline over one of them only.
    """

    def __init__(self) -> None:
        self.found: list[PipelineWork] = []

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        found = self.found
        for name, text, value in _PIPELINE_COUNTERS:
            family = CounterMetricFamily(f"gamehub_pipeline_{name}", text, labels=["pipeline"])
            for each in found:
                family.add_metric([each.pipeline], value(each))
            yield family
        for name, text, value in _PIPELINE_GAUGES:
            gauge = GaugeMetricFamily(f"gamehub_pipeline_{name}", text, labels=["pipeline"])
            for each in found:
                gauge.add_metric([each.pipeline], value(each))
            yield gauge


_Value = Callable[[PipelineWork], float]
_PIPELINE_COUNTERS: tuple[tuple[str, str, _Value], ...] = (
    ("batches", "Batches that a pipeline has committed.", lambda each: each.batches),
    ("facts", "Facts that a pipeline has dealt with.", lambda each: each.facts),
    ("busy_seconds", "Time that a pipeline's batches took.", lambda each: each.busy_s),
    ("failures", "Batches that failed and were tried again.", lambda each: each.failures),
)
_PIPELINE_GAUGES: tuple[tuple[str, str, _Value], ...] = (
    ("last_batch_seconds", "Time that its last batch took.", lambda each: each.last_batch_s),
    ("dead_letters", "Facts that it gave up on.", lambda each: each.dead_letters),
)


class Metrics:
    """The metrics of one hub process, in a registry of their own; served at /metrics.

    Label values come from closed sets (ops, codes, kinds, routes), never from what a client sent.
    """

    def __init__(self) -> None:
        # When each counter was born doubles the page and tells nothing.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._start_process_metrics()
        self._start_socket_metrics()
        self._start_ingest_metrics()
        self._start_http_metrics()
        self._start_dependency_metrics()
        self._start_audit_metrics()

    def render(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)

    def _start_process_metrics(self) -> None:
        build = Gauge(
            "gamehub_build_info",
            "Always 1; the labels say which release runs on which Python.",
            ["version", "python"],
            registry=self.registry,
        )
        build.labels(version(), platform.python_version()).set(1)
        tasks = self._gauge("tasks", "Tasks on the hub's loop; they come and go with what waits.")
        tasks.set_function(_tasks)
        self.draining = self._gauge("draining", "1 while the hub drains before it stops, else 0.")

    def _start_socket_metrics(self) -> None:
        self.connections = self._gauge(
            "connections", "Open sockets, by kind: viewer or server.", "kind"
        )
        self.rooms = self._gauge("rooms", "Rooms that this process has members in.")
        self.messages_in = self._counter(
            "messages_in_total",
            "Messages from viewers, by op; malformed ones are invalid.",
            "op",
        )
        self.errors_out = self._counter(
            "errors_out_total", "Error messages to viewers and servers, by code.", "code"
        )
        self.closes = self._counter(
            "closes_total", "Viewers' sockets that ended, by close code.", "code"
        )
        self.places_refused = self._counter(
            "places_refused_total",
            "Refusals at a cap, by cap: ip, user, overlay, server or room.",
            "cap",
        )
        self.limits_without_redis = self._counter(
            "limits_without_redis_total",
            "Leases of messages given, and places decided, without Redis: messages or connections.",
            "limit",
        )
        self.events_published = self._counter(
            "events_published_total", "Events that this process put into rooms.", "room_kind"
        )
        self.publish_batches = self._counter(
            "publish_batches_total", "Pipelined calls to Redis that published events."
        )
        self.deliveries = self._counter(
            "deliveries_total", "Events handed to sockets (events times members)."
        )
        self.bytes_out = self._counter("sent_bytes_total", "Bytes handed to sockets.")
        self.lagged = self._counter(
            "lagged_total", "Times that a slow reader was told `lagged` and given a snapshot."
        )

    def _start_ingest_metrics(self) -> None:
        self.frames_in = self._counter(
            "frames_in_total", "Frames from game servers, by class: live or fact.", "class"
        )
        self.acks = self._counter("acks_total", "Acknowledgements sent to game servers.")
        self.nacks = self._counter("nacks_total", "Frames that were refused, by code.", "code")
        self.fact_commit_seconds = self._histogram(
            "fact_commit_seconds", "From a FACT's arrival to its commit.", COMMIT_BUCKETS_S
        )

    def _start_http_metrics(self) -> None:
        self.http_requests = self._counter(
            "http_requests_total",
            "HTTP requests, by method, route and status.",
            "method",
            "route",
            "status",
        )
        self.http_request_seconds = self._histogram(
            "http_request_seconds",
            "Time to answer an HTTP request, sockets left out.",
            REQUEST_BUCKETS_S,
        )

        self.cache_reads = self._counter(
            "cache_reads_total",
            "Reads of rendered pages in Redis, by cache and outcome: hit, miss, or away when the"
            " page came from Postgres alone.",
            "cache",
            "outcome",
        )

    def _start_dependency_metrics(self) -> None:
        self.dependency_up = self._gauge(
            "dependency_up", "1 when the dependency answered the last check, else 0.", "dependency"
        )
        self.pipeline_lag_facts = self._gauge(
            "pipeline_lag_facts", "Facts in the log that the pipeline has not read yet.", "pipeline"
        )
        self.pipeline_lag_seconds = self._gauge(
            "pipeline_lag_seconds", "Age of the oldest fact that it has not read yet.", "pipeline"
        )
        self.dead_letters = self._gauge(
            "dead_letters", "Events that a pipeline gave up on and nobody has settled."
        )
        self.pipelines = Pipelines()
        self.registry.register(self.pipelines)

    def _start_audit_metrics(self) -> None:
        self.audit_waiting = self._gauge(
            "audit_waiting", "Rows for the audit log that this process has not written yet."
        )
        self.audit_left_out = self._counter(
            "audit_left_out_total",
            "Rows that did not fit into the queue; each is in the log instead.",
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"gamehub_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"gamehub_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"gamehub_{name}", text, registry=self.registry, buckets=buckets)
