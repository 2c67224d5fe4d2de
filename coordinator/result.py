"""The result that a closing case publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from coordinator import coalescing, fallback
from schemas.base import instant
from schemas.result import Result, ResultStatus, StepReport, UndoReport
from schemas.usage import NOTHING

if TYPE_CHECKING:
    from coordinator.draft import Draft
    from schemas.lean_case import StepState

WITH_OUTPUT = frozenset(("completed", "degraded", "escalated"))


def result_of(draft: Draft) -> Result:
    """The result of a case that has just been closed.

    `output` is that of the one step no other step reads; with several, an object by step name.
    An escalated case carries what there is of it; failed, expired and cancelled ones carry none.
    """
    case, plan, answer = draft.case, draft.plan, draft.answer
    sinks = {name: draft.steps[name] for name in plan.sinks}
    outputs = {name: draft.output_of(name) for name in sinks}
    known = [s.confidence for s in sinks.values() if s.confidence is not None]
    return Result.trusted(
        case_id=case.case_id,
        workflow=case.workflow,
        workflow_version=case.workflow_version,
        status=cast("ResultStatus", draft.status),
        output=_answered(draft, sinks, outputs),
        confidence=min(known, default=None) if answer is None else answer.confidence,
        reason=draft.reason,
        steps={name: _report(state) for name, state in draft.steps.items()},
        degraded={n: fallback.report(s) for n, s in draft.steps.items() if s.degraded},
        undone={name: _undo_report(state) for name, state in draft.undos.items()},
        usage=draft.usage or NOTHING,
        event=case.event.ref(),
        opened_at=instant(case.opened),
        closed_at=instant(draft.now),
        amends=f"{case.case_id}:{draft.published - 1}" if draft.published > 1 else None,
        coalesced_with=coalescing.leader_of(draft),
    )


def _answered(draft: Draft, sinks: dict[str, StepState], outputs: dict[str, Any]) -> Any:
    if draft.answer is not None:
        return draft.answer.output
    return _output(sinks, outputs) if draft.status in WITH_OUTPUT else None


def _output(sinks: dict[str, StepState], outputs: dict[str, Any]) -> Any:
    if len(sinks) == 1:
        return next(iter(outputs.values()))
    found = {name: outputs[name] for name, state in sinks.items() if state.status == "done"}
    return found or None


def _undo_report(state: StepState) -> UndoReport:
    return UndoReport.trusted(
        status=state.status,
        attempts=state.attempt,
        agent=state.agent,
        error=f"{state.error.kind}: {state.error.message}" if state.error else None,
    )


def _report(state: StepState) -> StepReport:
    ms = 0
    if state.first_sent is not None and state.ended is not None:
        ms = max(0, round((state.ended - state.first_sent) * 1000))
    return StepReport.trusted(
        status=state.status,
        attempts=state.attempt,
        agent=state.agent,
        agent_version=state.agent_version,
        confidence=state.confidence,
        usage=state.usage or NOTHING,
        ms=ms,
        items=state.items.total if state.items else 0,
        items_failed=state.items.failed if state.items else 0,
        error=f"{state.error.kind}: {state.error.message}" if state.error else None,
    )
