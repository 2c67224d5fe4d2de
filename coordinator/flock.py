"""The cases of identical events: one works, the others wait for its result. Pure.

Theory of operation
-------------------
Intake names the *flock* of an event by workflow, version, tenant and the value of `coalesce_by`.
Its case asks the flock before it begins. The first *leads*, and for `coalesce_window_s` those that
come *follow* it. A leader that ends well (completed, degraded, or escalated without a dead letter)
ends all that follow, and those that still come within the window. One that fails, expires, is
cancelled or has a dead letter says nothing about the others: the first that follows leads then, and
the rest wait for it. So one case of a group works at a time, each ends exactly once, and a replay
concerns its own case alone.
At most `followers_max` follow one leader; the next one leads a group of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from coordinator.expressions import ExpressionError, compile_expression
from coordinator.workflow import Plan
from schemas.approval import action_hash_of
from schemas.case import Answer, Flock, Group
from schemas.commands import FlockCommand, Join
from schemas.event import Event

FOLLOWERS_MAX = 1_000
GROUPS_MAX = 100
"""Of one flock; beyond, a case leads nobody."""
ANSWERED_AT_ONCE = 500
"""Followers that are answered in one turn, so far as `ANSWERED_BYTES` allows; the others follow."""
ANSWERED_BYTES = 4 * 1024 * 1024
KEPT_BYTES_MAX = 262_144
"""A larger answer is not kept for those that come later in the window: the next one leads."""
LATE_S = 60.0
"""A follower whose own time has been over for so long is forgotten: it has ended by itself."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell a case whom it follows (itself: it works), or what that one ended with."""

    case_id: str
    leader: str
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """To be counted."""

    end: Literal["leads", "follows", "answered", "succeeds", "alone"]


FlockEffect = Tell | Counted


class Moved(NamedTuple):
    """A flock after a command (`None`: there is nothing left of it), and what it asks for."""

    flock: Flock | None
    effects: list[FlockEffect]


def flock_of(event: Event, plan: Plan) -> str | None:
    """The flock of an event; `None`: it runs on its own, also where the expression breaks."""
    text = plan.spec.coalesce_by
    if text is None:
        return None
    fields = event.model_dump(mode="json", exclude={"data"})
    try:
        value = compile_expression(text).of({"event": fields, "data": event.data})
    except ExpressionError:
        return None
    if value is None:
        return None
    key = action_hash_of([plan.name, plan.spec.version, event.tenant, value])
    return str(uuid5(NAMESPACE_URL, f"flock\n{key}"))


def apply(flock: Flock | None, command: FlockCommand, now: float) -> Moved:
    """`now` in seconds since the epoch. A command told twice changes nothing the second time."""
    groups, effects = _tick(list(flock.groups) if flock is not None else [], now)
    if isinstance(command, Join):
        effects += _join(groups, command, now)
    else:
        effects += _leave(groups, command.member, command.answer, now)
    groups, more = _tick(groups, now)
    return Moved(Flock(groups=tuple(groups)) if groups else None, [*effects, *more])


def tick(flock: Flock, now: float) -> Moved:
    """Answer those that still wait for it, and forget what is over."""
    groups, effects = _tick(list(flock.groups), now)
    if tuple(groups) == flock.groups:
        return Moved(flock, effects)
    return Moved(Flock(groups=tuple(groups)) if groups else None, effects)


def next_due(flock: Flock) -> float:
    """When something of it is due, in seconds since the epoch."""
    return min(_due(group) for group in flock.groups)


def _due(group: Group) -> float:
    if not group.followers:
        return group.until
    return 0.0 if group.answer is not None else min(group.followers.values()) + LATE_S


def _join(groups: list[Group], command: Join, now: float) -> list[FlockEffect]:
    member = command.member
    for group in groups:
        if member == group.leader or member in group.followers:
            return [Tell(member, group.leader)]
    last = groups[-1] if groups else None
    if last is None or now >= last.until or len(last.followers) >= FOLLOWERS_MAX:
        if len(groups) >= GROUPS_MAX:
            return [Tell(member, member), Counted("alone")]
        groups.append(Group(leader=member, until=now + command.window_s))
        return [Tell(member, member), Counted("leads")]
    if last.answer is not None and not last.followers:
        return [Tell(member, last.leader, last.answer), Counted("answered")]
    followers = {**last.followers, member: command.until.timestamp()}
    groups[-1] = last.evolve(followers=followers)
    return [Tell(member, last.leader), Counted("follows")]


def _leave(
    groups: list[Group], member: str, answer: Answer | None, now: float
) -> list[FlockEffect]:
    for at, group in enumerate(groups):
        if member in group.followers:
            left = {name: due for name, due in group.followers.items() if name != member}
            groups[at] = group.evolve(followers=left)
            return []
        if member != group.leader or group.answer is not None:
            continue
        if answer is not None:
            groups[at] = group.evolve(answer=answer)
            return []
        left = dict(group.followers)
        heir = next((name for name, due in left.items() if due > now), None)
        if heir is None:
            del groups[at]
            return []
        del left[heir]
        groups[at] = group.evolve(leader=heir, followers=left)
        return [Tell(heir, heir), Counted("succeeds")]
    return []


def _tick(groups: list[Group], now: float) -> tuple[list[Group], list[FlockEffect]]:
    left: list[Group] = []
    effects: list[FlockEffect] = []
    for each in groups:
        group = each
        if group.answer is not None and group.followers:
            group, told = _answer(group, group.answer)
            effects += told
        elif any(due + LATE_S <= now for due in group.followers.values()):
            due = {name: at for name, at in group.followers.items() if at + LATE_S > now}
            group = group.evolve(followers=due)
        if group.followers or (now < group.until and _keeps(group)):
            left.append(group)
    return left, effects


def _answer(group: Group, answer: Answer) -> tuple[Group, list[FlockEffect]]:
    many = max(1, min(ANSWERED_AT_ONCE, ANSWERED_BYTES // max(1, len(answer.to_json()))))
    names = list(group.followers)
    effects: list[FlockEffect] = []
    for name in names[:many]:
        effects += [Tell(name, group.leader, answer), Counted("answered")]
    left = {name: group.followers[name] for name in names[many:]}
    return group.evolve(followers=left), effects


def _keeps(group: Group) -> bool:
    return group.answer is None or len(group.answer.to_json()) <= KEPT_BYTES_MAX
