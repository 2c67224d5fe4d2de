"""The spans of a case, from its last state and its result. Pure; times in, nanoseconds out.

A trace is: `publish` (from the event's time to the opening) -> `case` -> `step`s with their waits
for people, and the `result`. Attempts at steps are no part of it: the worker that runs one
records it, below the step's span, whose id it knows (`events.trace_ids`).
A step that reads others has links to them, the result to the steps that nobody read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from coordinator.workflow import Plan
from events import trace_ids
from events.trace_ids import TraceParent
from schemas.lean_case import Case, StepState
from schemas.result import Result

PUBLISH_S_MAX = 3600.0
"""An event whose time is longer ago was not published then: it only tells of that time."""
NS = 1_000_000_000

Kind = Literal["internal", "producer", "consumer"]
Value = str | int | float | bool
FAILED = frozenset(("failed", "expired", "cancelled"))
"""Ends of a case that are errors to whoever waits for it."""
GIVEN_UP = frozenset(("failed", "abandoned"))
"""Ends of a step that are."""


@dataclass(frozen=True, slots=True)
class Span:
    """What OpenTelemetry calls so; ids in hexadecimal digits, links to spans of the same trace."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    kind: Kind = "internal"
    attributes: Mapping[str, Value] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    error: str | None = None


class Asked(NamedTuple):
    """Since when people were asked about a step, and until when, in seconds since the epoch."""

    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """All that is known of a case that has ended.

    Args:
        result: Its result.
        traceparent: What its event came with.
        tenant: Its event's.
        case: Its last state before the result; without, times of steps are estimated.
        plan: Its workflow; without, there are no links.
        asked: By step: when people were asked.
    """

    result: Result
    traceparent: str | None = None
    tenant: str | None = None
    case: Case | None = None
    plan: Plan | None = None
    asked: Mapping[str, Asked] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Which result of its case it is, from 1."""
        amends = self.result.amends
        return int(amends.rpartition(":")[2]) + 1 if amends else 1

    @property
    def trace_id(self) -> str:
        """Its trace."""
        return trace_ids.trace_id_for(self.result.case_id, self.traceparent)

    @property
    def parent(self) -> TraceParent | None:
        """The span of whoever published the event."""
        return trace_ids.read_traceparent(self.traceparent)


def spans_of(told: Told) -> list[Span]:
    """Its spans, each behind its parent."""
    steps = list(_steps(told))
    return [*_root(told, steps), *steps, *_approvals(told, steps), _result(told, steps)]


def _root(told: Told, steps: list[Span]) -> Iterator[Span]:
    result, trace_id = told.result, told.trace_id
    opened, closed = result.opened_at.timestamp(), result.closed_at.timestamp()
    first = trace_ids.case_span(result.case_id)
    if told.number > 1:
        start = min((each.start_ns for each in steps), default=_ns(closed))
        yield _case(told, first, start, f"case {result.workflow} again")
        return
    said = result.event.time.timestamp()
    begun = said if opened - PUBLISH_S_MAX <= said <= opened else opened
    publish = trace_ids.publish_span(result.case_id)
    yield Span(
        name=f"publish {result.event.type}",
        trace_id=trace_id,
        span_id=publish,
        parent_id=told.parent.span_id if told.parent else None,
        start_ns=_ns(begun),
        end_ns=_ns(opened),
        kind="producer",
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "publish",
            "messaging.message.id": result.event.id,
            "cloudevents.event_id": result.event.id,
            "cloudevents.event_source": result.event.source,
            "cloudevents.event_type": result.event.type,
            **_known({"cloudevents.event_subject": result.event.subject}),
        },
    )
    yield _case(told, publish, _ns(opened), f"case {result.workflow}")


def _case(told: Told, parent_id: str, start_ns: int, name: str) -> Span:
    result, usage = told.result, told.result.usage
    return Span(
        name=name,
        trace_id=told.trace_id,
        span_id=trace_ids.case_span(result.case_id, told.number),
        parent_id=parent_id,
        start_ns=start_ns,
        end_ns=_ns(result.closed_at.timestamp()),
        kind="consumer",
        attributes={
            "caseworks.case_id": result.case_id,
            "caseworks.workflow": result.workflow,
            "caseworks.workflow_version": result.workflow_version,
            "caseworks.status": result.status,
            "caseworks.tokens": usage.tokens_in + usage.tokens_out,
            "caseworks.usd": float(usage.usd),
            **_known(
                {
                    "caseworks.tenant": told.tenant,
                    "caseworks.confidence": result.confidence,
                    "caseworks.coalesced_with": result.coalesced_with,
                    "caseworks.degraded": ", ".join(result.degraded) or None,
                }
            ),
        },
        error=(result.reason or result.status) if result.status in FAILED else None,
    )


class _End(NamedTuple):
    """How a step ended, from whichever report there is of it."""

    status: str
    attempts: int
    agent: str | None
    error: str | None
    ms: int = 0
    attributes: Mapping[str, Value] = {}


def _steps(told: Told) -> Iterator[Span]:
    states: dict[str, StepState] = dict(told.case.steps) if told.case else {}
    undos = told.case.undos if told.case else {}
    states |= {f"{name}~undo": state for name, state in undos.items()}
    for name, end in _ends(told.result):
        span = _step(told, name, end, states.get(name))
        if span is not None:
            yield span


def _ends(result: Result) -> Iterator[tuple[str, _End]]:
    for name, report in result.steps.items():
        usage = report.usage
        more: dict[str, Value] = {
            "caseworks.tokens": usage.tokens_in + usage.tokens_out,
            "caseworks.usd": float(usage.usd),
            **_known(
                {
                    "caseworks.agent_version": report.agent_version or None,
                    "caseworks.confidence": report.confidence,
                    "caseworks.items": report.items or None,
                    "caseworks.items_failed": report.items_failed or None,
                }
            ),
        }
        what = (report.status, report.attempts, report.agent, report.error, report.ms, more)
        yield name, _End(*what)
    for name, undo in result.undone.items():
        yield f"{name}~undo", _End(undo.status, undo.attempts, undo.agent, undo.error)


def _step(told: Told, name: str, end: _End, state: StepState | None) -> Span | None:
    """The span of a step; `None` of one that never began, or that an amended result repeats."""
    result, replay = told.result, state.replay if state else 0
    if told.number > 1 and state is not None and not replay:
        return None
    opened, closed = result.opened_at.timestamp(), result.closed_at.timestamp()
    first_sent = state.first_sent if state else None
    if first_sent is None and not end.attempts and not end.ms:
        return None
    took_s = end.ms / 1000
    start = first_sent if first_sent is not None else closed - took_s
    ended = state.ended if state is not None and state.ended is not None else None
    if ended is None:
        ended = start + took_s if took_s or end.status == "done" else closed
    start, ended = _within(start, opened, closed), _within(ended, opened, closed)
    return Span(
        name=f"{_waits(told.plan, name)} {name}",
        trace_id=told.trace_id,
        span_id=trace_ids.step_span(result.case_id, name, replay),
        parent_id=trace_ids.case_span(result.case_id, told.number),
        start_ns=_ns(start),
        end_ns=_ns(max(start, ended)),
        attributes={
            "caseworks.case_id": result.case_id,
            "caseworks.step": name,
            "caseworks.status": end.status,
            "caseworks.attempts": end.attempts,
            **_known({"caseworks.agent": end.agent}),
            **end.attributes,
            **({"caseworks.times_estimated": True} if first_sent is None else {}),
        },
        links=_joined(told, name),
        error=(end.error or end.status) if end.status in GIVEN_UP else None,
    )


def _waits(plan: Plan | None, name: str) -> str:
    """What kind of step it is: `step`, or what it waits for."""
    spec = next((each for each in plan.spec.steps if each.name == name), None) if plan else None
    if spec is None or (spec.wait is None and spec.approval is None):
        return "step"
    return "wait" if spec.wait is not None else "approval"


def _joined(told: Told, name: str) -> tuple[str, ...]:
    """The spans of the steps that this one reads, as far as they have one."""
    after = _after(told.plan).get(name, ())
    return tuple(_span_id(told, each) for each in after if _began(told, each))


def _after(plan: Plan | None) -> dict[str, tuple[str, ...]]:
    return {each.name: each.after for each in plan.spec.steps} if plan else {}


def _began(told: Told, step: str) -> bool:
    report = told.result.steps.get(step)
    state = told.case.steps.get(step) if told.case else None
    sent = state is not None and state.first_sent is not None
    return report is not None and (sent or bool(report.attempts or report.ms))


def _span_id(told: Told, step: str) -> str:
    state = told.case.steps.get(step) if told.case else None
    return trace_ids.step_span(told.result.case_id, step, state.replay if state else 0)


def _approvals(told: Told, steps: list[Span]) -> Iterator[Span]:
    """While people were asked about what an agent had said, below the agent's step."""
    for span in steps:
        name = str(span.attributes["caseworks.step"])
        asked = told.asked.get(name)
        if asked is None or not span.name.startswith("step "):
            continue
        start = min(max(_ns(asked.since), span.start_ns), span.end_ns)
        until = span.end_ns if asked.until is None else _ns(asked.until)
        state = told.case.steps.get(name) if told.case else None
        replay = state.replay if state else 0
        yield Span(
            name=f"approval {name}",
            trace_id=span.trace_id,
            span_id=trace_ids.approval_span(told.result.case_id, name, replay),
            parent_id=span.span_id,
            start_ns=start,
            end_ns=min(max(until, start), span.end_ns),
            attributes={"caseworks.case_id": told.result.case_id, "caseworks.step": name},
        )


def _result(told: Told, steps: list[Span]) -> Span:
    result, closed = told.result, _ns(told.result.closed_at.timestamp())
    read = {each for after in _after(told.plan).values() for each in after}
    last = [each for each in steps if each.attributes["caseworks.step"] not in read]
    opened = _ns(result.opened_at.timestamp())
    start = max((each.end_ns for each in steps), default=opened if told.number == 1 else closed)
    return Span(
        name=f"result {result.status}",
        trace_id=told.trace_id,
        span_id=trace_ids.result_span(result.case_id, told.number),
        parent_id=trace_ids.case_span(result.case_id, told.number),
        start_ns=min(start, closed),
        end_ns=closed,
        kind="producer",
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "publish",
            "messaging.message.id": f"{result.case_id}:{told.number}",
            "caseworks.case_id": result.case_id,
            "caseworks.status": result.status,
        },
        links=tuple(each.span_id for each in last) if told.plan else (),
    )


def _known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _within(at: float, opened: float, closed: float) -> float:
    return min(max(at, opened), max(opened, closed))


def _ns(at: float) -> int:
    return round(at * 1_000_000) * (NS // 1_000_000)
