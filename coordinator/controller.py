"""The controller: what workers and people ask in, what holds for the whole fleet out.

One partition, so one decider at a time; the decisions (`{ns}.control`, compacted) are its changelog
and what every process reads. Pure: `TransactionalLoop` drives it like intake and orchestrator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from pydantic import ValidationError

from coordinator.breakers import BreakerLimits, lapsed, ordered, probe_wanted, reported
from coordinator.turn import UNKNOWN, Adopted, Turn
from events.broker import LogEnds, Message, TopicPartition
from events.envelope import WRITER, record_of
from events.errors import ChangelogError, PayloadError
from events.topics import Topics
from schemas.base import instant
from schemas.control import (
    CONTROL_VERSION,
    DECISIONS,
    REQUESTS,
    Breaker,
    BreakerOrder,
    BreakerReport,
    Decision,
    Pause,
    PauseOrder,
    ProbeWanted,
    Request,
)

BREAKERS_MAX = 1_000
"""Dependencies that the fleet may have; a request for another one is refused and counted."""


@dataclass(slots=True)
class Decided:
    """The state: every decision by its key. `kind:name` -> decision."""

    by_key: dict[str, Decision] = field(default_factory=dict)

    def breaker(self, dependency: str) -> Breaker:
        """The breaker of a dependency; closed when nothing was ever decided."""
        found = self.by_key.get(f"breaker:{dependency}")
        return found if isinstance(found, Breaker) else Breaker(dependency=dependency)


@dataclass(slots=True)
class ControlTurn(Turn):
    """The decisions of one turn, not yet those of the fleet."""

    decided: dict[str, Decision] = field(default_factory=dict)


class Controller:
    """A `Processor` over the requests."""

    name = "controller"

    def __init__(self, topics: Topics, writer_id: str, limits: BreakerLimits) -> None:
        """*writer_id* is the loop's transactional id."""
        self.topics = topics
        self.changelog: str | None = topics.control
        self.limits = limits
        self.state = Decided()
        self._headers = ((WRITER, writer_id.encode()),)
        self._log_offset = 0

    # --- restore

    def adopt(self, source: TopicPartition, end: int, now: float) -> Adopted:
        """The log of decisions is short: it is read on from where this controller was."""
        del source, now
        if self._log_offset > end:
            self.abandon(TopicPartition(self.topics.requests, 0))
            return Adopted(0, "ahead")
        return Adopted(self._log_offset)

    def abandon(self, source: TopicPartition) -> None:
        """Begin anew."""
        del source
        self.state, self._log_offset = Decided(), 0

    def restore(self, source: TopicPartition, messages: Sequence[Message], upto: int) -> None:
        """Take over decisions. Raises `ChangelogError` for one of a version that is not known."""
        del source
        for message in messages:
            model = DECISIONS.get(message.header("ce_type") or "")
            if model is None or message.value is None:
                continue  # the counts of open cases stand here too
            key = (message.key or b"").decode()
            self.state.by_key[key] = _read(model, message)
        self._log_offset = upto

    def restored(self, source: TopicPartition, committed: int | None) -> int | None:
        """Go on where the group stopped."""
        del source
        return committed

    # --- a turn

    def plan(
        self, messages: Sequence[Message], ready: Mapping[TopicPartition, int | None], now: float
    ) -> ControlTurn | None:
        """Decide what was asked for, and end leases that ran out."""
        turn = ControlTurn()
        for source, position in ready.items():
            self._lapse(turn, source, position or 0, now)
        for message in messages:
            turn.positions[message.source] = message.offset + 1
            try:
                self._decide(turn, message, now)
            except PayloadError as error:
                turn.count("caseworks_control_refused_total", reason=error.reason)
        if not turn.positions:
            return None
        self._write(turn, now)
        return turn

    def reject(self, message: Message, now: float, error: str) -> Turn:
        """A request that cannot be committed is worth nothing later: it is counted and passed."""
        del now, error
        turn = ControlTurn()
        turn.positions[message.source] = message.offset + 1
        turn.count("caseworks_control_refused_total", reason="rejected")
        return turn

    def promote(self, turn: Turn, ends: LogEnds = UNKNOWN) -> None:
        """What was decided holds."""
        assert isinstance(turn, ControlTurn)  # a loop gives back what `plan` made
        self.state.by_key.update(turn.decided)
        for end in ends.values():
            self._log_offset = end

    def drop(self, turn: Turn) -> None:
        """Nothing to undo: the overlay goes with the turn."""

    def close(self) -> None:
        """Nothing is held."""

    def _lapse(self, turn: ControlTurn, source: TopicPartition, position: int, now: float) -> None:
        for key, decision in self.state.by_key.items():
            ended = lapsed(decision, now) if isinstance(decision, Breaker) else None
            if ended is not None:
                turn.decided[key] = ended
                turn.positions[source] = position

    def _decide(self, turn: ControlTurn, message: Message, now: float) -> None:
        request = _request(message)
        if isinstance(request, PauseOrder):
            turn.decided[f"pause:{request.agent}"] = Pause(
                agent=request.agent,
                paused=request.paused,
                agent_version=request.agent_version,
                reason=request.why,
                by=request.by,
                at=instant(now),
            )
            return
        key = f"breaker:{request.dependency}"
        if key not in self.state.by_key and len(self.state.by_key) >= BREAKERS_MAX:
            raise PayloadError("too_many", f"more than {BREAKERS_MAX} dependencies")
        known = turn.decided.get(key)
        breaker = known if isinstance(known, Breaker) else self.state.breaker(request.dependency)
        moved = _moved(breaker, request, now, self.limits)
        if moved is not None:
            turn.decided[key] = moved

    def _write(self, turn: ControlTurn, now: float) -> None:
        for key, decision in turn.decided.items():
            record = record_of(
                decision,
                decision.ce_type,
                topic=self.topics.control,
                key=key,
                ce_id=f"{key}:{int(now * 1e6)}",
                source=f"caseworks/{self.topics.namespace}",
                now=now,
                partition=0,
            )
            turn.records.append(record._replace(headers=(*record.headers, *self._headers)))
            if isinstance(decision, Breaker):
                turn.count("caseworks_breaker_decisions_total", state=decision.state)


def _moved(
    breaker: Breaker,
    request: BreakerReport | ProbeWanted | BreakerOrder,
    now: float,
    limits: BreakerLimits,
) -> Breaker | None:
    match request:
        case BreakerReport():
            return reported(breaker, request, now, limits)
        case ProbeWanted():
            return probe_wanted(breaker, request, now, limits)
        case BreakerOrder():
            return ordered(breaker, request, now, limits)
        case _:
            assert_never(request)


def _request(message: Message) -> Request:
    """What a record asks for. Raises `PayloadError`."""
    model = REQUESTS.get(message.header("ce_type") or "")
    if model is None:
        raise PayloadError("unknown_request", f"ce_type {message.header('ce_type')!r}")
    try:
        return model.from_json(message.value or b"")
    except ValidationError:
        raise PayloadError("schema", "the request is not as its schema says") from None


def _read(model: type[Decision], message: Message) -> Decision:
    try:
        found = model.from_json(message.value or b"")
    except ValidationError:
        found = None
    if found is None or found.v > CONTROL_VERSION:
        raise ChangelogError(
            f"{message.topic}:{message.partition} offset {message.offset}: a decision that this "
            "version does not understand",
            hint="run the Caseworks that wrote it; until then no breaker moves",
        )
    return found
