"""Intake: business events in, commands (or dead letters) out. Stateless and pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from coordinator.flock import flock_of
from coordinator.turn import UNKNOWN, Adopted, Turn
from coordinator.workflow import Plan
from events.broker import LogEnds, Message, Record, TopicPartition
from events.dead_letters import dead_letter_record, letter_for
from events.envelope import read_event, record_of, travelling_of
from events.errors import PayloadError
from events.topics import Topics
from schemas.base import instant
from schemas.commands import Correlated, Opened, correlation_id_of
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
        self.waited_for = frozenset(event_type for plan in plans for event_type in plan.waits)
        self.data_types = data_types
        self.event_bytes_max = event_bytes_max
        self.source = f"caseworks/{topics.namespace}"

    def plan(
        self, messages: Sequence[Message], ready: Mapping[TopicPartition, int | None], now: float
    ) -> Turn | None:
        """One `opened` or `correlated` per good event, one dead letter per other record."""
        del ready
        if not messages:
            return None
        turn = Turn()
        for message in messages:
            turn.positions[TopicPartition(message.topic, message.partition)] = message.offset + 1
            try:
                turn.records += self._accept(message, turn, now)
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

    def check(self, message: Message, now: float) -> Event:
        """The event in a record that would be accepted. Raises what `plan` refuses it for.

        For doors in front of the topic: what passes here passes there.
        """
        event = read_event(message, self.event_bytes_max)
        self._commands(event, now)
        return event

    def _accept(self, message: Message, turn: Turn, now: float) -> list[Record]:
        event = read_event(message, self.event_bytes_max)
        accepted = self._commands(event, now)
        turn.count("caseworks_events_accepted_total", type=event.type)
        return accepted

    def _commands(self, event: Event, now: float) -> list[Record]:
        """An event that opens a case and is waited for by others does both."""
        plan, waited_for = self.plan_of.get(event.type), event.type in self.waited_for
        if plan is None and not waited_for:
            known = ", ".join(sorted({*self.plan_of, *self.waited_for}))
            raise PayloadError("unknown_type", f"no workflow takes {event.type!r} (known: {known})")
        if plan is None and not event.subject:
            text = f"cases wait for {event.type!r} by its subject, and it has none"
            raise PayloadError("no_subject", text)
        self._check_data(event)
        accepted = []
        if plan is not None:
            accepted.append(self._opened(event, plan, now))
        if waited_for and event.subject:
            accepted.append(self._correlated(event, event.subject, now))
        return accepted

    def _opened(self, event: Event, plan: Plan, now: float) -> Record:
        case_id = event.case_id
        opened = Opened.trusted(
            case_id=case_id,
            workflow=plan.name,
            workflow_version=plan.spec.version,
            event=event,
            accepted_at=instant(now),
            flock=flock_of(event, plan),
        )
        return self._record(opened, f"{case_id}:opened", now)

    def _correlated(self, event: Event, subject: str, now: float) -> Record:
        correlated = Correlated(case_id=correlation_id_of(event.type, subject), event=event)
        return self._record(correlated, f"{event.case_id}:correlated", now)

    def _record(self, command: Opened | Correlated, ce_id: str, now: float) -> Record:
        try:
            record = record_of(
                command,
                command.ce_type,
                topic=self.topics.inbox,
                key=command.case_id,
                ce_id=ce_id,
                source=self.source,
                now=now,
                travelling=travelling_of(command.event),
            )
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise PayloadError("not_json", f"cannot be written as JSON again: {error}") from None
        if record.value is not None and len(record.value) > OPENED_BYTES_MAX:
            raise PayloadError("too_large", f"{len(record.value)} bytes as a command")
        return record

    def _check_data(self, event: Event) -> None:
        data_type = self.data_types.get(event.type)
        if data_type is None:
            return
        try:
            data_type.validate_python(event.data)
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

    def adopt(self, source: TopicPartition, end: int, now: float) -> Adopted:
        """Never asked: there is no changelog."""
        raise AssertionError((source, end, now))

    def restore(self, source: TopicPartition, messages: Sequence[Message], upto: int) -> None:
        """Never asked: there is no changelog."""
        raise AssertionError((source, len(messages), upto))

    def abandon(self, source: TopicPartition) -> None:
        """Never asked: there is no state."""
        raise AssertionError(source)

    def restored(self, source: TopicPartition, committed: int | None) -> int | None:
        """Go on where the group stopped."""
        del source
        return committed

    def promote(self, turn: Turn, ends: LogEnds = UNKNOWN) -> None:
        """Nothing to change."""

    def drop(self, turn: Turn) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to free."""
