"""The invariants that look at single steps: I3, I4, I6, I7 and the attempts of I10.

They know steps by name in their case. Items of a `map` and undoing are known by their tasks alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

from caseworks.check.evidence import Evidence, Read, Turn
from coordinator.states import ENDED
from schemas.commands import Replay
from schemas.lean_case import CLOSED, Case, StepState
from schemas.outcome import Outcome
from schemas.task import Task, TaskName, task_name_of
from schemas.usage import NOTHING, Usage

Complaints = Iterator[str]
FORGOTTEN_S = 90.0
"""How long faults may keep a task from being done: workers die and partitions move meanwhile."""
SLACK_S = 15.0
"""How late a timer may be at the end of a run: loops look at their timers when they come round."""


def _step(case: Any, task_id: str) -> tuple[TaskName, StepState] | None:
    """The step of a task, when it stands in the case by its own name."""
    if not isinstance(case, Case):
        return None
    named = task_name_of(task_id, case.case_id)
    if named is None or named.item is not None:
        return None
    state = (case.undos if named.undo else case.steps).get(named.step)
    return None if state is None else (named, state)


# --- I3


def complete_once(evidence: Evidence) -> Complaints:
    """A step completes once, by an outcome that counts, and no task is sent for it afterwards."""
    sent = Counter((r.said.task_id, r.said.attempt) for r in evidence.tasks if r.said)
    for (task_id, attempt), count in sent.items():
        if count > 1:
            yield f"attempt {attempt} of {task_id} was sent {count} times"
    for turn in evidence.turns:
        for _, before, after in turn.changes:
            yield from _goes_on(before, after)
            yield from _has_reasons(evidence, turn, before, after)
        yield from _outcomes_count(evidence, turn)
        yield from _nothing_sent_too_late(turn)


def _goes_on(before: Case, after: Case) -> Complaints:
    """What is done stays done, and numbers only grow."""
    for name, old in before.steps.items():
        new = after.steps.get(name)
        if new is None:
            continue
        place = f"{after.case_id}:{name}"
        again = (new.replay, new.iteration) != (old.replay, old.iteration)
        if old.status == "done" and not again:
            if new.status != "done":
                yield f"{place} was done and is {new.status}"
            elif new.output != old.output:
                yield f"{place} was done and has another output"
        if (new.replay, new.iteration, new.attempt) < (old.replay, old.iteration, old.attempt):
            yield f"{place} went back from attempt {old.attempt} to {new.attempt}"


def _has_reasons(evidence: Evidence, turn: Turn, before: Case, after: Case) -> Complaints:
    """A step that was sent moves by an outcome of that very attempt, or when its time is up."""
    for name, old in before.steps.items():
        new = after.steps.get(name)
        if old.status != "sent" or new is None or old.items is not None:
            continue
        if (new.status, new.attempt) == ("sent", old.attempt) or new.status == "abandoned":
            continue
        said = [
            outcome
            for outcome in turn.outcomes(after.case_id)
            if (found := _step(before, outcome.task_id)) is not None
            and (found[0].step, found[0].undo) == (name, False)
            and found[0].iteration == old.iteration
        ]
        if any(outcome.status == "done" for outcome in said):
            continue  # of this iteration, or it would not be in `said`
        current = any((o.attempt, o.agent) == (old.attempt, old.agent) for o in said)
        deadlines = [d for d in (old.deadline, before.deadline) if d is not None]
        if not current and min(deadlines) > _newest(turn) + evidence.skew_s + 1.0:
            yield _without_reason(after, name, old, new)


def _without_reason(case: Case, name: str, old: StepState, new: StepState) -> str:
    return (
        f"{case.case_id}:{name} went from attempt {old.attempt} to {new.status} (attempt "
        f"{new.attempt}), and nothing that counts said so"
    )


def _newest(turn: Turn) -> float:
    return max((wrote.message.timestamp_ms / 1000 for wrote in turn.wrote), default=0.0)


def _outcomes_count(evidence: Evidence, turn: Turn) -> Complaints:
    """A consumed outcome that counts has moved its step."""
    for read in turn.heard:
        outcome = read.said
        if not isinstance(outcome, Outcome) or read.spot in evidence.aside:
            continue
        before, after = turn.before.get(outcome.case_id), turn.after.get(outcome.case_id)
        if isinstance(before, Case) and before.status in CLOSED:
            continue  # it was late then, even if a replay opened the case in the same turn
        found = _step(after, outcome.task_id)
        if found is None or not isinstance(after, Case) or after.status in CLOSED:
            continue
        named, state = found
        if (named.replay, named.iteration) != (state.replay, state.iteration):
            continue
        if state.status in ENDED or state.items is not None:
            continue
        still = f"{outcome.task_id} ended at {read.place} ({outcome.status})"
        if outcome.status == "done" and state.status in ("sent", "retrying"):
            yield f"{still}, and its step is still {state.status}"
        elif (state.status, state.attempt, state.agent) == (
            "sent",
            outcome.attempt,
            outcome.agent,
        ):
            yield f"{still}, and attempt {state.attempt} is still sent"


def _nothing_sent_too_late(turn: Turn) -> Complaints:
    """No task is sent for a step that had ended before, or in a case that had."""
    for wrote in turn.wrote:
        if wrote.message.header("ce_type") != Task.ce_type or ".dlq" in wrote.message.topic:
            continue
        task = Task.from_json(wrote.message.value or b"")
        before = turn.before.get(task.case_id)
        found = _step(before, task.task_id)
        if found is None:
            continue
        named, state = found
        same = (named.replay, named.iteration) == (state.replay, state.iteration)
        if same and state.status in ("done", "skipped"):
            yield f"attempt {task.attempt} of {task.task_id} was sent after it was {state.status}"


# --- I4


def waits_end(evidence: Evidence) -> Complaints:
    """Every sent task has its backstop, every case a deadline, and no timer is forgotten."""
    for turn in evidence.turns:
        for case_id, _, after in turn.changes:
            plan = evidence.plans.get(after.workflow)
            for name, state in after.steps.items():
                spec = plan.steps.get(name) if plan else None
                if spec is None or state.status != "sent" or state.items is not None:
                    continue
                if spec.deadline_s is not None and state.deadline is None:
                    yield f"{case_id}:{name} was sent without its backstop of {spec.deadline_s:g} s"
    for case_id, history in evidence.histories.items():
        case = history[-1].said
        if isinstance(case, Case) and case.status not in CLOSED:
            yield from _overdue(evidence, case_id, case)


def _overdue(evidence: Evidence, case_id: str, case: Case) -> Complaints:
    late = evidence.now - SLACK_S
    if case.deadline < late:
        yield f"case {case_id} is {case.status} {late - case.deadline:.0f} s after its deadline"
    for name, state in case.steps.items():
        if state.status == "retrying":
            if state.due is None:
                yield f"{case_id}:{name} is retrying, and nobody knows when"
            elif state.due < late:
                yield f"{case_id}:{name} was due {evidence.now - state.due:.0f} s ago"
        elif state.status == "sent" and state.deadline is not None and state.deadline < late:
            yield f"{case_id}:{name} is {evidence.now - state.deadline:.0f} s past its backstop"


def nothing_is_forgotten(evidence: Evidence) -> Complaints:
    """A task that can be done is done in time. Where a breaker may be open, it may wait."""
    topics, heads = evidence.settings.topics, set()
    heard_s = {r.said.agent: r.message.timestamp_ms / 1000 for r in evidence.outcomes}
    for read in evidence.tasks:
        source, task = read.message.source, read.said
        if task is None or source in heads or evidence.agents[task.agent].calls:
            continue
        if evidence.final.get((topics.workers_group(task.agent), source), 0) > read.message.offset:
            continue
        heads.add(source)
        last_s = max(read.message.timestamp_ms / 1000, heard_s.get(task.agent, 0.0))
        if evidence.now - last_s > FORGOTTEN_S + task.timeout_s + evidence.skew_s:
            silent_s = evidence.now - last_s
            yield f"{task.task_id} is not done, and its agent has been silent for {silent_s:.0f} s"


# --- I6


def within_budget(evidence: Evidence) -> Complaints:
    """No attempt spends more than its task allows, and no case reports more than was spent."""
    tasks = {(r.said.task_id, r.said.attempt): r.said for r in evidence.tasks if r.said}
    spent: dict[str, Usage] = defaultdict(Usage)
    seen: set[tuple[str, int, str | None]] = set()
    for read in evidence.outcomes:
        outcome = read.said
        task = tasks.get((outcome.task_id, outcome.attempt))
        if task is not None and outcome.status == "done":
            yield from _over(outcome, task)
        key = (outcome.task_id, outcome.attempt, read.message.header("ce_id"))
        if key not in seen:
            seen.add(key)
            spent[outcome.case_id] = spent[outcome.case_id] + outcome.usage
    for read in evidence.results:
        case_id, usage = read.said.case_id, read.said.usage
        if any(mine > theirs for mine, theirs in _pairs(usage, spent.get(case_id, NOTHING))):
            yield f"the result of {case_id} reports {usage!r}, its outcomes say {spent[case_id]!r}"


def _over(outcome: Outcome, task: Task) -> Complaints:
    budget, usage = task.budget, outcome.usage
    limits: tuple[tuple[str, Any, Any], ...] = (
        ("tokens", usage.tokens_in + usage.tokens_out, budget.tokens),
        ("calls", usage.calls, budget.calls),
        ("iterations", usage.iterations, budget.iterations),
        ("usd", usage.usd, budget.usd),
    )
    for what, used, limit in limits:
        if limit is not None and used > limit:
            yield f"attempt {outcome.attempt} of {outcome.task_id} spent {used} {what} of {limit}"


def _pairs(one: Usage, other: Usage) -> list[tuple[Decimal | int, Decimal | int]]:
    return [
        (one.tokens_in, other.tokens_in),
        (one.tokens_out, other.tokens_out),
        (one.usd, other.usd),
        (one.calls, other.calls),
        (one.iterations, other.iterations),
    ]


# --- I7


def in_order(evidence: Evidence) -> Complaints:
    """Commands of one case are applied in order; an agent that asks for key order gets it."""
    for partition, reads in evidence.positions.items():
        for before, after in pairwise(reads):
            if after.said < before.said:
                yield f"inbox {partition} went back from {before.said} to {after.said}"
    for case_id, history in evidence.histories.items():
        homes = {read.message.partition for read in history}
        if len(homes) > 1:
            yield f"case {case_id} stands in the changelogs of partitions {sorted(homes)}"
    for name, agent in evidence.agents.items():
        if agent.order_by is not None:
            yield from _keyed_order(evidence, name)


def _keyed_order(evidence: Evidence, agent: str) -> Complaints:
    """Of two tasks with one key, the second starts when the first has an outcome."""
    first: dict[tuple[str, int, int], int] = {}
    for read in evidence.outcomes:
        if (d := read.said.delivery) is not None and read.said.agent == agent:
            first.setdefault((d.topic, d.partition, d.offset), read.at)
    lanes: dict[tuple[str, int, bytes | None], list[Read]] = defaultdict(list)
    for read in evidence.tasks:
        if read.said and read.said.agent == agent:
            message, event = read.message, read.said.event
            if (message.key or b"").decode() != (event.subject or event.id):
                yield f"{read.said.task_id} is keyed {message.key!r}, and not by its subject"
            lanes[message.topic, message.partition, message.key].append(read)
    for reads in lanes.values():
        for before, after in pairwise(reads):
            if after.spot in first and first[after.spot] < first.get(before.spot, 1 << 60):
                yield (
                    f"{agent} answered {after.said.task_id} before {before.said.task_id}, "
                    "which has the same key and came first"
                )


# --- I10


def attempts_are_bounded(evidence: Evidence) -> Complaints:
    """A step is sent as often as its attempts, agents, deferrals and replays allow."""
    deferred = Counter(
        (read.said.task_id, read.said.attempt)
        for read in evidence.outcomes
        if read.said.status == "deferred"
    )
    deferrals = Counter(task_id for task_id, _ in deferred)
    # A replay opens its whole case again: what had been abandoned is sent anew.
    replays = Counter(r.said.case_id for r in evidence.commands if isinstance(r.said, Replay))
    sends = Counter(read.said.task_id for read in evidence.tasks if read.said)
    of_task = {read.said.task_id: read.said for read in evidence.tasks if read.said}
    for task_id, count in sends.items():
        task = of_task[task_id]
        plan = evidence.plans.get(task.workflow)
        named = task_name_of(task_id, task.case_id)
        spec = plan.steps.get(named.step) if plan and named else None
        if spec is None or named is None:
            continue
        agents = 1 + len(spec.stand_ins) + (spec.escalate_to is not None)
        limit = spec.attempts_max * agents * (1 + replays[task.case_id]) + deferrals[task_id]
        if count > limit:
            yield f"{task_id} was sent {count} times, at most {limit} are allowed"
