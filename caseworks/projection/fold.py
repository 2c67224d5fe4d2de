"""Records of Kafka as rows of the projection. Pure: no clock, no file, no broker.

A `Batch` folds the records of one read: of a case only its last state is left, and what its
earlier ones said that the last does not (`moments`). Records of one partition come in order;
partitions come in any: a row says the same whichever of a case's result and state was read first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from caseworks.approvals import read_approval
from caseworks.dead_mail.letters import DLQ, agent_of, case_id_of, dead_of, kind_of
from caseworks.projection.glance import (
    ResultGlance,
    StateGlance,
    read_mark,
    read_result,
    read_state,
    read_steps,
)
from caseworks.projection.measures import nanousd_of
from caseworks.projection.moments import is_passing
from caseworks.projection.schema import LOG_CLOSED, LOG_MARK, LOG_NONE, LOG_OPEN
from caseworks.projection.shorten import BODY_BYTES_MAX, shortened
from caseworks.projection.tallies import Tallies
from events.broker import Message
from events.topics import Topics
from schemas.approval import ApprovalEnded, ApprovalRequested
from schemas.feedback import Feedback
from schemas.lean_case import CASE_VERSION, CLOSED
from schemas.letter_audit import LetterHandled

TEXT_CHARS_MAX = 2_000
"""Of an error or a reason; the letter itself has the whole."""
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
"""What a record makes of reading it that is not as it should be: amounts, versions, depth."""
_MARK = b'{"closed":'
_POSITION_KEY = b"\0pos"
_HANDLED = {"replay": "replayed", "drop": "dropped"}


@dataclass(slots=True)
class CasePatch:
    """What a batch knows of a case; `None` leaves a column as it is. Times in milliseconds."""

    case_id: str
    updated: int = 0
    log: int | None = None
    status: str | None = None
    value: bytes | None = None
    """The last whole state, undecoded until all records of the batch were seen."""
    written: int = 0
    """When that was."""
    closed: int | None = None
    opened: int | None = None
    workflow: str | None = None
    tenant: str | None = None
    subject: str | None = None
    type: str | None = None
    nanousd: int | None = None
    confidence: float | None = None
    degraded: int | None = None
    state: bytes | None = None
    result: bytes | None = None
    gone: bool = False
    """Its changelog holds nothing any more."""
    passing: list[tuple[bytes, int]] = field(default_factory=list)
    """States with moments that may not be told by a later one, and when they were written."""
    results: list[tuple[ResultGlance, bytes]] = field(default_factory=list)
    """Those of the batch, in order; all but the first of a case amend the one before."""


@dataclass(slots=True)
class Batch:
    """The records of one read, folded."""

    topics: Topics
    cases: dict[str, CasePatch] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    """Cases whose page changed beside themselves: a question, a letter."""
    parts: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    notes: dict[str, bytes | None] = field(default_factory=dict)
    control: dict[str, bytes | None] = field(default_factory=dict)
    asked: list[tuple[object, ...]] = field(default_factory=list)
    """In their order: rows of `approvals`, and ends of questions as (status, by, id)."""
    letters: list[tuple[object, ...]] = field(default_factory=list)
    handled: list[tuple[object, ...]] = field(default_factory=list)
    feedback: list[tuple[object, ...]] = field(default_factory=list)
    tallies: Tallies = field(default_factory=Tallies)
    count: int = 0
    skipped: dict[tuple[str, str], int] = field(default_factory=dict)
    """Records that nobody can read, by topic and reason."""
    _folds: dict[str, Callable[[Batch, Message], None]] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        """Fold a record in. One that cannot be read is counted, and changes nothing."""
        self.count += 1
        topic = message.topic
        fold = self._folds.get(topic)
        if fold is None:
            fold = self._folds[topic] = _folding(topic, self.topics)
        try:
            fold(self, message)
        except UNREADABLE as error:
            self.skip(topic, type(error).__name__)

    def finish(self) -> None:
        """Decode the last state of each case; call it once, after the last record."""
        for patch in self.cases.values():
            if patch.value is None:
                continue
            try:
                _take_state(patch, read_state(patch.value), patch.value)
            except UNREADABLE as error:
                self.skip(self.topics.cases, type(error).__name__)
                patch.log = patch.status = None

    def skip(self, topic: str, reason: str) -> None:
        """Count a record that was not understood."""
        self.skipped[topic, reason] = self.skipped.get((topic, reason), 0) + 1

    def patch(self, case_id: str, at_ms: int) -> CasePatch:
        """What the batch knows of this case, made when it knows nothing yet."""
        found = self.cases.get(case_id)
        if found is None:
            found = self.cases[case_id] = CasePatch(case_id)
        found.updated = max(found.updated, at_ms)
        return found


Fold = Callable[[Batch, Message], None]


def _folding(topic: str, topics: Topics) -> Fold:
    """How the records of a topic are read."""
    if topic == topics.cases:
        return _changelog
    if topic.endswith(DLQ):
        return _letter
    if topic == topics.approvals:
        return _approval
    if topic == topics.letter_audit:
        return _audit
    if topic == topics.control:
        return _control
    if topic == topics.feedback:
        return _feedback
    return _result


# --- the changelog


def _changelog(batch: Batch, message: Message) -> None:
    key, value = message.key or b"", message.value
    if key[:1] == b"\0":
        if key != _POSITION_KEY:
            batch.notes[_text(key[1:])] = value
    elif key[:1] == b"@":
        return  # an entity of its own: a correlation, a flock, a shelf
    elif b"/" in key:
        case_id, _, name = _text(key).partition("/")
        batch.parts[case_id, name] = value and _kept(message, value)
    else:
        _state(batch.patch(_text(key), message.timestamp_ms), message, value)


def _state(patch: CasePatch, message: Message, value: bytes | None) -> None:
    if value is None:
        patch.log, patch.gone = LOG_NONE, True
        patch.value = patch.state = None
        patch.passing.clear()
    elif value.startswith(_MARK):
        mark = read_mark(value)
        _check_version(mark.v)
        patch.log, patch.gone = LOG_MARK, False
        patch.status, patch.closed = mark.status, round(mark.closed * 1000)
    else:
        if patch.value is not None and is_passing(read_steps(patch.value).steps):
            patch.passing.append((patch.value, patch.written))
        patch.value, patch.gone = value, False
        patch.written = message.timestamp_ms
        patch.log, patch.status, patch.closed = LOG_OPEN, None, None
        patch.state = _kept(message, value)


def _take_state(patch: CasePatch, state: StateGlance, value: bytes) -> None:
    """The columns of a whole state; a mark that followed it has said how the case stands."""
    _check_version(state.v)
    event = state.event
    patch.workflow, patch.type = state.workflow, event.type
    patch.subject, patch.tenant = event.subject, event.tenant
    patch.opened = round(state.opened * 1000)
    if state.usage is not None:
        patch.nanousd = max(patch.nanousd or 0, nanousd_of(state.usage.usd))
    if patch.log == LOG_OPEN:
        patch.status = state.status
        if state.status in CLOSED:
            patch.log = LOG_CLOSED
            patch.closed = round((state.closed or state.opened) * 1000)
    if is_passing(state.steps):
        patch.passing.append((value, patch.written))


def _check_version(version: int) -> None:
    if version > CASE_VERSION:
        raise LookupError(f"version {version}")


# --- results


def _result(batch: Batch, message: Message) -> None:
    value = message.value or b""
    result = read_result(value)
    opened = round(result.opened_at.timestamp() * 1000)
    closed = round(result.closed_at.timestamp() * 1000)
    kept = _kept(message, value)
    patch = batch.patch(result.case_id, message.timestamp_ms)
    tenant = message.header("ce_tenant")
    if result.amends is None:
        batch.tallies.add(result, tenant, opened, closed)
    patch.results.append((result, kept))
    patch.result = kept
    patch.workflow, patch.type = result.workflow, result.event.type
    patch.subject, patch.opened = result.event.subject, opened
    patch.tenant = tenant
    patch.nanousd = max(patch.nanousd or 0, nanousd_of(result.usage.usd))
    patch.confidence, patch.degraded = result.confidence, int(bool(result.degraded))
    if patch.log is None or patch.log == LOG_NONE:
        patch.status, patch.closed = result.status, closed


# --- beside cases


def _approval(batch: Batch, message: Message) -> None:
    match read_approval(message):
        case ApprovalRequested() as request:
            batch.asked.append(
                (
                    request.approval_id,
                    request.case_id,
                    message.header("ce_tenant"),
                    "open",
                    round(request.asked_at.timestamp() * 1000),
                    round(request.expires_at.timestamp() * 1000),
                    _kept(message, message.value or b""),
                    "[]",
                )
            )
            batch.touched.add(request.case_id)
        case ApprovalEnded() as ended:
            by = json.dumps([ended.by] if ended.by else [])
            batch.asked.append((ended.ending, by, ended.approval_id))
            batch.touched.add(ended.case_id)
        case None:
            raise ValueError("no question, and no end of one")


def _letter(batch: Batch, message: Message) -> None:
    dead = dead_of(message)
    letter, topics = dead.letter, batch.topics
    case_id = case_id_of(message, kind_of(message.topic, topics)) or letter.case_id
    batch.letters.append(
        (
            _place(message),
            message.topic,
            agent_of(message.topic, topics) or None,
            letter.reason[:TEXT_CHARS_MAX],
            letter.error[:TEXT_CHARS_MAX],
            message.timestamp_ms,
            case_id or None,
            letter.task_id,
            message.header("ce_tenant"),
            letter.attempts,
            letter.replays,
            len(message.value or b""),
        )
    )
    if case_id:
        batch.touched.add(case_id)


def _audit(batch: Batch, message: Message) -> None:
    if message.header("ce_type") != LetterHandled.ce_type:
        return  # the beginning of a run
    handled = LetterHandled.from_json(message.value or b"")
    at = round(handled.at.timestamp() * 1000)
    place = handled.place.replace(":", "/")
    batch.handled.append((place, _HANDLED[handled.action], at, handled.by))
    if handled.case_id:
        batch.touched.add(handled.case_id)


def _feedback(batch: Batch, message: Message) -> None:
    said = Feedback.from_json(message.value or b"")
    at = round(said.at.timestamp() * 1000)
    kept = _kept(message, said.to_compact_json())
    batch.feedback.append((said.feedback_id, said.case_id, at, kept))
    batch.touched.add(said.case_id)


def _control(batch: Batch, message: Message) -> None:
    key = _text(message.key or b"")
    if key.startswith(("breaker:", "pause:")):
        if message.value is not None and not isinstance(msgspec.json.decode(message.value), dict):
            raise ValueError("no decision")
        batch.control[key] = message.value


def _kept(message: Message, value: bytes) -> bytes:
    """What is kept of a value that this message carries."""
    return value if len(value) <= BODY_BYTES_MAX else shortened(value, _place(message))


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _place(message: Message) -> str:
    return f"{message.topic}/{message.partition}/{message.offset}"
