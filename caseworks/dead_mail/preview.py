"""The task that a replay would send, made by the case machine itself: nothing is written."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from caseworks.casebook import read_state
from caseworks.dead_mail.letters import Dead
from caseworks.scan import partition_counts, partitions_of, records
from coordinator.case import apply
from coordinator.effects import SendTask
from coordinator.partition import NOTE_MARK, PART_MARK
from coordinator.records import Writer
from coordinator.versions import note_key, plan_of
from coordinator.workflow import Plan
from events.broker import Broker, TopicPartition
from events.errors import PayloadError
from events.partitioner import partition_of
from events.settings import Settings
from schemas.commands import Replay
from schemas.lean_case import Case, StepState


@dataclass(slots=True)
class _Held:
    """What a changelog holds of one case."""

    case: Case | None = None
    parts: dict[str, StepState] = field(default_factory=dict)
    notes: dict[bytes, bytes] = field(default_factory=dict)


def task_as_sent(
    broker: Broker, settings: Settings, dead: Dead, now: float, given: Any = None
) -> bytes:
    """The task of a letter's replay, as JSON; *given* is the agent's new input.

    Raises `PayloadError` when its case would send nothing.
    """
    case_id, task_id = dead.letter.case_id, dead.letter.task_id
    if case_id is None or task_id is None:
        raise PayloadError("no_case", f"{dead.place}: it does not say whose task it is")
    source = _home(broker, settings, case_id)
    held = _read(broker, source, case_id)
    case = held.case
    if case is None:
        raise PayloadError("case", f"{dead.place}: its case {case_id} is not kept for it any more")
    plan = _plan(held, case)
    command = Replay(case_id=case_id, task_id=task_id, command_id=dead.place, input=given)
    _, effects = apply(case, command, now, plan, held.parts.get)
    writer = Writer(settings.topics)
    for effect in effects:
        if isinstance(effect, SendTask):
            return writer.build_task(case, plan, effect.work, source.partition).to_json()
    raise PayloadError("case", f"{dead.place}: its case ({case.status}) would send nothing now")


def _home(broker: Broker, settings: Settings, case_id: str) -> TopicPartition:
    topic = settings.topics.cases
    count = len(partitions_of(partition_counts(broker), [topic]))
    return TopicPartition(topic, partition_of(case_id.encode(), count))


def _read(broker: Broker, source: TopicPartition, case_id: str) -> _Held:
    held, name, notes = _Held(), case_id.encode(), NOTE_MARK.encode()
    prefix = name + PART_MARK.encode()
    with closing(broker.reader()) as reader:
        for message in records(reader, source):
            key, value = message.key or b"", message.value
            if key == name:
                state = read_state(message)
                held.case = state if isinstance(state, Case) else None
            elif key.startswith(prefix):
                part = key.removeprefix(prefix).decode()
                held.parts.pop(part, None)
                if value is not None:
                    held.parts[part] = StepState.from_json(value)
            elif key.startswith(notes) and value is not None:
                held.notes[key] = value
    return held


def _plan(held: _Held, case: Case) -> Plan:
    key = f"{NOTE_MARK}{note_key(case.workflow, case.workflow_version)}".encode()
    note = held.notes.get(key)
    if note is None:
        told = f"nobody noted {case.workflow} {case.workflow_version}, on which the case runs"
        raise PayloadError("version", told)
    return plan_of(note)
