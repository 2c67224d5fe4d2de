"""What a workflow may cost at worst: agent runs, tokens, money and time, before anything runs.

Every bound of the workflow is taken as reached: all attempts, all rounds of a loop, all items of a
map, every agent of a chain and the higher one too, and at the end all is undone. A budget holds for
one run. What an agent with no budget spends is unknown, and never counted as free. Not in here:
queueing, steps that agents delegate, off-peak hours, and pauses that a dependency asks for. What
coalescing and `cache` save is not counted on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import ceil

from coordinator.workflow import Plan
from schemas.agent import AgentSpec
from schemas.workflow import StepSpec


@dataclass(frozen=True, slots=True)
class Line:
    """One agent in one role of a step."""

    step: str
    role: str
    """`agent`, `fallback`, `escalate_to` or `undo`."""
    agent: str
    runs: int
    """Attempts that it may make at most."""
    how: str
    """How `runs` comes about."""
    tokens: int | None
    """What these runs may spend; `None` is unknown, not nothing."""
    usd: Decimal | None
    seconds: float
    """Run time and back-off, one after another."""


@dataclass(frozen=True, slots=True)
class Price:
    """The worst case of a case."""

    workflow: str
    lines: tuple[Line, ...]
    seconds: Mapping[str, float]
    """By step, with the items of a map side by side, and with waits for events and people."""
    path: tuple[str, ...]
    """The steps that take longest one after another."""
    deadline_s: float
    undo_deadline_s: float

    @property
    def runs(self) -> int:
        """Agent runs at most."""
        return sum(line.runs for line in self.lines)

    @property
    def tokens(self) -> int:
        """Tokens at most, without those of `unknown` agents."""
        return sum(line.tokens or 0 for line in self.lines)

    @property
    def usd(self) -> Decimal:
        """US dollars at most, without those of `unknown` agents."""
        return sum((line.usd or Decimal(0) for line in self.lines), Decimal(0))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Agents whose tokens or price nobody limits."""
        return tuple(
            sorted({line.agent for line in self.lines if line.tokens is None or line.usd is None})
        )

    @property
    def path_s(self) -> float:
        """How long the critical path takes."""
        return sum(self.seconds[name] for name in self.path)

    @property
    def undo_s(self) -> float:
        """How long undoing everything takes, one step after another."""
        return sum(line.seconds for line in self.lines if line.role == "undo")

    @property
    def problems(self) -> tuple[str, ...]:
        """What may not end in time, and what to change."""
        found: list[str] = []
        if self.path_s > self.deadline_s:
            found.append(
                f"the steps {' -> '.join(self.path)} may take {span(self.path_s)}, longer than the "
                f"deadline of {span(self.deadline_s)}: raise `deadline_s`, or give them less time"
            )
        if self.undo_s > self.undo_deadline_s:
            found.append(
                f"undoing may take {span(self.undo_s)}, longer than `undo_deadline_s`, which is "
                f"{span(self.undo_deadline_s)}: raise it, or give it less time"
            )
        return tuple(found)


def price(plan: Plan) -> Price:
    """The worst case of a workflow that may run."""
    lines: list[Line] = []
    seconds: dict[str, float] = {}
    for name in plan.order:
        step = plan.steps[name]
        mine = _lines(step, plan.agents)
        lines += mine
        seconds[name] = _duration(step, mine)
    return Price(
        workflow=plan.name,
        lines=tuple(lines),
        seconds=seconds,
        path=_longest(plan, seconds),
        deadline_s=plan.spec.deadline_s,
        undo_deadline_s=plan.spec.undo_deadline_s,
    )


def span(seconds: float) -> str:
    """A duration as people read it: `90 s`, `1.5 h`, `2 d`."""
    size, unit = next((u for u in _UNITS if seconds >= 2 * u[0]), (1, "s"))
    return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def _lines(step: StepSpec, agents: Mapping[str, AgentSpec]) -> list[Line]:
    """Who may run how often: each link of a chain once a round."""
    rounds = step.loop.iterations_max if step.loop is not None else 1
    wanted = (
        ("agent", step.agent, rounds),
        *(("fallback", agent, rounds) for agent in step.stand_ins),
        ("escalate_to", step.escalate_to, 1),
        ("undo", step.undo, 1),
    )
    return [
        _line(step, role, agents.get(agent, AgentSpec(name=agent)), times)
        for role, agent, times in wanted
        if agent is not None
    ]


def _line(step: StepSpec, role: str, agent: AgentSpec, times: int) -> Line:
    items = step.map.items_max if step.map is not None and role != "undo" else 1
    runs = step.attempts_max * times * items
    parts = [(step.attempts_max, "attempts"), (times, "rounds"), (items, "items")]
    timeout_s = step.timeout_s if role in ("agent", "undo") else agent.timeout_s
    once = step.attempts_max * timeout_s + _pauses_s(step)
    budget = agent.budget
    return Line(
        step=step.name,
        role=role,
        agent=agent.name,
        runs=runs,
        how=" x ".join(f"{n} {what}" for n, what in parts if n > 1 or what == "attempts"),
        tokens=None if budget.tokens is None else budget.tokens * runs,
        usd=None if budget.usd is None else budget.usd * runs,
        seconds=once * times * items,
    )


def _pauses_s(step: StepSpec) -> float:
    """The back-off between all attempts at its longest."""
    total, pause, left = 0.0, step.backoff_s, step.attempts_max - 1
    while left > 0 and pause < step.backoff_s_max:
        total, pause, left = total + pause, pause * 2, left - 1
    return total + left * step.backoff_s_max


def _duration(step: StepSpec, lines: Iterable[Line]) -> float:
    if step.wait is not None:
        return step.wait.timeout_s
    if step.approval is not None:
        return step.approval.timeout_s
    work = sum(line.seconds for line in lines if line.role != "undo")
    if step.map is not None:
        waves = ceil(step.map.items_max / step.map.concurrency)
        work = work / step.map.items_max * waves
    return work + (step.review_timeout_s if step.review_below is not None else 0.0)


def _longest(plan: Plan, seconds: Mapping[str, float]) -> tuple[str, ...]:
    """The critical path: of all ways through the graph the one that takes longest."""
    best: dict[str, tuple[float, tuple[str, ...]]] = {}
    for name in plan.order:
        before = (best[other] for other in plan.steps[name].after)
        taken, path = max(before, key=lambda found: found[0], default=(0.0, ()))
        best[name] = (taken + seconds[name], (*path, name))
    return max(best.values(), key=lambda found: found[0])[1]
