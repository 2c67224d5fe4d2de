"""The records that answer attempts: what an agent's worker says to the cases that asked.

Nearly all outcomes are `done`. Their bytes are put together around the output as it was written
when it was checked, so that no output is written twice; fields that hold their default are left
out. Everything else goes the way of the model.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from struct import Struct as Packed
from typing import Any, assert_never
from zlib import crc32

import msgspec
from pydantic import PositiveInt

from agents.agent import Agent
from agents.delegation import Delegate, asked_of
from agents.outcomes import (
    MESSAGE_CHARS_MAX,
    Deferred,
    Done,
    Escalate,
    Failed,
    Halted,
    Retry,
    Verdict,
)
from agents.services import Services
from events.broker import Message, Record
from events.envelope import headers_of, rfc3339, travelling_from
from events.logs import get_logger
from events.metrics import Add
from schemas.base import Message as Model
from schemas.base import Name, instant
from schemas.lean import LeanTask
from schemas.outcome import Delivery, Failure, Outcome, OutcomeStatus
from schemas.task import ReplyTo
from schemas.usage import NOTHING, Usage

_WITH_TASK: frozenset[OutcomeStatus] = frozenset(("failed", "halted", "retry"))
_DONE = (
    b'{"task_id":%b,"case_id":%b,"agent":%b,"attempt":%d,"status":"done","output":%b,'
    b'"confidence":%b,%b"agent_version":%b,"worker":%b,'
    b'"delivery":{"topic":%b,"partition":%d,"offset":%d,"timestamp":"%b"},'
    b'"started_at":"%b","finished_at":"%b"}'
)
_SURE = b"1.0"
_run = Packed("<iqq").pack
_written = msgspec.json.Encoder().encode

_log = get_logger("caseworks.worker")


class Asker(Model):
    """Who asked for an attempt, and where the answer goes: what can be read of most tasks."""

    task_id: str
    case_id: str
    agent: Name
    attempt: PositiveInt
    reply_to: ReplyTo


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """What there is to tell of an attempt besides its verdict; times in epoch seconds."""

    message: Message
    usage: Usage
    started: float
    finished: float


class Answers:
    """Writes the outcomes of one agent, and counts them."""

    def __init__(self, agent: Agent, services: Services) -> None:
        self._agent = agent
        self._services = services
        self._source = services.source
        self._unique = crc32(services.worker.encode())
        self._counted: dict[OutcomeStatus, Add] = {}
        self._took = services.telemetry.observer("caseworks_task_seconds", agent=agent.name)
        self._name, self._version, self._worker = (
            _written(each) for each in (agent.name, agent.spec.version, services.worker)
        )

    def done(self, asker: LeanTask, output: bytes, confidence: float, attempt: Attempt) -> Record:
        """The outcome of an attempt that gave this output, written as JSON."""
        self._count("done", attempt)
        usage = attempt.usage
        topic, partition, offset, timestamp_ms = attempt.message[:4]
        value = _DONE % (
            _written(asker.task_id),
            _written(asker.case_id),
            self._name,
            asker.attempt,
            output,
            _SURE if confidence == 1.0 else repr(confidence).encode(),
            b""
            if usage is NOTHING or usage.is_nothing
            else b'"usage":%b,' % usage.to_compact_json(),
            self._version,
            self._worker,
            _name(topic),
            partition,
            offset,
            _stamp(timestamp_ms),
            rfc3339(attempt.started),
            (ended := rfc3339(attempt.finished)),
        )
        return self._record(asker, value, attempt, ended)

    def outcome(self, asker: LeanTask | Asker, verdict: Verdict, attempt: Attempt) -> Record:
        """The outcome of an attempt that ended in any way."""
        status, said = _said(verdict)
        self._count(status, attempt)
        message = attempt.message
        outcome = Outcome.trusted(
            task_id=asker.task_id,
            case_id=asker.case_id,
            agent=asker.agent,
            attempt=asker.attempt,
            status=status,
            usage=attempt.usage,
            agent_version=self._agent.spec.version,
            worker=self._services.worker,
            delivery=Delivery.trusted(
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                timestamp=instant(message.timestamp_ms / 1000),
            ),
            started_at=instant(attempt.started),
            finished_at=instant(attempt.finished),
            **said,
        )
        if status in _WITH_TASK:
            full = outcome.evolve(task=message.value).to_json()
            if len(full) <= self._services.limits.outcome_bytes_max:
                return self._record(asker, full, attempt, rfc3339(attempt.finished))
            _log.warning(
                "task_too_large_for_its_outcome", agent=self._agent.name, case_id=asker.case_id
            )
        return self._record(asker, outcome.to_json(), attempt, rfc3339(attempt.finished))

    def _record(
        self, asker: LeanTask | Asker, value: bytes, attempt: Attempt, ended: bytes
    ) -> Record:
        message, reply_to = attempt.message, asker.reply_to
        run = _run(message.partition, message.offset, int(attempt.started * 1e6))
        unique = crc32(run, self._unique)
        ce_id = b"%b:%d:%08x" % (asker.task_id.encode(), asker.attempt, unique)
        headers = headers_of(Outcome.ce_type, self._source, ce_id, ended)
        return Record(
            reply_to.topic,
            asker.case_id.encode(),
            value,
            headers + travelling_from(message),
            reply_to.partition,
        )

    def _count(self, status: OutcomeStatus, attempt: Attempt) -> None:
        counted = self._counted.get(status)
        if counted is None:
            counted = self._counted[status] = self._services.telemetry.counter(
                "caseworks_tasks_total", agent=self._agent.name, status=status
            )
        counted(1)
        self._took(attempt.finished - attempt.started)


@cache
def _name(topic: str) -> bytes:
    """A topic as JSON; an agent has two."""
    return _written(topic)


@lru_cache(maxsize=256)  # tasks of one batch are of few different milliseconds
def _stamp(timestamp_ms: int) -> bytes:
    return rfc3339(timestamp_ms / 1000)


def plain(text: object) -> str:
    """Text that UTF-8 can hold, shortened."""
    return str(text)[:MESSAGE_CHARS_MAX].encode("utf-8", "replace").decode()


def _said(verdict: Verdict) -> tuple[OutcomeStatus, dict[str, Any]]:
    """A verdict as status and fields of an outcome."""
    match verdict:
        case Done(output, confidence):
            return "done", {"output": output, "confidence": confidence}
        case Failed(kind, message):
            return "failed", {"error": _failure(kind, message)}
        case Retry(kind, message, retry_after_s):
            return "retry", {"error": _failure(kind, message, retry_after_s)}
        case Deferred(kind, message, retry_after_s):
            return "deferred", {"error": _failure(kind, message, retry_after_s)}
        case Halted(kind, message, trace):
            lines = tuple(plain(line) for line in trace)
            return "halted", {"error": _failure(kind, message), "trace": lines}
        case Escalate(reason):
            return "escalate", {"error": _failure("escalated", reason)}
        case Delegate():
            try:
                return "delegate", {"delegates": asked_of(verdict)}
            except ValueError as error:
                return "failed", {"error": _failure("invalid_delegation", error)}
        case _:
            assert_never(verdict)


def _failure(kind: object, message: object, retry_after_s: object = None) -> Failure:
    """What an agent said, made fit for the wire: agents say anything."""
    wait_s = retry_after_s if isinstance(retry_after_s, (int, float)) else None
    if wait_s is not None and not (math.isfinite(wait_s) and wait_s >= 0):
        wait_s = None
    return Failure(kind=plain(kind)[:64], message=plain(message), retry_after_s=wait_s)
