"""Cases whose last step died, on the broker of a command line: their letters and their states."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from coordinator.effects import Bury
from coordinator.records import Writer
from coordinator.versions import note_key, note_of
from coordinator.workflow import Plan
from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.partitioner import partition_of
from events.topics import Topics, catalogue
from schemas.lean_case import Case
from schemas.outcome import Failure
from schemas.usage import Usage
from tests.unit.command_line import COUNTS, NOW, TOPICS, CommandLine, state_record
from tests.unit.machine import AGENTS, Machine, diamond, event

REPLY_DLQ = TOPICS.dlq(TOPICS.tasks("reply"))
EVENTS_DLQ = TOPICS.dlq(TOPICS.events)
TASKS_DLQ = TOPICS.dlq(TOPICS.tasks("triage"))
BAD = b'{"ticket_id": \xff'
CASE_ID = event().case_id
COST = Usage(tokens_in=100, tokens_out=20, usd=Decimal("0.01"), calls=1)


def prepared() -> CommandLine:
    """A command line with the topics of every agent of the diamond."""
    command = CommandLine()
    command.broker.admin().create(catalogue(TOPICS, AGENTS, ["ticket"], COUNTS))
    return command


def with_two_letters() -> CommandLine:
    """A command line with an event that intake refused, and a task that was poison."""
    command = CommandLine()
    command.make_topics()
    command.produce(
        dead(TOPICS.events, "not_utf8", error="byte 14 is not UTF-8"),
        dead(TOPICS.tasks("triage"), "poison", case_id=CASE_ID, task_id=f"{CASE_ID}:triage"),
    )
    return command


def died(event_id: str = "e1", *, on_dead_letter: str = "escalate", **fields: Any) -> Machine:
    """A case whose three first steps are done, each at `COST`, and whose reply died."""
    plan = diamond(on_dead_letter=on_dead_letter)
    machine = Machine(plan, NOW, event(event_id, **fields))
    for step in ("triage", "billing", "kb"):
        machine.says(step, usage=COST)
    machine.says("reply", "failed", error=Failure(kind="poison", message="it broke"))
    return machine


def letter_of(machine: Machine, topics: Topics = TOPICS) -> Record:
    """The letter that the orchestrator writes."""
    [bury] = [effect for effect in machine.effects if isinstance(effect, Bury)]
    home = home_of(machine.case)
    return Writer(topics).dead_letter(machine.case, machine.plan, bury, home, machine.now)


def home_of(case: Case) -> int:
    """Its inbox partition."""
    return partition_of(case.case_id.encode(), COUNTS.inbox)


def note_record(plan: Plan, partition: int) -> Record:
    """How a changelog notes the version that a case runs on."""
    key = b"\0" + note_key(plan.name, plan.spec.version).encode()
    return Record(TOPICS.cases, key, note_of(plan), (), partition)


def bury(command: CommandLine, *machines: Machine) -> list[str]:
    """Write the state and the letter of each; returns the places of all letters that lie there."""
    for machine in machines:
        command.produce(
            note_record(machine.plan, home_of(machine.case)),
            state_record(machine.case),
            letter_of(machine),
        )
    return [f"{m.topic}:{m.partition}:{m.offset}" for m in command.records(REPLY_DLQ)]


def place_of_case(command: CommandLine, case_id: str) -> str:
    """Where the newest letter of a case lies."""
    found = [m for m in command.records(REPLY_DLQ) if m.header("cw_dlq_case_id") == case_id]
    return f"{found[-1].topic}:{found[-1].partition}:{found[-1].offset}"


def dead(topic: str, reason: str, *, at_ms: int = 1000, **fields: object) -> Record:
    """A letter as intake or a worker writes it."""
    message = Message(topic, 1, 7, at_ms, b"key", BAD, (("ce_id", b"e1"), ("ce_source", b"/test")))
    return dead_letter_record(message, TOPICS.dlq(topic), letter_for(message, reason, **fields))


def place(command: CommandLine, topic: str) -> str:
    """Where the one letter of a topic lies."""
    [message] = command.records(topic)
    return f"{topic}:{message.partition}:{message.offset}"
