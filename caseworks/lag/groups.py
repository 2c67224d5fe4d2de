"""Which groups there are, and what each reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from events.broker import GroupLag
from events.topics import Topics


def loops_of(topics: Topics) -> dict[str, tuple[str, ...]]:
    """The groups of a coordinator's loops, and what each reads."""
    read = {"intake": topics.events, "orchestrator": topics.inbox, "controller": topics.requests}
    return {topics.loop_group(loop): (topic,) for loop, topic in read.items()}


def workers_of(topics: Topics, agents: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The groups of these agents' workers, and what each reads."""
    return {
        topics.workers_group(agent): (topics.tasks(agent), topics.tasks(agent, "urgent"))
        for agent in sorted(agents)
    }


def groups_of(topics: Topics, agents: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Every group of an app with these agents, and what each reads."""
    return loops_of(topics) | workers_of(topics, agents)


def agent_of(topics: Topics, group: str) -> str | None:
    """The agent whose workers this group is of; `None` for the coordinator's loops."""
    prefix = topics.workers_group("")
    return group.removeprefix(prefix) if group.startswith(prefix) else None


def behind(lag: GroupLag) -> int:
    """Offsets that a group has not passed on a partition; all of them if it never committed."""
    return max(0, lag.end - (lag.committed or 0))
