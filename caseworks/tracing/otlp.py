"""Where spans go: OTLP over HTTP, by the standard's own `OTEL_*` variables; extra `otel`.

`OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) switches it on, `OTEL_SDK_DISABLED=true` off;
`OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME` and the rest mean what they mean everywhere. A trace that
its event's `traceparent` says is not sampled is not exported; of the others, every process comes
to the same decision, for it depends on the trace id alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from caseworks.tracing.spans import Span
from events.errors import SetupError
from events.trace_ids import TraceParent

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import SpanContext

    from events.settings import Settings

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
HINT = "pip install 'caseworks[otel]'"
SPANS_MAX = 512
"""Of one request."""
SCOPE = "caseworks"
UNNAMED = "unknown_service"


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody said where traces go."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return any(environment.get(name) for name in ENDPOINTS)


def is_installed() -> bool:
    """Whether the extra is there; imports none of it."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def need_otlp(environment: Mapping[str, str] = os.environ) -> None:
    """Raises `SetupError` when spans have nowhere to go."""
    if not is_installed():
        raise SetupError("tracing needs opentelemetry-exporter-otlp-proto-http", hint=HINT)
    if not is_wanted(environment):
        raise SetupError(
            f"{ENDPOINTS[0]} is not set: nobody said where traces go",
            hint=f"{ENDPOINTS[0]}=http://localhost:4318",
        )


def make_exporter() -> SpanExporter:
    """The exporter that the environment describes. Its own errors are logged, not raised."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def resource_of(settings: Settings, role: str) -> Resource:
    """Who says so: as the environment says, else `caseworks-<role>`."""
    from opentelemetry.sdk.resources import Resource

    mine = {"service.instance.id": settings.instance, "caseworks.namespace": settings.namespace}
    found = Resource.create(mine)
    if str(found.attributes.get("service.name", UNNAMED)).startswith(UNNAMED):
        found = Resource.create({**mine, "service.name": f"{SCOPE}-{role}"})
    return found


def context_of(trace_id: str, span_id: str, *, sampled: bool = True) -> SpanContext:
    """Ids as OpenTelemetry has them; of another process."""
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)


def is_sampled(sampler: Sampler, trace_id: str, parent: TraceParent | None) -> bool:
    """Whether a trace is kept; *parent* is what its event came with."""
    from opentelemetry.sdk.trace.sampling import Decision
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    around = None
    if parent is not None:
        context = context_of(trace_id, parent.span_id, sampled=parent.sampled)
        around = set_span_in_context(NonRecordingSpan(context))
    result = sampler.should_sample(around, int(trace_id, 16), "case")
    return result.decision is not Decision.DROP


class Sender:
    """Exports spans that were told after the fact; used by one thread."""

    def __init__(
        self,
        settings: Settings,
        exporter: SpanExporter | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        """*exporter* and *sampler* default to those that the environment describes."""
        from opentelemetry.sdk.trace import TracerProvider

        provider = TracerProvider(shutdown_on_exit=False)
        self._sampler = sampler or provider.sampler
        self._resource = resource_of(settings, "cases")
        self._exporter = exporter or make_exporter()

    def keeps(self, trace_id: str, parent: TraceParent | None) -> bool:
        """Whether spans of this trace are to be sent."""
        return is_sampled(self._sampler, trace_id, parent)

    def send(self, spans: Sequence[Span]) -> bool:
        """Whether the other side has them all; blocks, and tries again, for some ten seconds."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        for at in range(0, len(spans), SPANS_MAX):
            part = [readable(each, self._resource) for each in spans[at : at + SPANS_MAX]]
            if self._exporter.export(part) is not SpanExportResult.SUCCESS:
                return False
        return True

    def close(self) -> None:
        """End its connections."""
        self._exporter.shutdown()


def readable(span: Span, resource: Resource) -> ReadableSpan:
    """A span as exporters take it."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode

    return ReadableSpan(
        name=span.name,
        context=context_of(span.trace_id, span.span_id),
        parent=context_of(span.trace_id, span.parent_id) if span.parent_id else None,
        resource=resource,
        attributes=span.attributes,
        links=[Link(context_of(span.trace_id, each)) for each in span.links],
        kind=SpanKind[span.kind.upper()],
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=InstrumentationScope(SCOPE),
    )
