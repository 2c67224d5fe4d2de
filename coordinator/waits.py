"""Steps that wait for the world outside: a correlated event, or a person's decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from schemas.commands import Decision, Signal
from schemas.workflow import StepSpec

if TYPE_CHECKING:
    from coordinator.draft import Draft


def begin_wait(draft: Draft, step: StepSpec) -> None:
    """A step with a `wait` may start: it listens, unless it was heard before."""
    assert step.wait is not None
    draft.move(step.name, "listen", deadline=draft.now + step.wait.timeout_s)


def begin_approval(draft: Draft, step: StepSpec) -> None:
    """A step with an `approval` may start: a person is asked. Raises `ExpressionError`."""
    assert step.approval is not None
    draft.move(step.name, "ask", deadline=draft.now + step.approval.timeout_s)


def begin_review(draft: Draft, step: StepSpec, fields: Mapping[str, Any], why: str) -> None:
    """An agent is not sure of its output (`fields` of the step when done): a person is asked.

    Until a person can be asked, the case escalates.
    """
    draft.move(step.name, "done", ended=draft.now, due=None, deadline=None, **fields)
    draft.close("escalate", why)


def signal(draft: Draft, command: Signal) -> None:
    """A correlated event, or a message to this very case."""
    del command
    draft.ignore("no_question")


def decision(draft: Draft, command: Decision) -> None:
    """A person's answer, bound to the exact action by its hash."""
    del command
    draft.ignore("no_question")


def expire(draft: Draft, name: str) -> None:
    """The time of a listening or asking step is over."""
    draft.move(name, "abandon", due=None, deadline=None, ended=draft.now)
    draft.close("escalate", f"{name}: nobody answered in time")


def reason_of(draft: Draft, name: str) -> str:
    """What the case waits for, for people."""
    wait = draft.plan.steps[name].wait
    return f"{name} waits for {wait.event if wait else 'a person'}"
