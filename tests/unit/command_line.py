"""The command line on the broker in memory, and records to fill it with."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from caseworks.cli import run
from caseworks.cli.base import Deps
from coordinator.partition import encode_case
from events.broker import Record
from events.envelope import event_record, record_of
from events.memory import MemoryBroker
from events.partitioner import partition_of
from events.settings import Settings
from events.topics import Partitions, Topics, catalogue
from schemas.base import instant
from schemas.event import Event
from schemas.lean_case import Case
from schemas.result import Result, ResultStatus, StepReport

NOW = 1_000_000.0
COUNTS = Partitions(inbox=4, events=2, tasks=2, results=2)
TOPICS = Topics("cw")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The JSON of each line of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class CommandLine:
    """Runs commands as a user types them, against a broker of its own."""

    broker: MemoryBroker = field(default_factory=MemoryBroker)

    def __call__(self, *args: str) -> Ran:
        deps = Deps(connect=self._connect, clock=lambda: NOW)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(args, deps)
        return Ran(code, out.getvalue(), err.getvalue())

    def _connect(self, settings: Settings) -> MemoryBroker:
        return self.broker

    def make_topics(self) -> None:
        """Those of an app with one agent and the workflow `ticket`."""
        admin = self.broker.admin()
        admin.create(catalogue(TOPICS, ["triage"], ["ticket"], COUNTS))

    def produce(self, *records: Record) -> None:
        producer = self.broker.producer()
        for record in records:
            producer.produce(record)
        assert producer.flush(5) == 0

    def records(self, topic: str) -> list[Any]:
        """Everything on a topic, in the order of its partitions."""
        from caseworks.scan import partition_counts, partitions_of
        from caseworks.scan import records as read

        reader = self.broker.reader()
        sources = partitions_of(partition_counts(self.broker), [topic])
        return [message for source in sources for message in read(reader, source)]


def state_record(case: Case) -> Record:
    """A case as its changelog holds it."""
    key = case.case_id.encode()
    return Record(TOPICS.cases, key, encode_case(case), (), partition_of(key, COUNTS.inbox))


def result_record(
    event: Event, status: ResultStatus = "completed", output: Any = None, **fields: Any
) -> Record:
    """The result of an event's case."""
    result = Result(
        case_id=event.case_id,
        workflow="ticket",
        workflow_version="1",
        status=status,
        output=output,
        confidence=0.9,
        steps={"triage": StepReport(status="done", attempts=2, agent="triage", ms=7)},
        event=event.ref(),
        opened_at=instant(NOW),
        closed_at=instant(NOW + 1.5),
        **fields,
    )
    return record_of(
        result,
        f"ticket.{status}",
        topic=TOPICS.results("ticket"),
        key=event.subject or event.id,
        ce_id=f"{event.case_id}:1",
        source="caseworks/cw",
        now=NOW,
    )


def published(events: Iterable[Event]) -> list[Record]:
    """Events as intake would take them."""
    return [event_record(event, TOPICS.events, json.dumps(event.data).encode()) for event in events]
