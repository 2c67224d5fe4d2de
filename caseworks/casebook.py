"""What can be known of cases from their changelog and their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from caseworks.client import Delivered, delivered
from caseworks.scan import partition_counts, partitions_of, records, results_topics
from events.broker import Broker, LogReader, Message, TopicPartition
from events.errors import SetupError
from events.partitioner import partition_of
from events.settings import Settings
from schemas.case import CLOSED, Case, ClosedCase, StepState
from schemas.result import Result, StepReport

POSITION_KEY = b"\x00pos"


@dataclass(frozen=True, slots=True)
class Found:
    """A case: its last whole state, its mark when closed, its results in order."""

    case_id: str
    case: Case | None = None
    closed: ClosedCase | None = None
    results: tuple[Delivered, ...] = ()

    @property
    def status(self) -> str:
        """The newest that is known."""
        if self.results:
            return self.results[-1].result.status
        if self.closed is not None:
            return self.closed.status
        return self.case.status if self.case is not None else "unknown"


def read_state(message: Message) -> Case | ClosedCase | None:
    """A record of `cases`; `None` for what is no case: a position, a tombstone."""
    if message.key is None or message.key == POSITION_KEY or message.value is None:
        return None
    if b'"event"' in message.value:
        return Case.from_json(message.value)
    return ClosedCase.from_json(message.value)


def find(broker: Broker, settings: Settings, case_id: str) -> Found | None:
    """Everything about one case; `None` when nobody ever heard of it."""
    counts = partition_counts(broker)
    topics = settings.topics
    [source] = _home(counts, topics.cases, case_id)
    case: Case | None = None
    closed: ClosedCase | None = None
    with closing(broker.reader()) as reader:
        for message in records(reader, source):
            if message.key == case_id.encode():
                match read_state(message):
                    case Case() as found:
                        case, closed = found, None
                    case ClosedCase() as found:
                        closed = found
        if case is not None and closed is None and case.status not in CLOSED:
            return Found(case_id, case)
        results = tuple(_results(reader, settings, counts, case_id, case))
    if case is None and closed is None and not results:
        return None
    return Found(case_id, case, closed, results)


def _home(counts: dict[str, int], topic: str, key: str) -> list[TopicPartition]:
    partitions = len(partitions_of(counts, [topic]))
    return [TopicPartition(topic, partition_of(key.encode(), partitions))]


def _results(
    reader: LogReader,
    settings: Settings,
    counts: dict[str, int],
    case_id: str,
    case: Case | None,
) -> Iterator[Delivered]:
    """Results of a case: on one partition when its event is known, else wherever they are."""
    if case is not None:
        topic = settings.topics.results(case.workflow)
        sources = _home(counts, topic, case.event.subject or case.event.id)
    else:
        sources = partitions_of(counts, results_topics(counts, settings.topics))
    needle = case_id.encode()
    for source in sources:
        for message in records(reader, source):
            if message.value is not None and needle in message.value:
                found = delivered(message)
                if found.result.case_id == case_id:
                    yield found


def open_cases(broker: Broker, settings: Settings) -> list[Case]:
    """Every case that is open now, the oldest first. Reads the whole changelog."""
    counts = partition_counts(broker)
    held: dict[str, Case] = {}
    with closing(broker.reader()) as reader:
        for source in partitions_of(counts, [settings.topics.cases]):
            for message in records(reader, source):
                _hold(held, message)
    return sorted(held.values(), key=lambda case: case.opened)


def _hold(held: dict[str, Case], message: Message) -> None:
    if message.key is None or message.key == POSITION_KEY:
        return
    state = read_state(message)
    if isinstance(state, Case) and state.status not in CLOSED:
        held[state.case_id] = state
    else:
        held.pop(message.key.decode(errors="replace"), None)


# --- what happened, step by step


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened in a case."""

    at: float
    what: str
    step: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        told = datetime.fromtimestamp(self.at, UTC).isoformat().replace("+00:00", "Z")
        return {"at": told, "what": self.what, "step": self.step, "detail": self.detail}


@dataclass(slots=True)
class Timeline:
    """Turns successive states of one case into what happened between them."""

    case: Case | None = None
    seen: dict[str, StepState] = field(default_factory=dict)

    def changed(self, case: Case, at: float) -> list[Moment]:
        """What is new in this state; *at* is when it was written, seconds since the epoch."""
        told: list[Moment] = []
        if self.case is None:
            told.append(Moment(case.opened, "opened", detail=f"{case.workflow} {case.event.type}"))
        for name, step in case.steps.items():
            before = self.seen.get(name)
            if before is None or (before.status, before.attempt) != (step.status, step.attempt):
                told += _step_moments(name, step, at)
            self.seen[name] = step
        self.case = case
        return told

    def answered(self, result: Result) -> list[Moment]:
        """What a result tells beyond the states that were seen: steps that ended with it."""
        at = result.closed_at.timestamp()
        told = [
            Moment(at, report.status, name, _report(report))
            for name, report in result.steps.items()
            if name not in self.seen or self.seen[name].status != report.status
        ]
        return [*told, Moment(at, result.status, detail=result.reason or "")]


def _report(report: StepReport) -> str:
    sure = f"confidence {report.confidence:.2f}" if report.confidence is not None else ""
    took = f"{report.ms} ms" if report.ms else ""
    return ", ".join(part for part in (took, sure, report.error or "") if part)


def _step_moments(name: str, step: StepState, at: float) -> list[Moment]:
    match step.status:
        case "waiting":
            return []
        case "sent":
            detail = f"to {step.agent}" + (f", attempt {step.attempt}" if step.attempt > 1 else "")
            return [Moment(at, "sent", name, detail)]
        case "retrying":
            why = step.error.message if step.error else ""
            return [Moment(at, "will retry", name, why)]
        case "done":
            took = f"{ms:.0f} ms" if (ms := took_ms(step)) is not None else ""
            sure = f"confidence {step.confidence:.2f}" if step.confidence is not None else ""
            return [Moment(step.ended or at, "done", name, ", ".join(filter(None, (took, sure))))]
        case _:
            why = step.error.message if step.error else ""
            return [Moment(step.ended or at, step.status, name, why)]


def took_ms(step: StepState) -> float | None:
    """From the first send to the end, in milliseconds; `None` while it is not over."""
    if step.ended is None or step.first_sent is None:
        return None
    return (step.ended - step.first_sent) * 1000


def need(found: Found | None, case_id: str) -> Found:
    """The case, or one clear error."""
    if found is None:
        raise SetupError(
            f"no case {case_id} is known here",
            hint="caseworks case list; results are kept for 30 days",
        )
    return found
