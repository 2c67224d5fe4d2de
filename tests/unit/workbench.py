"""What tests of agents work on: tasks, a producer that answers when told to, a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from agents.agent import Agent
from agents.crew import Crew
from agents.job import Desk
from agents.limits.dependencies import Dependencies
from agents.mind.port import NO_MODEL, ModelPort
from agents.services import Services, WorkLimits
from agents.stack import handler_of
from agents.threads import Inline
from events import metrics
from events.broker import DeliveryReport, Message, Record
from events.loop import Job
from events.virtual_loop import VirtualLoop
from schemas.base import instant
from schemas.event import Event
from schemas.outcome import Outcome
from schemas.task import ReplyTo, Task

START = 1_800_000_000.0
INBOX = ReplyTo(topic="cw.inbox", partition=3)


class Ticket(BaseModel):
    ticket_id: str
    body: str = ""


class Answer(BaseModel):
    text: str
    confidence: float = 0.5


class ManualClock:
    """Stands still until it is told to move."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A producer at its port: keeps records, and reports when polled what `answer` says."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.acknowledged: list[Record] = []
        self.answer: Callable[[Record], Exception | None] = lambda _: None
        self.refusal: Exception | None = None
        """Raised by the next produce."""
        self._waiting: list[tuple[Record, DeliveryReport | None]] = []

    def produce(self, record: Record, on_delivery: DeliveryReport | None = None) -> None:
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise refusal
        self.records.append(record)
        self._waiting.append((record, on_delivery))

    def poll(self) -> None:
        waiting, self._waiting = self._waiting, []
        for record, report in waiting:
            error = self.answer(record)
            if error is None:
                self.acknowledged.append(record)
            if report is not None:
                report(error)

    def flush(self, timeout_s: float) -> int:
        self.poll()
        return len(self._waiting)

    def close(self) -> None:
        self._waiting.clear()


def a_task(agent: str = "answer", **fields: Any) -> Task:
    event = Event(
        id="e-1",
        source="/shop",
        type="ticket.created",
        subject="t-1",
        time=instant(START),
        data=fields.pop("data", {"ticket_id": "t-1", "body": "where is my card"}),
        **fields.pop("event", {}),
    )
    known: dict[str, Any] = {
        "task_id": f"{event.case_id}:{agent.replace('-', '_')}",
        "case_id": event.case_id,
        "workflow": "ticket",
        "workflow_version": "1",
        "step": agent.replace("-", "_"),
        "agent": agent,
        "attempt": 1,
        "event": event,
        "timeout_s": 10.0,
        "deadline": instant(START + 3600),
        "reply_to": INBOX,
    }
    return Task(**{**known, **fields})


def a_message(value: Task | bytes | None, offset: int = 0, **fields: Any) -> Message:
    known: dict[str, Any] = {
        "topic": "cw.tasks.answer",
        "partition": 0,
        "offset": offset,
        "timestamp_ms": int(START * 1000),
        "key": b"t-1",
        "value": value.to_json() if isinstance(value, Task) else value,
        "headers": (
            ("ce_id", b"x"),
            ("ce_type", b"caseworks.task"),
            ("ce_subject", b"t-1"),
            ("traceparent", b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
        ),
    }
    return Message(**{**known, **fields})


@dataclass
class Workbench:
    """One agent on a virtual event loop."""

    function: Callable[..., Any]
    limits: dict[str, Any] = field(default_factory=dict)
    work: WorkLimits = field(default_factory=WorkLimits)
    model: ModelPort = NO_MODEL

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.loop = VirtualLoop(self.clock)
        self.producer = Recorder()
        self.telemetry = metrics.Prometheus()
        self.agent = Agent.from_function(self.function, **self.limits)
        self.dependencies = Dependencies(self.clock, telemetry=self.telemetry)
        self.services = Services(
            producer=self.producer,
            now=self.clock,
            dependencies=self.dependencies,
            threads=Inline(),
            worker="w-1",
            model=self.model,
            telemetry=self.telemetry,
            limits=self.work,
        )
        self.desk = Desk(self.agent, self.services, handler_of())
        self.crew = Crew(self.desk, self.loop)

    def advance(self, seconds: float) -> None:
        """Let time pass, every timer at its time."""
        self.loop.run_ready()
        until = self.clock.now + seconds
        while (due := self.loop.next_timer()) is not None and due <= until:
            self.clock.now = max(due, self.clock.now)
            self.loop.run_ready()
        self.clock.now = until
        self.loop.run_ready()

    def run(self, *messages: Message, seconds: float = 0.0) -> list[Outcome]:
        """Run jobs, let time pass, and return the outcomes so far."""
        self.crew.begin([Job(message) for message in messages])
        self.advance(seconds)
        self.producer.poll()
        return self.outcomes()

    def run_task(self, seconds: float = 0.0, **fields: Any) -> Outcome:
        """Run one task of the agent; returns its only outcome."""
        [outcome] = self.run(a_message(a_task(self.agent.name, **fields)), seconds=seconds)
        return outcome

    def outcomes(self) -> list[Outcome]:
        """What went to the inbox, progress aside."""
        return [
            Outcome.from_json(record.value or b"")
            for record in self.producer.records
            if dict(record.headers)["ce_type"] == b"caseworks.outcome"
        ]
