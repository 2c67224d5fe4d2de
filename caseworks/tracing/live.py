"""Spans of attempts and model calls, recorded where they happen; extra `otel`.

A worker with this runs each attempt with its span as the current one, so that an agent's own
spans, those of instrumented HTTP clients, and model calls join the case's trace. Without it there
is no wrapper at all. An agent in processes of its own has the attempt's span and nothing below.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from agents.mind.port import NO_MODEL
from agents.outcomes import Deferred, Done, Failed, Halted, Retry, Verdict
from caseworks.tracing.otlp import (
    HINT,
    SCOPE,
    context_of,
    is_installed,
    is_sampled,
    is_wanted,
    make_exporter,
    resource_of,
)
from events.logs import get_logger
from events.trace_ids import attempt_span, read_traceparent, step_span, trace_id_for
from schemas.lean import LeanTask
from schemas.task import task_name_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from agents.call import Call, Handler
    from agents.mind.port import ModelPort, Reply, Request
    from agents.services import Services
    from events.settings import Settings

FLUSH_MS = 3000
"""How long the end of a process waits for spans that are not sent yet."""
NS = 1_000_000_000

log = get_logger(__name__)
_wanted_id: ContextVar[int] = ContextVar("caseworks_span_id", default=0)


def tracing_of(settings: Settings) -> Tracing | None:
    """What the environment asks for; `None` when it asks for nothing."""
    if not is_wanted():
        return None
    if not is_installed():
        log.warning("tracing_off", why="the packages are not installed", hint=HINT)
        return None
    tracing = Tracing(settings, make_exporter())
    tracing.serve_all()
    return tracing


def traced(services: Services, tracing: Tracing | None) -> Services:
    """The same, with the spans of attempts and of calls to a model that is there."""
    if tracing is None:
        return services
    model = services.model
    return replace(
        services,
        around=(tracing.traced, *services.around),
        model=model if model is NO_MODEL else tracing.model(model),
    )


class Tracing:
    """Records spans and sends them from a thread of its own, 2,048 waiting at the most.

    Args:
        settings: Who this is.
        exporter: Where they go.
        at_once: Send each when it ends, on its own thread: for tests.
    """

    def __init__(
        self, settings: Settings, exporter: SpanExporter, *, at_once: bool = False
    ) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        self._provider = TracerProvider(
            resource=resource_of(settings, "worker"),
            id_generator=_fixed_ids(),
            shutdown_on_exit=False,
        )
        process = SimpleSpanProcessor if at_once else BatchSpanProcessor
        self._provider.add_span_processor(process(exporter))
        self._tracer = self._provider.get_tracer(SCOPE)

    def serve_all(self) -> None:
        """Take the spans of agents and libraries as well, unless the app has seen to them."""
        from opentelemetry import trace

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)

    def traced(self, inner: Handler) -> Handler:
        """A wrapper: the attempt is a span, and the current one while it runs."""

        async def handle(call: Call) -> Verdict:
            with self._attempt(call) as span:
                verdict = await inner(call)
                _tell(span, call, verdict)
                return verdict

        return handle

    def model(self, model: ModelPort) -> ModelPort:
        """The model, each call of it a span."""
        return TracedModel(model, self._tracer)

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()

    @contextmanager
    def _attempt(self, call: Call) -> Iterator[Span]:
        from opentelemetry.trace import (
            NonRecordingSpan,
            SpanKind,
            Status,
            StatusCode,
            set_span_in_context,
            use_span,
        )

        task, now = call.task, call.services.now
        parent = read_traceparent(task.event.traceparent)
        trace_id = trace_id_for(task.case_id, task.event.traceparent)
        sampled = is_sampled(self._provider.sampler, trace_id, parent)
        above = context_of(trace_id, _step_span(task), sampled=sampled)
        _wanted_id.set(int(attempt_span(task.task_id, task.attempt), 16))
        span = self._tracer.start_span(
            f"attempt {task.agent}",
            context=set_span_in_context(NonRecordingSpan(above)),
            kind=SpanKind.CONSUMER,
            attributes=_attributes(call),
            start_time=round(now() * NS),
        )
        _wanted_id.set(0)
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                yield span
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end(round(now() * NS))


def _step_span(task: LeanTask) -> str:
    """The span of the step that a task works for; of what it delegated, that step's too."""
    name = task_name_of(task.task_id, task.case_id)
    if name is None:
        return step_span(task.case_id, task.step)
    step = name.step.partition(".")[0]
    return step_span(task.case_id, f"{step}~undo" if name.undo else step, name.replay)


def _attributes(call: Call) -> dict[str, str | int]:
    task = call.task
    found: dict[str, str | int] = {
        "caseworks.case_id": task.case_id,
        "caseworks.task_id": task.task_id,
        "caseworks.workflow": task.workflow,
        "caseworks.step": task.step,
        "caseworks.agent": task.agent,
        "caseworks.agent_version": call.agent.spec.version,
        "caseworks.attempt": task.attempt,
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
    }
    if task.event.tenant is not None:
        found["caseworks.tenant"] = task.event.tenant
    return found


def _tell(span: Span, call: Call, verdict: Verdict) -> None:
    """How the attempt ended, and what it cost."""
    from opentelemetry.trace import Status, StatusCode

    usage = call.usage
    span.set_attribute("caseworks.status", type(verdict).__name__.lower())
    if not usage.is_nothing:
        span.set_attribute("caseworks.tokens", usage.tokens_in + usage.tokens_out)
        span.set_attribute("caseworks.usd", float(usage.usd))
    match verdict:
        case Done(confidence=float() as confidence):
            span.set_attribute("caseworks.confidence", confidence)
        case Failed() | Retry() | Halted():
            span.set_attribute("error.type", verdict.kind)
            span.set_status(Status(StatusCode.ERROR, verdict.message))
        case Deferred():
            span.set_attribute("caseworks.deferred_by", verdict.kind)
        case _:
            pass


class TracedModel:
    """A model whose calls are spans by the semantic conventions for generative AI."""

    def __init__(self, inner: ModelPort, tracer: Any) -> None:
        self._inner = inner
        self._tracer = tracer

    @property
    def name(self) -> str:
        return self._inner.name

    def price(self, tokens_in: int, tokens_out: int) -> Decimal | None:
        return self._inner.price(tokens_in, tokens_out)

    async def prepare(self) -> None:
        await self._inner.prepare()

    async def complete(self, request: Request) -> Reply:
        from opentelemetry.trace import SpanKind

        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": self.name,
            "gen_ai.request.max_tokens": request.tokens_max,
        }
        with self._tracer.start_as_current_span(
            f"chat {self.name}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
        ) as span:
            reply = await self._inner.complete(request)
            span.set_attribute("gen_ai.usage.input_tokens", reply.tokens_in)
            span.set_attribute("gen_ai.usage.output_tokens", reply.tokens_out)
            return reply


def _fixed_ids() -> Any:
    """Random ids, but for the span whose id is given by what it stands for."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class FixedIds(RandomIdGenerator):
        def generate_span_id(self) -> int:
            return _wanted_id.get() or super().generate_span_id()

    return FixedIds()
