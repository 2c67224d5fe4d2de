"""What holds for the whole fleet, read from `{ns}.control`, and the orders of people."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

from pydantic import ValidationError

from caseworks.inbox import produce
from caseworks.lag import behind
from caseworks.scan import Tail, partition_counts, partitions_of, records
from events.broker import Broker, Message
from events.envelope import record_of
from events.errors import SetupError
from events.settings import Settings
from events.topics import Topics
from schemas.control import (
    CONTROL_VERSION,
    DECISIONS,
    Breaker,
    BreakerOrder,
    Decision,
    Pause,
    PauseOrder,
)


def read_decision(message: Message) -> Decision | None:
    """What a record of `control` says; `None` for one that is not known here."""
    model = DECISIONS.get(message.header("ce_type") or "")
    try:
        found = model.from_json(message.value or b"") if model is not None else None
    except ValidationError:
        return None
    return found if found is not None and found.v <= CONTROL_VERSION else None


def decisions(broker: Broker, settings: Settings) -> dict[str, Decision]:
    """Every decision by its key, as of now. Raises `SetupError` without the topic."""
    [source] = partitions_of(partition_counts(broker), [settings.topics.control])
    found: dict[str, Decision] = {}
    with closing(broker.reader()) as reader:
        for message in records(reader, source):
            decision = read_decision(message)
            if decision is not None:
                found[(message.key or b"").decode("utf-8", "replace")] = decision
    return found


def breakers(found: Iterable[Decision]) -> list[Breaker]:
    """The breakers, those that let nothing through first, then by name."""
    known = [each for each in found if isinstance(each, Breaker)]
    return sorted(known, key=lambda each: (each.state == "closed", each.dependency))


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent as its topics and the controller know it."""

    agent: str
    paused: Pause | None
    workers: int
    waiting: int
    """Tasks that were not done."""


def agents(broker: Broker, settings: Settings) -> list[AgentState]:
    """Every agent that has topics, by name."""
    pauses = decisions(broker, settings)
    found = []
    with closing(broker.admin()) as admin:
        for name in agent_names(admin.topics(), settings.topics):
            pause = pauses.get(f"pause:{name}")
            group = settings.topics.workers_group(name)
            found.append(
                AgentState(
                    agent=name,
                    paused=pause if isinstance(pause, Pause) and pause.paused else None,
                    workers=admin.members(group),
                    waiting=sum(behind(lag) for lag in admin.lag(group)),
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class OneAgent:
    """One agent, and every decision of the controller, by its key."""

    paused: Pause | None
    workers: int
    waiting: int
    decisions: dict[str, Decision]


def agent_state(broker: Broker, settings: Settings, name: str) -> OneAgent:
    """How one agent stands, without asking after the others."""
    found = decisions(broker, settings)
    pause, group = found.get(f"pause:{name}"), settings.topics.workers_group(name)
    with closing(broker.admin()) as admin:
        return OneAgent(
            paused=pause if isinstance(pause, Pause) and pause.paused else None,
            workers=admin.members(group),
            waiting=sum(behind(lag) for lag in admin.lag(group)),
            decisions=found,
        )


def agent_names(topics: Iterable[str], names: Topics) -> list[str]:
    """The agents that these topics are of."""
    prefix = names.tasks("")
    rest = (topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix))
    return sorted(name for name in rest if not name.endswith((".urgent", ".dlq")))


def order(
    broker: Broker,
    settings: Settings,
    wanted: BreakerOrder | PauseOrder,
    now: float,
    timeout_s: float,
) -> Decision | None:
    """Ask the controller, and wait for what it decides.

    Returns `None` when nothing was decided in time: it holds already, or no coordinator runs.
    Raises `SetupError` when Kafka did not take the request, or for an agent without topics.
    """
    counts = partition_counts(broker)
    if isinstance(wanted, PauseOrder):
        key = f"pause:{wanted.agent}"
        if settings.topics.tasks(wanted.agent) not in counts:
            known = ", ".join(agent_names(counts, settings.topics)) or "none"
            raise SetupError(f"there is no agent {wanted.agent!r} here", hint=f"known: {known}")
    else:
        key = f"breaker:{wanted.dependency}"
    record = record_of(
        wanted,
        wanted.ce_type,
        topic=settings.topics.requests,
        key=key,
        ce_id=str(uuid4()),
        source="caseworks/cli",
        now=now,
        partition=0,
    )

    def decided(message: Message) -> Decision | None:
        return read_decision(message) if message.key == key.encode() else None

    sources = partitions_of(counts, [settings.topics.control])
    with closing(broker.reader()) as reader:
        tail = Tail.at_end(reader, sources)
        why = produce(broker, [record])
        if why:
            raise SetupError(f"the order was not acknowledged: {why[0]}", hint="caseworks doctor")
        return tail.until(decided, timeout_s)
