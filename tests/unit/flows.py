"""Random workflows of the whole language.

Every choice is a byte that hypothesis draws: fast to draw, and shrunk towards zero, which is the
plainest choice everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from coordinator.workflow import Plan, compile_workflow
from schemas.agent import AgentSpec
from schemas.workflow import (
    ApprovalSpec,
    LoopSpec,
    MapSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
)

T = TypeVar("T")

AGENTS = {name: AgentSpec(name=name) for name in ("ann", "bob", "sub", "rules", "boss", "undoer")}
CASE_DEADLINE_S = 3_600.0
WHEN = ("data.yes", "{s}.ok", "data.no", "{s}.ok", "length({s}) > `0`")
LIST = "{s}.list || data.list"
OVER = ("data.list", LIST, "data.list", LIST, "data.list", LIST, "{s}.list", "{s}")
INPUTS = ("{s}.ok", "{s}", "length({s})", "contains({s} || '', 'x')")
CHAINS = (None, None, None, "sub", ("sub", "rules"), ("cache", "sub"), "cache", ("sub", "escalate"))
UNTIL = ("output.ok", "iteration >= `2`", "data.no", "length(output.list) > `1`")


class Dice:
    """Choices out of bytes; when they are used up, each one falls on its plainest side."""

    def __init__(self, data: bytes) -> None:
        self._rolls = iter(data)

    def roll(self, sides: int) -> int:
        """0 to `sides - 1`."""
        return next(self._rolls, 0) % sides

    def of(self, options: Sequence[T]) -> T:
        """One of these; the first is the plainest."""
        return options[self.roll(len(options))]

    def rare(self, one_in: int) -> bool:
        """Yes once in so many."""
        return self.roll(one_in) == one_in - 1


# --- workflows


def plan_of(rows: list[bytes]) -> Plan:
    """A workflow with a step for each row of bytes."""
    before: dict[str, frozenset[str]] = {}
    steps: list[StepSpec] = []
    for row in rows:
        step = _step(f"s{len(steps)}", Dice(row), before)
        before[step.name] = frozenset(step.after).union(*(before[name] for name in step.after))
        steps.append(step)
    spec = WorkflowSpec(
        name="flow",
        on=("ticket.created",),
        steps=tuple(steps),
        deadline_s=CASE_DEADLINE_S,
        undo_deadline_s=300.0,
        coalesce_by="data.yes" if rows[0][-1] % 6 == 5 else None,
        off_peak="22:00-06:00" if rows[0][-2] % 6 == 5 else "",
    )
    return compile_workflow(spec, AGENTS)


def _step(name: str, dice: Dice, before: dict[str, frozenset[str]]) -> StepSpec:
    after = tuple(earlier for earlier in list(before)[-3:] if dice.rare(2))
    known = sorted(frozenset(after).union(*(before[earlier] for earlier in after)))
    source = dice.of(known) if known else "data"
    given: dict[str, Any] = {"name": name, "after": after, "optional": dice.rare(5)}
    if len(after) > 1 and dice.rare(2):
        given["join"] = "any"
    if dice.rare(5):
        given["when"] = dice.of(WHEN).format(s=source)
    given["on_dead_letter"] = dice.of(("escalate", "park", "fail", "park", "fail"))
    match dice.of(("agent",) * 5 + ("map", "map", "loop", "wait", "approval")):
        case "wait":
            given["wait"] = _wait(dice)
        case "approval":
            given["approval"] = _approval(dice, source)
        case kind:
            given |= _agents(dice, source)
            if kind == "map":
                given["map"] = _map(dice, source)
            elif kind == "loop":
                given["loop"] = _loop(dice)
                if "cache" in (given["fallback"] or ()):
                    given["fallback"] = "sub"
            if given["optional"] and "escalate" in (given["fallback"] or ()):
                given["optional"] = False
    return StepSpec(**given)


def _agents(dice: Dice, source: str) -> dict[str, Any]:
    given: dict[str, Any] = {
        "agent": dice.of(("ann", "bob")),
        "attempts_max": 1 + dice.roll(3),
        "fallback": dice.of(CHAINS),
        "escalate_to": "boss" if dice.rare(4) else None,
        "undo": dice.of((None, "undoer", "undoer")),
        "deadline_s": 60.0 if dice.rare(4) else None,
        "escalate_below": 0.4 if dice.rare(4) else None,
        "review_below": 0.7 if dice.rare(4) else None,
        "review_timeout_s": 300.0,
        "on_expiry": dice.of(("approve", "escalate", "fail")),
    }
    if dice.rare(8):
        given["inputs"] = {"x": dice.of(INPUTS).format(s=source)}
    return given


def _map(dice: Dice, source: str) -> MapSpec:
    return MapSpec(
        over=dice.of(OVER).format(s=source),
        concurrency=1 + dice.roll(3),
        items_max=5,
        on_failure=dice.of(("fail", "skip")),
    )


def _loop(dice: Dice) -> LoopSpec:
    return LoopSpec(
        until=dice.of(UNTIL),
        iterations_max=1 + dice.roll(3),
        exhausted=dice.of(("fail", "accept")),
    )


def _wait(dice: Dice) -> WaitSpec:
    return WaitSpec(
        event=dice.of(("reply", "payment")),
        timeout_s=120.0,
        on_timeout=dice.of(("skip", "escalate", "fail")),
    )


def _approval(dice: Dice, source: str) -> ApprovalSpec:
    return ApprovalSpec(
        of=source,
        timeout_s=120.0,
        on_expiry=dice.of(("approve", "skip", "escalate", "fail")),
        on_reject=dice.of(("skip", "escalate", "fail")),
    )


# --- strategies

plans = st.lists(st.binary(min_size=24, max_size=24), min_size=1, max_size=7).map(plan_of)
rows = st.binary(min_size=10, max_size=10)
scripts = st.one_of(st.lists(rows), st.lists(rows, min_size=20, max_size=50))  # long ones too
