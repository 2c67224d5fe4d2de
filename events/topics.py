"""The catalogue of topics: the one source of their names, keys, partitions and clean-up.

Docs, ACLs, deploy files and `caseworks topics` are made from it or tested against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

DAY_MS = 86_400_000
MIB = 1024 * 1024
RECORD_BYTES_MAX = 8 * MIB
"""Largest record of every topic; what we write stays well below (see `event_bytes_max`)."""
LETTER_BYTES_MAX = 9 * MIB
"""A dead letter is its original and some headers."""
EFFECTS_DAYS = 90
"""Longer than a case may be open and its dead letter be replayed after that."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it must exist. `config` holds the broker's own topic settings."""

    name: str
    key: str
    partitions: int
    holds: str
    config: dict[str, str] = field(default_factory=dict)
    partitions_fixed: bool = False
    """Start-up refuses another partition count instead of accepting it."""


@dataclass(frozen=True, slots=True)
class Partitions:
    """How many partitions new topics get; `inbox` is fixed when the topics are made."""

    inbox: int = 32
    events: int = 8
    tasks: int = 8
    results: int = 8


Lane = Literal["normal", "urgent"]


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of one namespace.

    Example: `Topics("cw").tasks("triage")` is `"cw.tasks.triage"`.
    """

    namespace: str

    @property
    def events(self) -> str:
        """Business events."""
        return f"{self.namespace}.events"

    @property
    def inbox(self) -> str:
        """Commands to cases."""
        return f"{self.namespace}.inbox"

    @property
    def cases(self) -> str:
        """The changelog of case states; partition n belongs to inbox partition n."""
        return f"{self.namespace}.cases"

    @property
    def requests(self) -> str:
        """What workers and people ask the controller."""
        return f"{self.namespace}.requests"

    @property
    def control(self) -> str:
        """What the controller decided."""
        return f"{self.namespace}.control"

    @property
    def approvals(self) -> str:
        """What people are asked, and how each question ended."""
        return f"{self.namespace}.approvals"

    @property
    def feedback(self) -> str:
        """What people thought of results."""
        return f"{self.namespace}.feedback"

    @property
    def facts(self) -> str:
        """What analytics counts: a small record for each closed case."""
        return f"{self.namespace}.facts"

    @property
    def alerts(self) -> str:
        """What analytics found to be out of bounds, and when it was well again."""
        return f"{self.namespace}.alerts"

    @property
    def effects(self) -> str:
        """The ledger of outside calls; partition n belongs to inbox partition n."""
        return f"{self.namespace}.effects"

    @property
    def letter_audit(self) -> str:
        """What people did to dead letters. Not `.dlq` at its end: that names dead letters."""
        return f"{self.namespace}.audit.letters"

    def tasks(self, agent: str, lane: Lane = "normal") -> str:
        """An agent's tasks; the urgent lane is a topic of its own."""
        base = f"{self.namespace}.tasks.{agent}"
        return f"{base}.urgent" if lane == "urgent" else base

    def results(self, workflow: str) -> str:
        """A workflow's results."""
        return f"{self.namespace}.results.{workflow}"

    def dlq(self, topic: str) -> str:
        """Where the dead letters of a topic go; both lanes of an agent share one."""
        return f"{topic.removesuffix('.urgent') if '.tasks.' in topic else topic}.dlq"

    def workers_group(self, agent: str) -> str:
        """The consumer group of an agent's workers."""
        return f"{self.namespace}.worker.{agent}"

    def replay_group(self, run: str) -> str:
        """The consumer group of one replay of dead letters; its lag is what is left to do."""
        return f"{self.namespace}.replay.{run}"

    def loop_group(self, loop: str) -> str:
        """The consumer group of a coordinator loop: `intake`, `orchestrator`, `controller`."""
        return f"{self.namespace}.{loop}"


def catalogue(
    topics: Topics, agents: Iterable[str], workflows: Iterable[str], count: Partitions
) -> tuple[TopicSpec, ...]:
    """Every topic that an app with these agents and workflows needs."""
    return (
        *_fixed(topics, count),
        *(spec for agent in sorted(agents) for spec in _of_agent(topics, agent, count)),
        *(
            TopicSpec(
                topics.results(workflow),
                "subject or event id",
                count.results,
                f"results of the workflow {workflow}",
                _delete(30),
            )
            for workflow in sorted(workflows)
        ),
    )


def _fixed(topics: Topics, count: Partitions) -> tuple[TopicSpec, ...]:
    commands = "commands: opened, outcome, progress, signal, decision, cancel, replay, drop"
    asked = "approval requests and their ends"
    changelog = "state changelog; partition n belongs to inbox partition n"
    return (
        TopicSpec(
            topics.events, "subject or event id", count.events, "business events", _delete(7)
        ),
        _dead(topics, topics.events, count.events, "events that intake refused"),
        TopicSpec(
            topics.inbox, "case id", count.inbox, commands, _delete(7), partitions_fixed=True
        ),
        _dead(topics, topics.inbox, count.inbox, "commands that could not be applied"),
        TopicSpec(
            topics.cases, "case id", count.inbox, changelog, _compact(), partitions_fixed=True
        ),
        TopicSpec(
            topics.effects,
            "effect id",
            count.inbox,
            "outside calls and what became of them; partition n belongs to inbox partition n",
            _delete(EFFECTS_DAYS),
            partitions_fixed=True,
        ),
        TopicSpec(topics.approvals, "case id", count.results, asked, _delete(30)),
        TopicSpec(
            topics.feedback, "case id", count.results, "ratings and corrections", _delete(90)
        ),
        TopicSpec(topics.letter_audit, "dead letter", 1, "replays and drops", _delete(90)),
        TopicSpec(
            topics.facts, "workflow", count.results, "a record for each closed case", _delete(30)
        ),
        TopicSpec(topics.alerts, "rule", 1, "alerts of analytics and their ends", _delete(30)),
        TopicSpec(topics.requests, "kind:name", 1, "what workers and people ask", _delete(7)),
        TopicSpec(topics.control, "kind:name", 1, "what the controller decided", _compact()),
    )


def _of_agent(topics: Topics, agent: str, count: Partitions) -> tuple[TopicSpec, ...]:
    key = "case id, or the agent's order key"
    normal, urgent = topics.tasks(agent), topics.tasks(agent, "urgent")
    return (
        TopicSpec(normal, key, count.tasks, f"tasks of {agent}", _delete(7)),
        TopicSpec(urgent, key, count.tasks, f"urgent tasks of {agent}", _delete(7)),
        _dead(topics, normal, count.tasks, f"dead tasks of {agent}, both lanes"),
    )


def _dead(topics: Topics, topic: str, partitions: int, holds: str) -> TopicSpec:
    return TopicSpec(
        topics.dlq(topic), "original key", partitions, holds, _delete(30, LETTER_BYTES_MAX)
    )


def _delete(days: int, bytes_max: int = RECORD_BYTES_MAX) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(days * DAY_MS),
        "max.message.bytes": str(bytes_max),
    }


def _compact() -> dict[str, str]:
    return {
        "cleanup.policy": "compact",
        "segment.bytes": str(64 * MIB),
        "segment.ms": "600000",
        "min.cleanable.dirty.ratio": "0.2",
        "delete.retention.ms": str(7 * DAY_MS),
        "max.message.bytes": str(RECORD_BYTES_MAX),
    }
