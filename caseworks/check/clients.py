"""What people and services do meanwhile: publish again, cancel, replay dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic_core import to_json

from caseworks.check.samples import example_of
from caseworks.dead_mail import Dead, replay_record
from coordinator.workflow import Plan
from events.broker import Message, Record, TopicPartition
from events.dead_letters import read_letter
from events.envelope import event_record, record_of
from events.partitioner import partition_of
from events.settings import Settings
from events.sim_driver import SimDriver
from schemas.approval import ApprovalRequested
from schemas.base import instant
from schemas.commands import Cancel, Decision
from schemas.event import Event
from schemas.workflow import StepSpec

LOOKS_S = (3.0, 9.0, 16.0)
"""When somebody looks through the dead letters, about."""
QUESTIONS_S = (0.7, 1.5, 3.0, 5.0, 8.0, 12.0, 18.0)
"""When somebody looks for questions."""
VERDICTS = ("approve", "approve", "reject", "correct")


@dataclass(frozen=True, slots=True)
class Clients:
    """How often, per event or dead letter."""

    republish: float = 0.0
    """The same event comes again, some seconds later."""
    cancel: float = 0.0
    replay: float = 0.0
    """A dead letter is replayed, half of the time twice."""
    misdirect: float = 0.0
    """A command goes to another partition than its case's home."""
    answer: float = 0.0
    """A question to people is decided, at times twice; an awaited event comes."""


CALM = Clients()
BUSY = Clients(republish=0.3, cancel=0.06, replay=0.6, misdirect=0.3, answer=0.7)
"""As often as a run of five events bears it."""


class Crowd:
    """The clients of one run; what they do is drawn when the run is set up."""

    def __init__(
        self, driver: SimDriver, settings: Settings, clients: Clients, plans: Sequence[Plan]
    ) -> None:
        self._driver, self._settings, self._clients = driver, settings, clients
        self._plans = plans
        self._dice = driver.dice
        self._producer = driver.broker.producer()
        self._seen: dict[TopicPartition, int] = {}

    def come(self, events: Sequence[Event]) -> None:
        """Publish the events, and let the rest happen when its time comes."""
        topic, dice, clients = self._settings.topics.events, self._dice, self._clients
        for number, event in enumerate(events):
            record = event_record(event, topic, to_json(event.data))
            self._later(0.1 * number, f"event {event.id} is published", record)
            if clients.republish and dice.rng.random() < clients.republish:
                delay_s = dice.between(0.1, 20.0)
                self._later(delay_s, f"event {event.id} is published again", record)
            if clients.cancel and dice.rng.random() < clients.cancel:
                self._later(
                    dice.between(0.1, 6.0), f"case {event.id} is cancelled", self._cancel(event)
                )
        if clients.replay:
            for look_s in LOOKS_S:
                self._driver.after(look_s * dice.between(0.5, 1.5), "", self._look)
        waits = {kind: plan for plan in self._plans for kind in plan.waits}
        if clients.answer and waits:
            for subject in sorted({event.subject or event.id for event in events}):
                for kind, plan in waits.items():
                    self._correlate(kind, plan, subject)
        if clients.answer and any(step.approval or step.review_below for step in self._steps()):
            for look_s in QUESTIONS_S:
                self._driver.after(look_s * dice.between(0.7, 1.3), "", self._decide)

    def _steps(self) -> Iterator[StepSpec]:
        return (step for plan in self._plans for step in plan.steps.values())

    def _correlate(self, kind: str, plan: Plan, subject: str) -> None:
        """An event that cases of this subject wait for comes, at times twice."""
        if self._dice.rng.random() >= self._clients.answer:
            return
        schema = plan.spec.data_schemas.get(kind, {})
        event = Event(
            id=f"{kind}-{subject}",
            source="/check",
            type=kind,
            subject=subject,
            time=instant(self._driver.now),
            data=example_of(schema, self._dice.rng),
        )
        record = event_record(event, self._settings.topics.events, to_json(event.data))
        for _ in range(1 + self._dice.pick(2)):
            self._later(self._dice.between(0.1, 9.0), f"{kind} of {subject} comes", record)

    def _decide(self) -> None:
        """Answer some of the questions that came since the last look."""
        for message in self._new_on(self._settings.topics.approvals):
            if message.header("ce_type") != ApprovalRequested.ce_type:
                continue
            asked = ApprovalRequested.from_json(message.value or b"")
            if self._dice.rng.random() >= self._clients.answer:
                continue
            for number in range(1 + self._dice.pick(2)):
                verdict = VERDICTS[self._dice.pick(len(VERDICTS))]
                self._driver.tell("clients", f"{verdict} {asked.approval_id}")
                self._producer.produce(self._decision(asked, verdict, number))

    def _decision(self, asked: ApprovalRequested, verdict: Any, number: int) -> Record:
        decision = Decision(
            case_id=asked.case_id,
            approval_id=asked.approval_id,
            verdict=verdict,
            action_hash=asked.action_hash,
            by=f"person-{number}",
            correction=asked.action if verdict == "correct" else None,
        )
        return record_of(
            decision,
            Decision.ce_type,
            topic=self._settings.topics.inbox,
            key=asked.case_id,
            ce_id=f"{asked.approval_id}:{number}",
            source="caseworks/check",
            now=self._driver.now,
            partition=self._home(asked.case_id),
        )

    def _later(self, delay_s: float, what: str, record: Record) -> None:
        self._driver.after(delay_s, what, partial(self._producer.produce, record))

    def _cancel(self, event: Event) -> Record:
        return record_of(
            Cancel(case_id=event.case_id, reason="the simulation says so"),
            Cancel.ce_type,
            topic=self._settings.topics.inbox,
            key=event.case_id,
            ce_id=f"{event.case_id}:cancel",
            source="caseworks/check",
            now=self._driver.now,
            partition=self._home(event.case_id),
        )

    def _home(self, case_id: str) -> int:
        count = self._settings.inbox_partitions
        astray = self._clients.misdirect and self._dice.rng.random() < self._clients.misdirect
        return (partition_of(case_id.encode(), count) + bool(astray)) % count

    def _look(self) -> None:
        """Replay some of the dead letters that came since the last look."""
        topics = self._settings.topics
        for name in self._driver.broker.cluster.topics:
            if name.startswith(topics.tasks("")) and name.endswith(".dlq"):
                for message in self._new_on(name):
                    if self._dice.rng.random() < self._clients.replay:
                        self._replay(Dead(message, read_letter(message)))

    def _new_on(self, topic: str) -> Iterator[Message]:
        for log in self._driver.broker.cluster.topics[topic].logs:
            found = log.read(self._seen.get(log.source, 0), 1000)
            self._seen[log.source] = found.next_offset
            yield from found.messages

    def _replay(self, dead: Dead) -> None:
        if dead.letter.case_id is None or dead.letter.task_id is None:
            return
        count = self._settings.inbox_partitions
        record = replay_record(dead, self._settings, count, self._driver.now, "check")
        for _ in range(1 + self._dice.pick(2)):
            to = self._home(dead.letter.case_id)
            self._driver.tell("clients", f"replay {dead.letter.task_id}")
            self._producer.produce(
                Record(record.topic, record.key, record.value, record.headers, to)
            )
