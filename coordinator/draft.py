"""A case being changed by one command: collects moves and effects, checks them by the tables."""

from __future__ import annotations

from typing import Any

from coordinator.effects import Effect, Ignored, IgnoredWhy, Publish, SendTask
from coordinator.result import result_of
from coordinator.states import CASE, ENDED_WELL, STEP, CaseEvent, StepEvent
from coordinator.workflow import Plan
from schemas.case import Case, CaseStatus, StepState
from schemas.commands import Opened
from schemas.usage import Usage
from schemas.workflow import StepSpec

WAITING = StepState()


class Draft:
    """The mutable side of `coordinator.case`; lives for one command."""

    __slots__ = (
        "case",
        "changed",
        "closed",
        "dead_letters",
        "deadline",
        "effects",
        "now",
        "plan",
        "published",
        "reason",
        "replays",
        "status",
        "steps",
        "usage",
    )

    def __init__(self, case: Case, now: float, plan: Plan) -> None:
        self.case = case
        self.now = now
        self.plan = plan
        # The plan that runs now is the plan: a step it added waits, one it dropped is forgotten.
        self.steps: dict[str, StepState] = (
            dict(case.steps)
            if case.steps.keys() == plan.steps.keys()
            else {name: case.steps.get(name, WAITING) for name in plan.order}
        )
        self.status: CaseStatus = case.status
        self.reason = case.reason
        self.closed = case.closed
        self.deadline = case.deadline
        self.published = case.published
        self.dead_letters = case.dead_letters
        self.replays = case.replays
        self.usage = case.usage
        self.effects: list[Effect] = []
        self.changed = False

    def move(self, name: str, event: StepEvent, **fields: Any) -> None:
        """Move a step by the table."""
        after = STEP[self.steps[name].status][event]
        self.replace(name, status=after, **fields)

    def replace(self, name: str, **fields: Any) -> None:
        """Change fields of a step without moving it."""
        self.changed = True
        self.steps[name] = self.steps[name].evolve(**fields)

    def send(self, name: str, event: StepEvent, *, agent: str | None, **fields: Any) -> None:
        """Send the next attempt of a step to an agent."""
        state = self.steps[name]
        self.move(
            name,
            event,
            agent=agent,
            attempt=state.attempt + 1,
            deadline=self.backstop(self.plan.steps[name]),
            first_sent=state.first_sent if state.first_sent is not None else self.now,
            **fields,
        )
        self.effects.append(SendTask(name))

    def backstop(self, step: StepSpec) -> float | None:
        """When a step sent now is given up; `None`: the case's deadline serves."""
        return None if step.deadline_s is None else self.now + step.deadline_s

    def advance(self) -> None:
        """Send every step whose inputs are there; close the case when all have ended well."""
        steps = self.steps
        ended = {name for name, state in steps.items() if state.status in ENDED_WELL}
        if len(ended) == len(steps):
            degraded = any(state.degraded for state in steps.values())
            self.close("degrade" if degraded else "complete", self._why_degraded())
            return
        for name in self.plan.order:
            if steps[name].status == "waiting" and ended.issuperset(self.plan.steps[name].after):
                self.send(name, "send", agent=self.plan.steps[name].agent)

    def shift(self, event: CaseEvent, reason: str | None) -> None:
        """Move the case by the table without closing it."""
        self.changed = True
        self.status = CASE[self.status][event]
        self.reason = reason

    def close(self, event: CaseEvent, reason: str | None) -> None:
        """End the case: abandon what runs and publish the one result."""
        for name, state in self.steps.items():
            if "abandon" in STEP[state.status]:
                self.move(name, "abandon", due=None, deadline=None, ended=self.now)
        self.shift(event, reason)
        self.closed = self.now
        self.published += 1
        self.effects.append(Publish(result_of(self), self.published))

    def reopen(self) -> None:
        """Open a closed case for a replay: abandoned steps wait again."""
        self.shift("reopen", None)
        self.closed = None
        self.deadline = self.now + self.plan.spec.deadline_s
        for name, state in self.steps.items():
            if state.status == "abandoned":
                self.move(name, "reopen", ended=None)

    def spend(self, usage: Usage) -> None:
        """Add what an attempt cost to the case."""
        if not usage.is_nothing:
            self.usage = usage if self.usage is None else self.usage + usage

    def ignore(self, why: IgnoredWhy) -> None:
        """The command changes nothing."""
        self.effects.append(Ignored(why))

    def finish(self) -> tuple[Case, list[Effect]]:
        """The case as it is now; the very same object when nothing changed."""
        if not self.changed:
            return self.case, self.effects
        changed = self.case.evolve(
            steps=self.steps,
            status=self.status,
            reason=self.reason,
            closed=self.closed,
            deadline=self.deadline,
            published=self.published,
            dead_letters=self.dead_letters,
            replays=self.replays,
            usage=self.usage,
        )
        return changed, self.effects

    def _why_degraded(self) -> str | None:
        parts = [
            f"{name}: {'skipped' if state.status == 'skipped' else 'fallback'}"
            + (f" ({state.error.kind})" if state.error else "")
            for name, state in self.steps.items()
            if state.degraded
        ]
        return "; ".join(parts) or None


def open_draft(command: Opened, now: float, plan: Plan) -> Draft:
    """A new case for an accepted event, with every step waiting."""
    event = command.event
    deadline = now + plan.spec.deadline_s
    if event.deadline is not None:
        deadline = min(deadline, event.deadline.timestamp())
    case = Case(
        case_id=command.case_id,
        workflow=plan.name,
        workflow_version=plan.spec.version,
        event=event,
        opened=now,
        deadline=deadline,
        steps=dict.fromkeys(plan.order, WAITING),
    )
    draft = Draft(case, now, plan)
    draft.changed = True
    return draft
