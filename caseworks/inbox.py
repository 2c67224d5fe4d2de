"""Commands to cases, from people and scripts: written to the inbox as everybody else's are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from uuid import uuid4

from caseworks.casebook import find, need
from caseworks.scan import partition_counts, partitions_of
from events.broker import Broker, Record
from events.envelope import record_of
from events.errors import PayloadError, RetriableError, SetupError
from events.partitioner import partition_of
from events.settings import Settings
from schemas.commands import Cancel, Decision, Drop, Replay, Signal
from schemas.lean_case import CLOSED, Case

FLUSH_TIMEOUT_S = 30.0

PersonCommand = Cancel | Decision | Drop | Replay | Signal
"""What people and scripts may tell a case."""


def command_record(
    command: PersonCommand, settings: Settings, partitions: int, now: float, ce_id: str = ""
) -> Record:
    """A command as a record; *partitions* is the inbox's count. Without a `ce_id`: a random one."""
    return record_of(
        command,
        command.ce_type,
        topic=settings.topics.inbox,
        key=command.case_id,
        ce_id=ce_id or str(uuid4()),
        source="caseworks/cli",
        now=now,
        partition=partition_of(command.case_id.encode(), partitions),
    )


def send(broker: Broker, settings: Settings, command: PersonCommand, now: float) -> None:
    """Write one command and wait until Kafka has it. Raises `SetupError` if it has not."""
    partitions = len(partitions_of(partition_counts(broker), [settings.topics.inbox]))
    why = produce(broker, [command_record(command, settings, partitions, now)])
    if why:
        raise SetupError(f"the command was not acknowledged: {why[0]}", hint="caseworks doctor")


def produce(broker: Broker, records: Sequence[Record]) -> list[str]:
    """Write records; returns a line for each that was not acknowledged, in no order."""
    failed: list[str] = []
    with closing(broker.producer()) as producer:
        for record in records:
            while True:
                try:
                    producer.produce(record, lambda e: failed.append(str(e)) if e else None)
                    break
                except RetriableError:  # its queue is full
                    producer.flush(0.1)
        missing = producer.flush(FLUSH_TIMEOUT_S)
    return failed + [f"nothing was heard within {FLUSH_TIMEOUT_S:g} s"] * missing


def need_open(broker: Broker, settings: Settings, case_id: str) -> Case:
    """The case, if it can still be told something.

    Raises `SetupError` when nobody knows it, `PayloadError` when it has ended.
    """
    found = need(find(broker, settings, case_id), case_id)
    if found.case is None or found.status in CLOSED:
        raise PayloadError(
            "closed_case",
            f"case {case_id} has ended: {found.status}",
        )
    return found.case
