"""All that is known of a case, put together from its last whole state and its last result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from pydantic import ValidationError

from caseworks.projection.connection import Reading
from caseworks.projection.lines import (
    APPROVAL_COLUMNS,
    LETTER_COLUMNS,
    approval_view,
    letter_view,
)
from caseworks.projection.measures import instant_of, ms_of
from caseworks.projection.moments import derived, kept_moments
from caseworks.projection.schema import LOG_OPEN
from caseworks.projection.views import (
    CaseView,
    EventView,
    ResultView,
    StepView,
    UsageView,
)
from coordinator.versions import note_key, plan_of
from coordinator.workflow import Plan
from events.trace_ids import trace_id_for
from schemas.lean_case import Case, StepState
from schemas.result import Result, StepReport
from schemas.usage import NOTHING, Usage

BESIDE_MAX = 100
"""Questions, letters and items of a map shown on a case's page, of each."""
_ENDED = frozenset(("done", "skipped", "failed", "abandoned"))


class _Known:
    """What the tables hold of one case, decoded."""

    def __init__(self, reading: Reading, row: Any) -> None:
        (self.case_id, self.log, self.status, self.workflow, self.tenant) = row[:5]
        (self.subject, self.type, self.opened, self.closed, self.confidence) = row[5:10]
        state, result, self.amended, self.moments = row[10:]
        self.case = _decoded(Case.from_json, state)
        self.result = _decoded(Result.from_json, result)
        self.is_open = self.log == LOG_OPEN
        self.ended = None if self.is_open else self.result
        """The result that stands: none while a replay has opened the case again."""
        self.plan = _plan(reading, self.case, self.result)


def case_view(reading: Reading, case_id: str) -> CaseView | None:
    """The page of a case; `None`: nobody heard of it."""
    rows = reading.rows(
        "SELECT case_id, log, status, workflow, tenant, subject, type, opened, closed, "
        "confidence, state, result, amended, moments "
        "FROM cases LEFT JOIN bodies USING (id) WHERE case_id = ?",
        (case_id,),
    )
    if not rows:
        return None
    known = _Known(reading, rows[0])
    case, ended = known.case, known.ended
    said = ended or case
    return CaseView(
        case_id=case_id,
        workflow=known.workflow or "",
        workflow_version=said.workflow_version if said else "",
        status=known.status,
        tenant=known.tenant,
        subject=known.subject,
        event=_event(known),
        opened_at=instant_of(known.opened),
        closed_at=instant_of(known.closed),
        deadline=instant_of(ms_of(case.deadline)) if case else None,
        reason=said.reason if said else None,
        output=ended.output if ended else None,
        confidence=known.confidence,
        usage=_usage(said.usage if said else None),
        trace_id=trace_id_for(case_id, case.event.traceparent) if case else None,
        degraded={
            k: v.model_dump(mode="json") for k, v in (ended.degraded if ended else {}).items()
        },
        undone={k: v.model_dump(mode="json") for k, v in (ended.undone if ended else {}).items()},
        steps=[*_steps(known), *_items(reading, case_id)],
        timeline=derived(case, known.result, ended, kept_moments(known.moments)),
        results=list(_results(known)),
        approvals=[
            approval_view(row)
            for row in reading.rows(
                f"SELECT {APPROVAL_COLUMNS} FROM approvals WHERE case_id = ? "  # noqa: S608
                "ORDER BY asked LIMIT ?",
                (case_id, BESIDE_MAX),
            )
        ],
        letters=[
            letter_view(row)
            for row in reading.rows(
                f"SELECT {LETTER_COLUMNS} FROM letters l "  # noqa: S608
                "LEFT JOIN handled h USING (place) WHERE l.case_id = ? ORDER BY l.at LIMIT ?",
                (case_id, BESIDE_MAX),
            )
        ],
        feedback=[
            msgspec.json.decode(value)
            for (value,) in reading.rows(
                "SELECT value FROM feedback WHERE case_id = ? ORDER BY at LIMIT ?",
                (case_id, BESIDE_MAX),
            )
        ],
    )


def _decoded(read: Any, data: bytes | None) -> Any:
    """A value as the contract has it; `None` where it is not there, or of a later version."""
    if data is None:
        return None
    try:
        return read(data)
    except ValueError:
        return None


def _plan(reading: Reading, case: Case | None, result: Result | None) -> Plan | None:
    said = case or result
    if said is None:
        return None
    name = note_key(said.workflow, said.workflow_version)
    rows = reading.rows("SELECT value FROM notes WHERE name = ?", (name,))
    try:
        return plan_of(rows[0][0]) if rows else None
    except ValidationError:
        return None


def _event(known: _Known) -> EventView | None:
    if known.case is not None:
        event = known.case.event
        return EventView(
            id=event.id,
            source=event.source,
            type=event.type,
            time=instant_of(ms_of(event.time.timestamp())),
            data=event.data,
        )
    if known.result is not None:
        ref = known.result.event
        time = instant_of(ms_of(ref.time.timestamp()))
        return EventView(id=ref.id, source=ref.source, type=ref.type, time=time)
    return None


def _usage(usage: Usage | None) -> UsageView:
    spent = usage or NOTHING
    return UsageView(
        tokens_in=spent.tokens_in,
        tokens_out=spent.tokens_out,
        usd=f"{spent.usd:f}",
        calls=spent.calls,
        iterations=spent.iterations,
    )


def _results(known: _Known) -> Iterator[ResultView]:
    for line in (known.amended or b"").splitlines():
        yield msgspec.json.decode(line, type=ResultView)
    if known.result is not None:
        yield result_view(known.result)


def result_view(result: Result) -> ResultView:
    """A result in the list of its case's; its id is the `ce_id` that it was published under."""
    before = int(result.amends.rpartition(":")[2]) if result.amends else 0
    return ResultView(
        id=f"{result.case_id}:{before + 1}",
        status=result.status,
        closed_at=instant_of(ms_of(result.closed_at.timestamp())) or "",
        amends=result.amends,
    )


# --- steps


def _steps(known: _Known) -> Iterator[StepView]:
    states = dict(known.case.steps) if known.case else {}
    reports: dict[str, StepReport] = known.ended.steps if known.ended else {}
    order = known.plan.order if known.plan else ()
    names = dict.fromkeys((*(n for n in order if n in states or n in reports), *states, *reports))
    for name in names:
        yield _step(known, name, states.get(name) or StepState(), reports.get(name))
    for name, state in (known.case.undos if known.case else {}).items():
        yield _step(known, f"{name}~undo", state, None)


def _step(known: _Known, name: str, state: StepState, report: StepReport | None) -> StepView:
    """A step from its last whole state, and from the result's report where that came after."""
    output, ended = state.output, ms_of(state.ended)
    if report is not None and state.status not in _ENDED and report.status in _ENDED:
        ended = known.closed
        output = _told_by_result(known, name)
    first_sent = ms_of(state.first_sent)
    took = max(0, ended - first_sent) if ended is not None and first_sent is not None else None
    error = f"{state.error.kind}: {state.error.message}" if state.error else None
    items = state.items
    return StepView(
        name=name,
        status=report.status if report else state.status,
        after=_after(known, name),
        agent=report.agent if report else state.agent,
        agent_version=report.agent_version if report else state.agent_version,
        attempts=report.attempts if report else state.attempt,
        iteration=state.iteration,
        confidence=report.confidence if report else state.confidence,
        usage=_usage(report.usage if report else state.usage),
        ms=report.ms if report and report.ms else took,
        input=state.input,
        output=output,
        error=report.error if report else error,
        sources=_sources(output),
        items=None
        if items is None
        else {
            "total": items.total,
            "done": items.done,
            "failed": items.failed,
            "running": items.running,
        },
        first_sent_at=instant_of(first_sent),
        ended_at=instant_of(ended),
    )


def _after(known: _Known, name: str) -> list[str]:
    spec = known.plan.steps.get(name) if known.plan else None
    if spec is not None:
        return list(spec.after)
    asked = known.case.delegated.get(name) if known.case else None
    return [asked.parent, *asked.after] if asked is not None else []


def _told_by_result(known: _Known, name: str) -> Any:
    """The output of a step that ended in the turn that closed the case: the result carries it."""
    sinks = known.plan.sinks if known.plan else ()
    output = known.ended.output if known.ended else None
    if name not in sinks:
        return None
    if len(sinks) == 1:
        return output
    return output.get(name) if isinstance(output, dict) else None


def _sources(output: Any) -> list[Any]:
    found = output.get("sources") if isinstance(output, dict) else None
    return found if isinstance(found, list) else []


def _items(reading: Reading, case_id: str) -> Iterator[StepView]:
    """Items of a `map` that is not over: they are parts of the case."""
    for name, value in reading.rows(
        "SELECT name, value FROM parts WHERE case_id = ? ORDER BY name LIMIT ?",
        (case_id, BESIDE_MAX),
    ):
        state = _decoded(StepState.from_json, value)
        if state is not None and ":" in name:
            yield StepView(
                name=name,
                status=state.status,
                after=[],
                agent=state.agent,
                agent_version=state.agent_version,
                attempts=state.attempt,
                confidence=state.confidence,
                usage=_usage(state.usage),
                output=state.output,
                error=f"{state.error.kind}: {state.error.message}" if state.error else None,
                first_sent_at=instant_of(ms_of(state.first_sent)),
                ended_at=instant_of(ms_of(state.ended)),
            )
