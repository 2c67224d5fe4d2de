"""The catalogue of metrics, and the one object through which every part counts.

`CATALOGUE` is the source: docs, dashboards and alert rules are tested against it, and `Telemetry`
refuses what it does not name. prometheus-client stands behind `Prometheus` alone, imported when
the first one is made. A part that counts takes a `Telemetry`; its default, `NULL`, checks names
and labels and keeps nothing, so a wrong name fails in every test that passes by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from events.samples import ManySamples

Kind = Literal["counter", "gauge", "histogram"]

SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LONG_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)
SIZES = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: what it says in a sentence, and the labels that every sample carries."""

    name: str
    kind: Kind
    says: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, says: str, *labels: str) -> Metric:
    return Metric(f"caseworks_{name}_total", "counter", says, labels)


def _gauge(name: str, says: str, *labels: str) -> Metric:
    return Metric(f"caseworks_{name}", "gauge", says, labels)


def _histogram(name: str, says: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(f"caseworks_{name}", "histogram", says, labels, buckets)


_PARTITION = ("group", "topic", "partition")
_ALL = (
    # intake
    _counter("events_accepted", "Events that opened a case or met their own.", "type"),
    _counter("events_rejected", "Events that went to the dead letters.", "reason"),
    _counter("events_duplicate", "Events whose case was known already."),
    # cases
    _gauge("cases_open", "Cases open on an inbox partition, seen by its owner.", "partition"),
    _counter("cases_opened", "Cases opened.", "workflow"),
    _counter("results", "Results published.", "workflow", "status"),
    _histogram("case_seconds", "Event to result.", "workflow", buckets=LONG_S),
    _counter("cases_closed", "First answers, but cancelled ones.", "workflow", "in_time"),
    _counter("commands", "Commands taken from the inbox.", "kind"),
    _counter("control_refused", "Requests to the controller that could not be read.", "reason"),
    _counter("breaker_decisions", "Transitions of the fleet's breakers.", "state"),
    _counter("outcomes_ignored", "Outcomes that changed nothing.", "why"),
    _counter("commands_forwarded", "Commands sent on to the partition they belong to."),
    _counter("coalesced", "Cases of identical events by what became of them.", "end"),
    _counter("cache", "Outputs kept for a `cache`, and answers from it, by their end.", "end"),
    _counter("retries_postponed", "Retries that wait for their agent's budget.", "agent"),
    _counter("correlated", "Correlated events by what became of them.", "end"),
    _counter("approvals_requested", "Questions put to people.", "workflow"),
    _counter("approvals_ended", "Questions by how they ended.", "workflow", "ending"),
    # loops
    _counter("transactions", "Transactions by how they ended.", "loop", "end"),
    _histogram("transaction_seconds", "Begin to commit.", "loop", buckets=SHORT_S),
    _histogram("restore_seconds", "Assignment to first command.", "loop", buckets=LONG_S),
    _gauge("loop_last_turn_timestamp_seconds", "When a loop last finished a turn.", "loop"),
    _histogram("loop_batch_size", "Messages taken in one turn.", "loop", buckets=SIZES),
    _gauge("intake_waits", "Whether intake waits because too many cases are open: 1 or 0."),
    _counter("intake_full", "Times that intake began to wait."),
    _counter("states_discarded", "States of a partition that could not be trusted.", "reason"),
    _counter("partitions_stopped", "Partitions whose changelog could not be read.", "loop"),
    # workers
    _counter("tasks", "Attempts by the status of their outcome.", "agent", "status"),
    _histogram("task_seconds", "Run time of an attempt.", "agent", buckets=LONG_S),
    _gauge("in_flight", "Attempts that run now.", "agent"),
    _gauge("read_ahead", "Tasks read and not started.", "agent", "lane"),
    _counter("suspects_started", "Tasks started again that may have killed a worker.", "agent"),
    _counter("progress_ignored", "Texts beside commits that were not understood.", "agent"),
    _gauge("breaker_state", "A process's breaker: 0 closed, 1 half open, 2 open.", "dependency"),
    _gauge("fleet_breaker_state", "The fleet's breaker, as seen here; same codes.", "dependency"),
    _gauge("agent_paused", "Whether an agent takes no new tasks, as seen here.", "agent"),
    _counter("fleet_requests", "Requests sent to the controller.", "kind"),
    _counter("fleet_fallbacks", "Times that the controller did not answer.", "dependency"),
    _counter("control_unread", "Decisions of the controller that were not understood.", "reason"),
    _counter("effects", "Calls of `ctx.effect` by what became of them.", "agent", "state"),
    _counter("dead_letters", "Dead letters written.", "topic", "reason"),
    _counter("agent_processes_ended", "Child processes of agents that ended.", "agent"),
    _counter("loop_stalls", "Times that the agents' event loop stood, by who was on it.", "agent"),
    # models
    _counter("model_calls", "Calls to a model by how they ended.", "model", "status"),
    _counter("model_tokens", "Tokens sent to a model and received.", "model", "direction"),
    _counter("model_usd", "US dollars spent on a model.", "model"),
    # the API
    _counter("api_requests", "Requests by what they were for and their answer.", "route", "status"),
    _histogram("api_seconds", "Request to answer; of a stream, its life.", "route", buckets=LONG_S),
    _counter("api_events", "Events that Kafka acknowledged to the API, by type.", "type"),
    _gauge("api_streams", "Streams that are open."),
    _counter("api_streams_dropped", "Streams whose client did not read.", "why"),
    # insight: `kind` is all, workflow, tenant or agent, of the last hour unless it says otherwise
    _counter("facts", "Facts written.", "kind"),
    _counter("facts_unread", "Records that are no fact, or a broken one, passed.", "reason"),
    _counter("insight_facts", "Facts counted into the tables."),
    _histogram("insight_turn_seconds", "Time to count a batch of facts.", buckets=SHORT_S),
    _gauge("insight_cases", "Closed cases, or an agent's steps.", "kind", "name"),
    _gauge("insight_ratio", "The part of them that is so.", "kind", "name", "of"),
    _gauge("insight_confidence", "Their mean confidence.", "kind", "name"),
    _gauge("insight_case_usd", "What each cost on average.", "kind", "name"),
    _gauge("insight_case_seconds", "How long they took.", "kind", "name", "quantile"),
    _gauge("insight_drift", "Distance of confidence from its baseline (PSI).", "kind", "name"),
    _gauge("insight_rating", "Mean rating, 1 to 5, of the last day.", "kind", "name"),
    _gauge("insight_alerts", "Alerts that are firing.", "rule"),
    _gauge("insight_other_names", "Facts counted as `~other` since the start."),
    _gauge("insight_hours_saved", "Labour saved in 35 days, against the stated baseline."),
    _gauge("insight_net_benefit_usd", "Benefit less cost of 35 days, likewise."),
    # the projection
    _gauge("projection_behind_records", "Records that the projection has not written."),
    _gauge("projection_behind_seconds", "Since when it has not had all of them."),
    _counter("projection_records", "Records written to the projection.", "topic"),
    _counter("projection_skipped", "Records that it could not read.", "topic", "reason"),
    _counter("projection_rebuilds", "Times that its file was thrown away.", "reason"),
    # traces
    _counter("trace_spans", "Spans of cases that were exported."),
    _counter("trace_refused", "Exports that failed, and are tried again."),
    _counter("trace_skipped", "Results that could not be read."),
    _counter("trace_forgotten", "Cases not remembered for lack of room; their times are guesses."),
    # processes
    _gauge("consumer_lag", "Records a group has not done.", *_PARTITION),
    _gauge("consumer_committed_lag", "Records at or behind its committed offset.", *_PARTITION),
    _gauge("consumer_undelivered", "Records that no member has read.", *_PARTITION),
    _gauge("consumer_oldest_age_seconds", "Age of the oldest one not done, nor held.", *_PARTITION),
    _gauge("consumer_state", "State: 0 OK, 1 WARN, 2 STALL, 3 STOP, 4 REWIND.", *_PARTITION),
    _gauge("consumer_in_flight", "Records read and not done.", "group", "topic"),
    _gauge("consumer_done_ahead", "Records done behind one that is not.", "group", "topic"),
    _gauge("consumer_hidden", "Offsets behind an open transaction.", "group", "topic"),
    _gauge("consumer_held", "Records that a pause, a breaker or a limit holds back.", "group"),
    _gauge("consumer_members", "Members of a group.", "group"),
    _gauge("consumer_unowned", "Partitions of a group's topics that no member has.", "group"),
    _gauge("work_behind_seconds", "Time that what waits will take, learned.", "agent", "held"),
    _gauge("work_behind_tokens", "Tokens that it will take.", "agent", "held"),
    _gauge("work_behind_usd", "US dollars that it will take.", "agent", "held"),
    _gauge("lag_measured_timestamp_seconds", "When the lag of all groups was last measured."),
    _counter("process_restarts", "Processes that a supervisor started again.", "role"),
)
CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by its full name."""


class UnknownMetricError(LookupError):
    """Code counts under a name, kind or label that the catalogue does not have."""


def check(name: str, kind: Kind, labels: dict[str, object]) -> Metric:
    """The metric of that name. Raises `UnknownMetricError` for another kind or other labels."""
    metric = CATALOGUE.get(name)
    if metric is None:
        raise UnknownMetricError(f"{name} is not in events.metrics.CATALOGUE")
    if metric.kind != kind:
        raise UnknownMetricError(f"{name} is a {metric.kind}, not a {kind}")
    if labels.keys() != frozenset(metric.labels):
        wanted, given = ", ".join(metric.labels) or "none", ", ".join(labels) or "none"
        raise UnknownMetricError(f"{name} has the labels {wanted}; given: {given}")
    return metric


Add = Callable[[float], None]
"""Adds to one sample."""


class Telemetry(Protocol):
    """What a part may say about itself. Thread-safe; never blocks.

    Every method raises `UnknownMetricError` for what the catalogue does not name.
    """

    def count(self, name: str, value: float = 1, /, **labels: object) -> None:
        """Add to a counter."""

    def observe(self, name: str, value: float, /, **labels: object) -> None:
        """Add a sample to a histogram."""

    def set(self, name: str, value: float, /, **labels: object) -> None:
        """Set a gauge."""

    def counter(self, name: str, /, **labels: object) -> Add:
        """`count` for these labels, looked up once: for what is counted with every task."""

    def observer(self, name: str, /, **labels: object) -> Add:
        """`observe` likewise."""

    def forget(self, name: str, /, **labels: object) -> None:
        """Drop a gauge's sample: this process no longer knows (a partition went elsewhere)."""


def _kept_nowhere(_value: float) -> None:
    """What `Null` does with a sample."""


class Null:
    """Checks what is said, and keeps nothing."""

    def count(self, name: str, value: float = 1, /, **labels: object) -> None:
        check(name, "counter", labels)

    def observe(self, name: str, value: float, /, **labels: object) -> None:
        check(name, "histogram", labels)

    def set(self, name: str, value: float, /, **labels: object) -> None:
        check(name, "gauge", labels)

    def counter(self, name: str, /, **labels: object) -> Add:
        check(name, "counter", labels)
        return _kept_nowhere

    def observer(self, name: str, /, **labels: object) -> Add:
        check(name, "histogram", labels)
        return _kept_nowhere

    def forget(self, name: str, /, **labels: object) -> None:
        check(name, "gauge", labels)


NULL: Telemetry = Null()


class Prometheus:
    """Keeps samples in a prometheus-client registry of its own.

    Example:
        `telemetry.count("caseworks_results_total", workflow="ticket", status="completed")`
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

        from events.samples import Kept

        self.registry: CollectorRegistry = CollectorRegistry()
        self._kept = Kept()
        self.registry.register(self._kept)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._made = {metric.name: self._make(metric) for metric in CATALOGUE.values()}
        self._samples: dict[tuple[object, ...], Any] = {}

    def count(self, name: str, value: float = 1, /, **labels: object) -> None:
        sample: Counter = self._sample(name, "counter", labels)
        sample.inc(value)

    def observe(self, name: str, value: float, /, **labels: object) -> None:
        sample: Histogram = self._sample(name, "histogram", labels)
        sample.observe(value)

    def set(self, name: str, value: float, /, **labels: object) -> None:
        sample: Gauge = self._sample(name, "gauge", labels)
        sample.set(value)

    def counter(self, name: str, /, **labels: object) -> Add:
        sample: Counter = self._sample(name, "counter", labels)
        return self._kept.adder((name, *labels.items()), lambda values: sample.inc(sum(values)))

    def observer(self, name: str, /, **labels: object) -> Add:
        sample: ManySamples = self._sample(name, "histogram", labels)
        return self._kept.adder((name, *labels.items()), sample.observe_all)

    def forget(self, name: str, /, **labels: object) -> None:
        metric = check(name, "gauge", labels)
        self._samples.pop((name, "gauge", *labels.items()), None)
        if metric.labels:
            self._made[name].remove(*(str(labels[label]) for label in metric.labels))

    def value(self, sample: str, /, **labels: object) -> float | None:
        """A sample by its exposed name (`…_total`, `…_count`, `…_sum`); `None` if never said."""
        told = {label: str(value) for label, value in labels.items()}
        return self.registry.get_sample_value(sample, told)

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def _sample(self, name: str, kind: Kind, labels: dict[str, object]) -> Any:
        """The child for these label values, kept: prometheus-client's own look-up is slow."""
        place = (name, kind, *labels.items())
        found = self._samples.get(place)
        if found is None:
            metric = check(name, kind, labels)
            made = self._made[name]
            told = {label: str(value) for label, value in labels.items()}
            found = self._samples[place] = made.labels(**told) if metric.labels else made
        return found

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        from prometheus_client import Counter, Gauge

        from events.samples import ManySamples

        match metric.kind:
            case "counter":
                return Counter(metric.name, metric.says, metric.labels, registry=self.registry)
            case "gauge":
                return Gauge(metric.name, metric.says, metric.labels, registry=self.registry)
            case "histogram":
                return ManySamples(
                    metric.name,
                    metric.says,
                    metric.labels,
                    registry=self.registry,
                    buckets=metric.buckets,
                )
