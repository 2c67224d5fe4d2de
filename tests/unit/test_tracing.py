from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from agents.mind.port import Request
from caseworks.client import Publisher, new_event
from caseworks.compose import build
from caseworks.scan import Follower
from caseworks.tracing.export import NotSentError, TraceExport
from caseworks.tracing.live import Tracing, traced, tracing_of
from caseworks.tracing.otlp import Sender, is_wanted, need_otlp
from caseworks.tracing.spans import Span
from events.errors import SetupError, TransientError
from events.memory import MemoryBroker
from events.settings import Settings
from events.trace_ids import TraceParent, case_span, publish_span, step_span, trace_id_for
from schemas.event import Event
from tests.unit.command_line import CommandLine
from tests.unit.scripted_model import ScriptedModel, says
from tests.unit.traced_app import OWN, app
from tests.unit.workbench import Workbench

SETTINGS = Settings(
    inbox_partitions=2, events_partitions=2, tasks_partitions=2, results_partitions=2
)
RESULTS = SETTINGS.topics.results("order")
ENDED_S = 20.0
TRACE, SPAN = "ab" * 16, "cd" * 8


@dataclass
class Played:
    """What one run left behind."""

    broker: MemoryBroker
    attempts: list[ReadableSpan]


def play(event: Event) -> Played:
    """Run the app on this event until its result, attempts recorded."""
    broker, exporter, stop = MemoryBroker(), InMemorySpanExporter(), Flag()
    tracing = Tracing(SETTINGS, exporter, at_once=True)
    coordinator = build(app, SETTINGS, broker=broker)
    worker = build(app, SETTINGS, broker=broker, tracing=tracing)
    coordinator.ensure_topics()
    OWN.clear()
    threads = [
        Thread(target=coordinator.run_coordinator, args=(stop,)),
        Thread(target=worker.run_worker, args=(sorted(app.agents), stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        with closing(Publisher(broker, SETTINGS)) as publisher:
            publisher.send(event)
            publisher.flush()
        deadline = time.monotonic() + ENDED_S
        with closing(Follower(broker, [RESULTS], namespace="cw")) as results:
            while not results.take(0.05):
                assert time.monotonic() < deadline, "no result in time"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return Played(broker, [*exporter.get_finished_spans(), *OWN.get_finished_spans()])


def exported(broker: MemoryBroker) -> list[ReadableSpan]:
    """What the exporter makes of the topics."""
    kept = InMemorySpanExporter()
    with closing(Sender(SETTINGS, kept)) as sender:
        TraceExport(broker, SETTINGS, sender).run_once(0.2)
    return list(kept.get_finished_spans())


def ids(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def times(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


@pytest.fixture(scope="module")
def event() -> Event:
    return new_event("order.placed", {"item": "lamp"}, id="e1", subject="s")


@pytest.fixture(scope="module")
def played(event: Event) -> Played:
    return play(event)


@pytest.fixture(scope="module")
def trace(played: Played) -> list[ReadableSpan]:
    return [*exported(played.broker), *played.attempts]


def test_a_case_is_one_connected_trace(trace: list[ReadableSpan], event: Event) -> None:
    found = {ids(span)[1]: span for span in trace}
    assert len(found) == len(trace), "two spans with one id"
    assert {ids(span)[0] for span in trace} == {trace_id_for(event.case_id, None)}
    roots = [span for span in trace if span.parent is None]
    assert [span.name for span in roots] == ["publish order.placed"]
    missing = [s.name for s in trace if s.parent and f"{s.parent.span_id:016x}" not in found]
    assert missing == []


def test_each_span_lies_within_its_parent(trace: list[ReadableSpan]) -> None:
    found = {ids(span)[1]: span for span in trace}
    slack_ns = 1_000  # states have microseconds
    turn_ns = 1_000_000_000  # a coordinator's turn has one time: that of its beginning
    for span in trace:
        start, end = times(span)
        assert start <= end
        if span.parent is None or span.name.startswith("case "):
            continue  # what was published goes on when the publishing is over
        above = times(found[f"{span.parent.span_id:016x}"])
        assert above[0] - slack_ns <= start, span.name
        later = turn_ns if span.name.startswith("attempt ") else slack_ns
        assert end <= above[1] + later, span.name


def test_every_attempt_stands_below_its_step_with_what_became_of_it(
    trace: list[ReadableSpan], event: Event
) -> None:
    below: dict[str, list[str]] = {}
    for span in trace:
        if span.name.startswith("attempt ") and span.attributes and span.parent:
            step = str(span.attributes["caseworks.step"])
            assert f"{span.parent.span_id:016x}" == step_span(event.case_id, step)
            below.setdefault(step, []).append(str(span.attributes["caseworks.status"]))
    assert below == {
        "triage": ["done"],
        "price": ["retry", "done"],
        "stock": ["done"],
        "answer": ["done"],
    }
    [failed] = [span for span in trace if span.status.status_code is StatusCode.ERROR]
    assert failed.attributes
    assert (failed.name, failed.attributes["caseworks.attempt"]) == ("attempt price", 1)


def test_joins_link_to_what_they_join(trace: list[ReadableSpan], event: Event) -> None:
    links = {
        span.name: {f"{link.context.span_id:016x}" for link in span.links}
        for span in trace
        if span.name.startswith(("step ", "result "))
    }

    def steps(*names: str) -> set[str]:
        return {step_span(event.case_id, name) for name in names}

    assert links == {
        "step triage": set(),
        "step price": steps("triage"),
        "step stock": steps("triage"),
        "step answer": steps("price", "stock"),
        "result completed": steps("answer"),
    }


def test_an_agents_own_spans_stand_below_its_attempt(trace: list[ReadableSpan]) -> None:
    found = {ids(span)[1]: span for span in trace}
    above = {
        span.name: found[f"{span.parent.span_id:016x}"].name
        for span in trace
        if span.name in ("look", "count") and span.parent
    }
    assert above == {"look": "attempt triage", "count": "attempt stock"}


def test_what_is_exported_is_not_exported_again(played: Played, trace: object) -> None:
    assert exported(played.broker) == []


@dataclass
class Recorder:
    """A sender that says whether the other side has the spans, from a script."""

    answers: list[bool]
    spans: list[Span] = field(default_factory=list)

    def keeps(self, trace_id: str, parent: TraceParent | None) -> bool:
        return parent is None or parent.sampled

    def send(self, spans: Sequence[Span]) -> bool:
        self.spans += spans
        return self.answers.pop(0)


def test_what_a_collector_refused_is_sent_again_with_the_same_ids() -> None:
    event = new_event("order.placed", {"item": "lamp"}, traceparent=f"00-{TRACE}-{SPAN}-01")
    broker, sender = play(event).broker, Recorder([False, True])
    export = TraceExport(broker, SETTINGS, sender)
    with pytest.raises(NotSentError):
        export.run_once(0.2)
    export.run_once(0.2)
    half = len(sender.spans) // 2
    assert half > 5
    assert sender.spans[:half] == sender.spans[half:]
    assert sender.spans[0].parent_id == SPAN
    assert {span.trace_id for span in sender.spans} == {TRACE}


def test_a_trace_that_is_not_sampled_leaves_no_span() -> None:
    event = new_event("order.placed", {"item": "lamp"}, traceparent=f"00-{TRACE}-{SPAN}-00")
    found = play(event)
    assert exported(found.broker) == []
    assert [s.name for s in found.attempts if s.name.startswith("attempt")] == []


# --- over the wire


class Collector(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    got: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append(ExportTraceServiceRequest.FromString(body))
        assert self.path == "/v1/traces"
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    got: list[ExportTraceServiceRequest] = []
    handler = type("Handler", (Collector,), {"got": got})
    with HTTPServer(("127.0.0.1", 0), handler) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(server.serve_forever, 0.01)
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/traces", got
        finally:
            server.shutdown()


def test_spans_arrive_at_a_collector_as_otlp(played: Played, event: Event) -> None:
    span = Span("case order", TRACE, SPAN, "ef" * 8, 1_000, 2_000, links=("12" * 8,), error="no")
    with collector() as (endpoint, got):
        with closing(Sender(SETTINGS, OTLPSpanExporter(endpoint))) as sender:
            assert sender.send([span])
        [request] = got
    [resource] = request.resource_spans
    [said] = resource.scope_spans[0].spans
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert names["service.name"] == "caseworks-cases"
    assert (said.trace_id.hex(), said.span_id.hex()) == (TRACE, SPAN)
    assert (said.parent_span_id.hex(), said.links[0].span_id.hex()) == ("ef" * 8, "12" * 8)
    assert (said.start_time_unix_nano, said.end_time_unix_nano) == (1_000, 2_000)
    assert (said.status.code, said.status.message) == (2, "no")


# --- switched on and off


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_standards_own_variable_switches_it_on(
    environment: dict[str, str], wanted: bool
) -> None:
    assert is_wanted(environment) == wanted


def test_the_exporter_says_what_is_missing() -> None:
    with pytest.raises(SetupError, match="OTEL_EXPORTER_OTLP_ENDPOINT is not set"):
        need_otlp({})


def test_the_command_ends_at_once_when_nobody_said_where_traces_go() -> None:
    ran = CommandLine()("trace", "export", "--once")
    assert ran.code == 3
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318" in ran.err


def test_without_an_endpoint_nothing_is_around_an_agent() -> None:

    async def answer(order: dict[str, str]) -> str:
        return ""

    services = Workbench(answer).services
    assert tracing_of(SETTINGS) is None
    assert traced(services, None) is services
    assert services.around == ()


def test_a_call_of_a_model_is_a_span() -> None:
    kept = InMemorySpanExporter()
    tracing = Tracing(SETTINGS, kept, at_once=True)
    request = Request(turns=({"role": "user", "content": "?"},), tokens_max=7, timeout_s=1.0)
    model = tracing.model(ScriptedModel(says("yes"), TransientError("busy")))
    assert asyncio.run(model.complete(request)).text == "yes"
    with pytest.raises(TransientError):
        asyncio.run(model.complete(request))
    good, bad = kept.get_finished_spans()
    assert good.name == "chat scripted"
    assert good.attributes
    assert good.attributes["gen_ai.usage.input_tokens"] == 20
    assert bad.status.status_code is StatusCode.ERROR


def test_publishing_in_a_span_makes_the_case_part_of_its_trace() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("shop")
    with tracer.start_as_current_span("checkout") as span:
        inside = new_event("order.placed", {})
    outside = new_event("order.placed", {})
    context = span.get_span_context()
    assert inside.traceparent == f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    assert outside.traceparent is None
    assert publish_span(inside.case_id) != case_span(inside.case_id)
