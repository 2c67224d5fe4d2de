"""Open cases in any number, and the commands of their lives."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.workload import event, said
from coordinator.case import apply
from coordinator.case_record import encode_case
from coordinator.workflow import compile_workflow
from schemas.agent import AgentSpec
from schemas.base import instant
from schemas.commands import Opened
from schemas.event import Event
from schemas.outcome import Outcome
from schemas.task import task_id_of
from schemas.workflow import StepSpec, WorkflowSpec

NOW = 1_700_000_000.0
DAY_S = 86_400.0
LIFE = ("triage", "billing", "kb", "reply")
DONE = len(LIFE)
STEPS = (
    StepSpec(name="triage", agent="triage"),
    StepSpec(name="billing", agent="billing", after=("triage",)),
    StepSpec(name="kb", agent="kb", after=("triage",)),
    StepSpec(name="reply", agent="reply", after=("billing", "kb")),
)
PLAN = compile_workflow(
    WorkflowSpec(name="ticket", on=("ticket.created",), steps=STEPS),
    {name: AgentSpec(name=name) for name in LIFE},
)


def cases(n: int) -> Iterator[tuple[str, int, bytes]]:
    """Case ids, stages and changelog values of open cases with deadlines spread over a day."""
    first = opened_of(0, NOW)
    case, _ = apply(None, first, NOW, PLAN)
    templates = []
    for step in LIFE:
        data = encode_case(case)
        assert data is not None
        templates.append(data)
        case, _ = apply(case, outcome_of(first.case_id, step, NOW), NOW, PLAN)
    old_id, old_event = first.case_id.encode(), first.event.id.encode()
    old_deadline = b'"deadline":%.1f' % (NOW + DAY_S)
    for number in range(n):
        business = event_of(number, NOW)
        deadline = b'"deadline":%.1f' % (NOW + 3600 + number * (DAY_S - 3600) / n)
        value = templates[number % DONE].replace(old_id, business.case_id.encode())
        value = value.replace(old_event, business.id.encode()).replace(old_deadline, deadline)
        yield business.case_id, number % DONE, value


def event_of(number: int, now: float) -> Event:
    """Business event *number*."""
    data = event(number)
    return Event(id=data["id"], source="/b", type="ticket.created", time=instant(now), data=data)


def opened_of(number: int, now: float) -> Opened:
    """The command that opens its case."""
    business = event_of(number, now)
    return Opened(
        case_id=business.case_id,
        workflow="ticket",
        workflow_version=PLAN.spec.version,
        event=business,
        accepted_at=instant(now),
    )


def outcome_of(case_id: str, step: str, now: float) -> Outcome:
    """What the agent of a step says."""
    return Outcome(
        task_id=task_id_of(case_id, step),
        case_id=case_id,
        agent=step,
        attempt=1,
        status="done",
        output=said(step, case_id),
        started_at=instant(now),
        finished_at=instant(now),
    )
