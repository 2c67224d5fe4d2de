"""The states of a step and of a case, as tables. Every rule about order lives in this file.

Theory of operation
-------------------
A *case* is one run of a workflow for one event. Each node of the workflow is a *step*; a step
waits until every step that it reads has ended well (`done` or `skipped`), then a task is sent.
A send is an *attempt*; its number only grows. What comes back moves the step:

- `done`, of any attempt, completes a step that has not ended: the work is there, whoever did it.
- `retry` puts it to `retrying` until a durable timer sends the next attempt; `defer` does the
  same without burning an attempt (a breaker is open, or the work is held for later).
- `fail` means that no further attempt helps. Then, in this order: the links of its `fallback` are
  asked, each once (also when what its agent calls has been away for longer than the step waits),
  an optional step is skipped, or the task becomes a dead letter and the step's `on_dead_letter`
  decides: the case is escalated, fails, or is parked until somebody replays the letter.

Instead of a task a step may wait for a correlated event (`listening`), ask a person (`asking`;
also the review of an output), run once for each item of a list (`mapping`: the items are steps
of their own, held as parts of the case), or be handed on by its agent (`delegated`: the new steps
stand beside it, and it ends with their output). A `loop` sends the same step `again`. A step whose
condition does not hold is skipped, which degrades nothing; so is a branch that lost a race.

A case that closes publishes exactly one result; what still runs is `abandoned`, and its late
outcomes are counted and change nothing. Before it ends as failed, expired or cancelled, what has
finished and can be undone is undone, newest first (`undoing`); a step that was on its way then and
turns out to be done is done `late`, and undone too. While nothing works and something
listens or asks, a case is `waiting`. A replay puts a dead step back to work; a closed case
opens again for it and publishes a result that amends the first.

An event that the table does not list for a state is a bug of ours and raises `KeyError`.
`coordinator/README.md` shows the diagrams that `mermaid` renders; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from schemas.lean_case import CaseStatus, StepStatus

StepEvent = Literal[
    "send",
    "map",
    "listen",
    "ask",
    "done",
    "late",
    "again",
    "retry",
    "defer",
    "fallback",
    "escalate",
    "delegate",
    "skip",
    "fail",
    "park",
    "abandon",
    "reopen",
]
CaseEvent = Literal[
    "complete",
    "degrade",
    "escalate",
    "fail",
    "expire",
    "cancel",
    "park",
    "wait",
    "resume",
    "undo",
    "reopen",
]

STEP: Mapping[StepStatus, Mapping[StepEvent, StepStatus]] = {
    "waiting": {
        "send": "sent",
        "map": "mapping",
        "listen": "listening",
        "ask": "asking",
        "done": "done",
        "fallback": "sent",
        "escalate": "sent",
        "skip": "skipped",
        "fail": "failed",
        "park": "parked",
        "abandon": "abandoned",
    },
    "sent": {
        "done": "done",
        "again": "sent",
        "ask": "asking",
        "retry": "retrying",
        "defer": "retrying",
        "fallback": "sent",
        "escalate": "sent",
        "delegate": "delegated",
        "skip": "skipped",
        "fail": "failed",
        "park": "parked",
        "abandon": "abandoned",
    },
    "retrying": {
        "send": "sent",
        "done": "done",
        "again": "sent",
        "ask": "asking",
        "fallback": "sent",
        "escalate": "sent",
        "skip": "skipped",
        "fail": "failed",
        "park": "parked",
        "abandon": "abandoned",
    },
    "mapping": {
        "done": "done",
        "skip": "skipped",
        "fail": "failed",
        "park": "parked",
        "abandon": "abandoned",
    },
    "delegated": {
        "done": "done",
        "ask": "asking",
        "fallback": "sent",
        "escalate": "sent",
        "skip": "skipped",
        "fail": "failed",
        "park": "parked",
        "abandon": "abandoned",
    },
    "listening": {
        "done": "done",
        "skip": "skipped",
        "fail": "failed",
        "abandon": "abandoned",
    },
    "asking": {
        "done": "done",
        "skip": "skipped",
        "fail": "failed",
        "abandon": "abandoned",
    },
    "parked": {
        "done": "done",
        "again": "sent",
        "ask": "asking",
        "map": "mapping",
        "fallback": "sent",
        "escalate": "sent",
        "skip": "skipped",
        "fail": "failed",
        "park": "parked",
        "abandon": "abandoned",
        "reopen": "waiting",
    },
    "failed": {"reopen": "waiting"},
    "abandoned": {"late": "done", "reopen": "waiting"},
    "skipped": {"reopen": "waiting"},
    "done": {"reopen": "waiting"},
}

CASE: Mapping[CaseStatus, Mapping[CaseEvent, CaseStatus]] = {
    "open": {
        "complete": "completed",
        "degrade": "degraded",
        "escalate": "escalated",
        "fail": "failed",
        "expire": "expired",
        "cancel": "cancelled",
        "park": "parked",
        "wait": "waiting",
        "undo": "undoing",
    },
    "waiting": {
        "resume": "open",
        "complete": "completed",
        "degrade": "degraded",
        "escalate": "escalated",
        "fail": "failed",
        "expire": "expired",
        "cancel": "cancelled",
        "park": "parked",
        "undo": "undoing",
    },
    "parked": {
        "resume": "open",
        "escalate": "escalated",
        "fail": "failed",
        "expire": "expired",
        "cancel": "cancelled",
        "park": "parked",
        "undo": "undoing",
    },
    "undoing": {"fail": "failed", "expire": "expired", "cancel": "cancelled"},
    "completed": {"reopen": "open"},
    "degraded": {"reopen": "open"},
    "escalated": {"reopen": "open"},
    "failed": {"reopen": "open"},
    "expired": {"reopen": "open"},
    "cancelled": {"reopen": "open"},
}

ENDED: frozenset[StepStatus] = frozenset(("done", "skipped", "failed", "abandoned"))
"""A step in one of these takes no more outcomes."""

PASSIVE: frozenset[StepStatus] = frozenset(("listening", "asking"))
"""Nobody works on it: the world outside must speak first."""

ENDED_WELL: frozenset[StepStatus] = frozenset(("done", "skipped"))
"""Steps that read it may start."""


def mermaid(table: Mapping[Any, Mapping[Any, str]], start: str) -> str:
    """A table as a Mermaid state diagram, in the order it is written."""
    lines = ["stateDiagram-v2", f"    [*] --> {start}"]
    for state, moves in table.items():
        lines += [f"    {state} --> {after}: {event}" for event, after in moves.items()]
    return "\n".join(lines)
