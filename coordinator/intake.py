"""Intake: business events in, `opened` commands (or dead letters) out. Stateless and pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from coordinator.turn import UNKNOWN, Turn
from coordinator.workflow import Plan
from events.broker import LogEnds, Message, Record, TopicPartition
from events.dead_letters import dead_letter_record, letter_for
from events.envelope import read_event, record_of, travelling_of
from events.errors import PayloadError
from events.topics import Topics
from schemas.base import instant
from schemas.commands import Opened
from schemas.event import Event

OPENED_BYTES_MAX = 6 * 1024 * 1024
"""An event that grows beyond this when written as a command is refused as too large."""


class Intake:
    """A `Processor` over the business events."""

    name = "intake"
    changelog: str | None = None

    def __init__(
        self,
        topics: Topics,
        plans: Sequence[Plan],
        data_types: Mapping[str, TypeAdapter[Any]],
        event_bytes_max: int,
    ) -> None:
        """*data_types*: by event type, what its data must be."""
        self.topics = topics
        self.plan_of = {event_type: plan for plan in plans for event_type in plan.spec.on}
        self.data_types = data_types
        self.event_bytes_max = event_bytes_max
        self.source = f"caseworks/{topics.namespace}"

    def plan(
        self, messages: Sequence[Message], ready: Mapping[TopicPartition, int | None], now: float
    ) -> Turn | None:
        """One `opened` per good event, one dead letter per other record."""
        del ready
        if not messages:
            return None
        turn = Turn()
        for message in messages:
            turn.positions[TopicPartition(message.topic, message.partition)] = message.offset + 1
            try:
                turn.records.append(self._open(message, turn, now))
            except PayloadError as error:
                self._refuse(turn, message, error.reason, str(error))
            except Exception as error:  # noqa: BLE001 - a user's validator may raise anything
                self._refuse(turn, message, "schema", f"{type(error).__name__}: {error}")
        return turn

    def reject(self, message: Message, now: float, error: str) -> Turn:
        """Set aside one event whose transaction always aborts."""
        del now
        turn = Turn()
        turn.positions[message.source] = message.offset + 1
        self._refuse(turn, message, "rejected", error)
        return turn

    def _open(self, message: Message, turn: Turn, now: float) -> Record:
        event = read_event(message, self.event_bytes_max)
        plan = self.plan_of.get(event.type)
        if plan is None:
            known = ", ".join(sorted(self.plan_of))
            raise PayloadError("unknown_type", f"no workflow takes {event.type!r} (known: {known})")
        self._check_data(event)
        case_id = event.case_id
        opened = Opened(
            case_id=case_id,
            workflow=plan.name,
            workflow_version=plan.spec.version,
            event=event,
            accepted_at=instant(now),
        )
        record = self._record(opened, event, now)
        turn.count("caseworks_events_accepted_total", type=event.type)
        return record

    def _record(self, opened: Opened, event: Event, now: float) -> Record:
        try:
            record = record_of(
                opened,
                Opened.ce_type,
                topic=self.topics.inbox,
                key=opened.case_id,
                ce_id=f"{opened.case_id}:opened",
                source=self.source,
                now=now,
                travelling=travelling_of(event),
            )
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise PayloadError("not_json", f"cannot be written as JSON again: {error}") from None
        if record.value is not None and len(record.value) > OPENED_BYTES_MAX:
            raise PayloadError("too_large", f"{len(record.value)} bytes as a command")
        return record

    def _check_data(self, event: Event) -> None:
        try:
            self.data_types[event.type].validate_python(event.data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in ("data", *first["loc"]))
            raise PayloadError("schema", f"{place}: {first['msg']}") from None

    def _refuse(self, turn: Turn, message: Message, reason: str, error: str) -> None:
        topic = self.topics.dlq(self.topics.events)
        group = self.topics.loop_group(self.name)
        letter = letter_for(message, reason, error=error, error_type="PayloadError", group=group)
        turn.records.append(dead_letter_record(message, topic, letter))
        turn.count("caseworks_events_rejected_total", reason=reason)
        turn.count("caseworks_dead_letters_total", topic=topic, reason=reason)

    # --- a loop without state

    def adopt(self, source: TopicPartition) -> int:
        """Never asked: there is no changelog."""
        raise AssertionError(source)

    def restore(self, source: TopicPartition, messages: Sequence[Message], upto: int) -> None:
        """Never asked: there is no changelog."""
        raise AssertionError((source, len(messages), upto))

    def restored(self, source: TopicPartition, committed: int | None) -> int | None:
        """Go on where the group stopped."""
        del source
        return committed

    def promote(self, turn: Turn, ends: LogEnds = UNKNOWN) -> None:
        """Nothing to change."""

    def drop(self, turn: Turn) -> None:
        """Nothing to forget."""
