"""The states of a step and of a case, as tables. Every rule about order lives in this file.

Theory of operation
-------------------
A *case* is one run of a workflow for one event. Each node of the workflow is a *step*; a step
waits until every step that it reads has ended well (`done` or `skipped`), then a task is sent.
A send is an *attempt*; its number only grows. What comes back moves the step:

- `done`, of any attempt, completes a step that has not ended: the work is there, whoever did it.
- `retry` puts it to `retrying` until a durable timer sends the next attempt; `defer` does the
  same without burning an attempt (a breaker is open, or the work is held for later).
- `fail` means that no further attempt helps. Then, in this order: the fallback agent is asked,
  an optional step is skipped, or the task becomes a dead letter and the step's `on_dead_letter`
  decides: the case is escalated, fails, or is parked until somebody replays the letter.

A case that closes publishes exactly one result; what still runs is `abandoned`, and its late
outcomes are counted and change nothing. A replay puts a dead step back to work; a closed case
opens again for it and publishes a result that amends the first.

An event that the table does not list for a state is a bug of ours and raises `KeyError`.
`coordinator/README.md` shows the diagrams that `mermaid` renders; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from schemas.case import CaseStatus, StepStatus

StepEvent = Literal[
    "send", "done", "retry", "defer", "fallback", "skip", "fail", "park", "abandon", "reopen"
]
CaseEvent = Literal[
    "complete", "degrade", "escalate", "fail", "expire", "cancel", "park", "resume", "reopen"
]

STEP: Mapping[StepStatus, Mapping[StepEvent, StepStatus]] = {
    "waiting": {"send": "sent", "abandon": "abandoned"},
    "sent": {
        "done": "done",
        "retry": "retrying",
        "defer": "retrying",
        "fallback": "sent",
        "skip": "skipped",
        "fail": "failed",
        "park": "parked",
        "abandon": "abandoned",
    },
    "retrying": {
        "send": "sent",
        "done": "done",
        "abandon": "abandoned",
    },
    "parked": {"done": "done", "send": "sent", "abandon": "abandoned"},
    "failed": {"send": "sent"},
    "abandoned": {"send": "sent", "reopen": "waiting"},
    "skipped": {},
    "done": {},
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
    },
    "parked": {
        "resume": "open",
        "escalate": "escalated",
        "fail": "failed",
        "expire": "expired",
        "cancel": "cancelled",
        "park": "parked",
    },
    "waiting": {"resume": "open", "expire": "expired", "cancel": "cancelled"},
    "completed": {"reopen": "open"},
    "degraded": {"reopen": "open"},
    "escalated": {"reopen": "open"},
    "failed": {"reopen": "open"},
    "expired": {"reopen": "open"},
    "cancelled": {"reopen": "open"},
}

ENDED: frozenset[StepStatus] = frozenset(("done", "skipped", "failed", "abandoned"))
"""A step in one of these takes no more outcomes."""

ENDED_WELL: frozenset[StepStatus] = frozenset(("done", "skipped"))
"""Steps that read it may start."""


def mermaid(table: Mapping[Any, Mapping[Any, str]], start: str) -> str:
    """A table as a Mermaid state diagram, in the order it is written."""
    lines = ["stateDiagram-v2", f"    [*] --> {start}"]
    for state, moves in table.items():
        lines += [f"    {state} --> {after}: {event}" for event, after in moves.items()]
    return "\n".join(lines)
