"""A small workflow and shorthands for driving the case machine by hand."""

from __future__ import annotations

from typing import Any

from coordinator.case import Applied, Tick, apply
from coordinator.effects import Keep, SendTask, Work
from coordinator.flock import flock_of
from coordinator.keys import UNDO, step_of
from coordinator.workflow import Plan, compile_workflow
from schemas.agent import AgentSpec
from schemas.base import instant
from schemas.commands import Command, Opened
from schemas.event import Event
from schemas.lean_case import Case, StepState
from schemas.outcome import Failure, Outcome, OutcomeStatus
from schemas.task import task_id_of
from schemas.workflow import StepSpec, WorkflowSpec

START = 1_000_000.0
AGENTS = {name: AgentSpec(name=name) for name in ("triage", "billing", "kb", "reply", "spare")}


def diamond(deadline_s: float = 3600, **reply: Any) -> Plan:
    """triage -> billing (optional) and kb (falls back to spare) -> reply."""
    steps = (
        StepSpec(name="triage", agent="triage"),
        StepSpec(name="billing", agent="billing", after=("triage",), optional=True),
        StepSpec(name="kb", agent="kb", after=("triage",), fallback="spare"),
        StepSpec(name="reply", agent="reply", after=("billing", "kb"), **reply),
    )
    spec = WorkflowSpec(name="ticket", on=("ticket.created",), steps=steps, deadline_s=deadline_s)
    return compile_workflow(spec, AGENTS)


def event(event_id: str = "e1", **fields: Any) -> Event:
    """An event that opens the diamond."""
    return Event(
        id=event_id,
        source="/test",
        type="ticket.created",
        time=instant(START),
        data={"ticket_id": event_id},
        **fields,
    )


def opened(plan: Plan, business: Event | None = None) -> Opened:
    """The command that opens its case."""
    business = business or event()
    return Opened(
        case_id=business.case_id,
        workflow=plan.name,
        workflow_version=plan.spec.version,
        event=business,
        accepted_at=instant(START),
        flock=flock_of(business, plan),
    )


def outcome(case: Case, step: str, status: OutcomeStatus = "done", **fields: Any) -> Outcome:
    """What the current attempt of a step says, unless `fields` say otherwise."""
    state = case.steps[step]
    given: dict[str, Any] = {
        "task_id": task_id_of(case.case_id, step, state.replay),
        "case_id": case.case_id,
        "agent": state.agent or step,
        "attempt": max(1, state.attempt),
        "status": status,
        "output": {"by": step} if status == "done" else None,
        "error": None if status == "done" else Failure(kind="boom", message="it broke"),
        "started_at": instant(START),
        "finished_at": instant(START),
    }
    return Outcome(**(given | fields))


class Machine:
    """One case, driven command by command; keeps every effect, and the items of its maps."""

    def __init__(
        self, plan: Plan | None = None, now: float = START, business: Event | None = None
    ) -> None:
        self.plan = plan or diamond()
        self.now = now
        self.effects: list[Any] = []
        self.parts: dict[str, StepState] = {}
        self.case: Case
        self.do(opened(self.plan, business))

    def do(self, command: Command | Tick) -> list[Any]:
        """Apply a command; returns its effects."""
        case: Case | None = getattr(self, "case", None)
        after: Applied = apply(case, command, self.now, self.plan, self.parts.get)
        assert after[0] is not None
        self.case = after[0]
        self.parts |= {e.key: e.state for e in after[1] if isinstance(e, Keep)}
        self.effects += after[1]
        return after[1]

    def says(self, step: str, status: OutcomeStatus = "done", **fields: Any) -> list[Any]:
        """The current attempt of a step ends."""
        return self.do(outcome(self.case, step, status, **fields))

    def state(self, key: str) -> StepState:
        """A step, an item of a map (`check:1`) or an undoing (`charge~undo`)."""
        if key.endswith(UNDO):
            return self.case.undos[key.removesuffix(UNDO)]
        return self.case.steps.get(key) or self.parts[key]

    def ends(self, key: str, status: OutcomeStatus = "done", **fields: Any) -> list[Any]:
        """The current attempt of what a key names ends."""
        state = self.state(key)
        task_id = task_id_of(self.case.case_id, key, state.replay, state.iteration)
        given = {"task_id": task_id, "agent": state.agent, "attempt": max(1, state.attempt)}
        return self.do(outcome(self.case, step_of(key), status, **(given | fields)))

    def at(self, now: float) -> list[Any]:
        """Time passes and a timer fires."""
        self.now = now
        return self.do(Tick())


def work_of(machine: Machine, key: str) -> Work:
    """The last work that was sent under a key."""
    sent = [e.work for e in machine.effects if isinstance(e, SendTask) and e.work.key == key]
    return sent[-1]


def sent(effects: list[Any]) -> list[str]:
    """The keys of the tasks among these effects."""
    return [effect.work.key for effect in effects if isinstance(effect, SendTask)]
