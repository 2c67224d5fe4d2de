"""What I3, I4 and I10 mean for chains of links, for flocks, and for cases that are held."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from caseworks.check.evidence import Evidence, Read
from schemas.approval import action_hash_of
from schemas.lean_case import Case
from schemas.task import task_name_of

Complaints = Iterator[str]
ALONE_S = 90.0
"""How long faults may keep the next one from leading, or a held case from beginning."""


def links_are_asked_once(evidence: Evidence) -> Complaints:
    """A link of a chain that failed for good is not asked again for the same task."""
    gave_up: dict[tuple[str, str], int] = {}
    for read in evidence.outcomes:
        said = read.said
        if said.status in ("failed", "halted"):
            gave_up.setdefault((said.task_id, said.agent), said.attempt)
    for read in evidence.tasks:
        task = read.said
        if task is None or task.attempt <= gave_up.get((task.task_id, task.agent), task.attempt):
            continue
        plan, name = evidence.plans.get(task.workflow), task_name_of(task.task_id, task.case_id)
        step = plan.steps.get(name.step) if plan is not None and name is not None else None
        if step is not None and task.agent in step.stand_ins:
            yield f"{task.task_id} asked {task.agent} again (attempt {task.attempt})"


def answers_stay_with_their_tenant(evidence: Evidence) -> Complaints:
    """Who follows has the tenant and the answer of its leader."""
    tenant = {event.case_id: event.tenant for event in evidence.events}
    results = {r.said.case_id: r.said for r in evidence.results if r.said.amends is None}
    for result in results.values():
        leader = result.coalesced_with
        if leader is None:
            continue
        if tenant.get(leader) != tenant.get(result.case_id):
            yield f"{result.case_id} has the answer of {leader}, whose tenant is another"
        told = results.get(leader)
        if told is None or action_hash_of(told.output) != action_hash_of(result.output):
            yield f"{result.case_id} follows {leader}, and its answer is another"


def nobody_waits_alone(evidence: Evidence) -> Complaints:
    """Who follows is led, or leads soon; who is held begins when its hours come."""
    slack_s = ALONE_S + evidence.skew_s
    led: dict[str, list[tuple[float, float]]] = defaultdict(list)
    waited: list[tuple[str, str, float, float]] = []
    for case_id, history in evidence.histories.items():
        for case, since, until in _spans(history, evidence.now):
            if case.held is not None and until > max(case.held, since) + slack_s:
                yield f"{case_id} was held {until - case.held:.0f} s beyond its time"
            if case.following is None or case.held is not None:
                continue
            if case.following.role == "leads":
                led[case.following.flock].append((since, until))
            else:
                waited.append((case_id, case.following.flock, since, until))
    for case_id, flock, since, until in waited:
        alone_s = _longest_gap(since, until, led[flock])
        if alone_s > slack_s:
            yield f"{case_id} follows, and for {alone_s:.0f} s nobody led"


def _spans(history: Sequence[Read], now: float) -> Iterator[tuple[Case, float, float]]:
    """Each state of an open case, from when and until when it stood."""
    for at, read in enumerate(history):
        if isinstance(read.said, Case) and read.said.closed is None:
            last = history[at + 1].message.timestamp_ms / 1000 if at + 1 < len(history) else now
            yield read.said, read.message.timestamp_ms / 1000, last


def _longest_gap(since: float, until: float, led: Sequence[tuple[float, float]]) -> float:
    longest, at = 0.0, since
    for start, end in sorted(led):
        if end > at:
            longest = max(longest, min(start, until) - at)
            at = max(at, end)
    return max(longest, until - at)
