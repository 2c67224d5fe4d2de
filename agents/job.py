"""One job: a task's record in, the records that answer it out. Nothing here waits or sends.

A task that does not decode goes to the agent's dead letters, bytes and headers untouched; when its
ids can be read, its case is told by a `failed` outcome as well.
"""

from __future__ import annotations

import math
from asyncio import get_running_loop
from collections.abc import Callable
from typing import Any, assert_never
from zlib import crc32

from pydantic import PositiveInt, ValidationError
from structlog.contextvars import bind_contextvars

from agents.agent import Agent
from agents.call import Call, Handler
from agents.context import Context
from agents.outcomes import (
    MESSAGE_CHARS_MAX,
    Deferred,
    Done,
    Escalate,
    Failed,
    Halted,
    Retry,
    Verdict,
    text_of,
)
from agents.services import Services
from agents.wrappers.checked_input import explained
from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.envelope import record_of, travelling_from
from events.errors import PayloadError
from events.logs import get_logger, trace_id_of
from events.topics import Topics
from schemas.base import Message as Model
from schemas.base import Name, instant
from schemas.outcome import Delivery, Failure, Outcome, OutcomeStatus
from schemas.task import ReplyTo, Task
from schemas.usage import NOTHING, Usage

UNDECODABLE = "undecodable"
"""Failure kind of a task that the worker itself put to the dead letters."""
_WITH_TASK: frozenset[OutcomeStatus] = frozenset(("failed", "halted", "retry"))

_log = get_logger("caseworks.worker")


class _Ids(Model):
    """What an outcome needs to reach its case; read from tasks that do not decode."""

    task_id: str
    case_id: str
    agent: Name
    attempt: PositiveInt
    reply_to: ReplyTo


class Desk:
    """Opens and answers the jobs of one agent."""

    def __init__(self, agent: Agent, services: Services, handler: Handler) -> None:
        self.agent = agent
        self.services = services
        self.handler = handler
        self._topics = Topics(services.namespace)

    def open(self, message: Message, clock: Callable[[], float]) -> Call:
        """The task in a record, ready for the handler. Raises `PayloadError`.

        `clock` gives monotonic seconds. Binds case and trace id to the lines of this asyncio task.
        """
        task = self._decoded(message)
        trace_id = trace_id_of(task.event.traceparent) if task.event.traceparent else None
        bind_contextvars(case_id=task.case_id, trace_id=trace_id)
        until = clock() + min(task.timeout_s, task.deadline.timestamp() - self.services.now())
        context = Context(
            task,
            self.agent.spec,
            self.services,
            clock=clock,
            run_until=until,
            message=message,
        )
        return Call(self.agent, task, context, self.services)

    def answer(self, message: Message, call: Call, verdict: Verdict, started: float) -> Record:
        """The outcome's record; `started` in seconds since the epoch. Counts the attempt."""
        now = self.services.now()
        return self._outcome(message, call.task, verdict, call.usage, (started, now))

    def bury(self, message: Message, error: PayloadError) -> tuple[Record, ...]:
        """The dead letter of a task that does not decode, and the outcome if there is a case."""
        now, topic = self.services.now(), self._topics.dlq(message.topic)
        ids = self._ids_in(message)
        letter = letter_for(
            message,
            error.reason,
            group=self._topics.workers_group(self.agent.name),
            error_type=type(error).__name__,
            error=_plain(str(error)),
            case_id=ids.case_id if ids else None,
            task_id=ids.task_id if ids else None,
            attempts=ids.attempt if ids else 0,
        )
        self.services.telemetry.count(
            "caseworks_dead_letters_total", topic=topic, reason=error.reason
        )
        _log.error(
            "task_undecodable",
            agent=self.agent.name,
            reason=error.reason,
            error=str(error),
            case_id=letter.case_id,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
        )
        dead = dead_letter_record(message, topic, letter)
        if ids is None:
            return (dead,)
        verdict = Failed(UNDECODABLE, f"{error.reason}: {error}")
        return dead, self._outcome(message, ids, verdict, NOTHING, (now, now))

    def _decoded(self, message: Message) -> Task:
        if message.value is None:
            raise PayloadError("null_value", "the task's value is null")
        try:
            task = Task.from_json(message.value)
        except ValidationError as error:
            reason = "not_json" if error.errors()[0]["type"] == "json_invalid" else "schema"
            raise PayloadError(reason, explained(error)) from None
        if task.agent != self.agent.name:
            raise PayloadError("wrong_agent", f"it is for {task.agent!r}, not {self.agent.name!r}")
        return task

    def _ids_in(self, message: Message) -> _Ids | None:
        """The ids in a task that does not decode, if they can be read and lead to our inbox."""
        try:
            ids = _Ids.from_json(message.value or b"")
        except ValidationError:
            return None
        return ids if ids.reply_to.topic == self._topics.inbox else None

    def _outcome(
        self,
        message: Message,
        ids: Task | _Ids,
        verdict: Verdict,
        usage: Usage,
        ran: tuple[float, float],
    ) -> Record:
        services, (started, now) = self.services, ran
        status, said = _said(verdict)
        outcome = Outcome.trusted(
            task_id=ids.task_id,
            case_id=ids.case_id,
            agent=ids.agent,
            attempt=ids.attempt,
            status=status,
            usage=usage,
            agent_version=self.agent.spec.version,
            worker=services.worker,
            delivery=Delivery.trusted(
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                timestamp=instant(message.timestamp_ms / 1000),
            ),
            started_at=instant(started),
            finished_at=instant(now),
            **said,
        )
        run = f"{message.partition}:{message.offset}:{int(started * 1e6)}:{services.worker}"
        unique = crc32(run.encode())

        def record(outcome: Outcome) -> Record:
            return record_of(
                outcome,
                Outcome.ce_type,
                topic=ids.reply_to.topic,
                partition=ids.reply_to.partition,
                key=ids.case_id,
                ce_id=f"{ids.task_id}:{ids.attempt}:{unique:08x}",
                source=services.source,
                now=now,
                travelling=travelling_from(message),
            )

        name = self.agent.name
        services.telemetry.count("caseworks_tasks_total", agent=name, status=status)
        services.telemetry.observe("caseworks_task_seconds", now - started, agent=name)
        if status in _WITH_TASK:
            full = record(outcome.evolve(task=message.value))
            if len(full.value or b"") <= services.limits.outcome_bytes_max:
                return full
            _log.warning("task_too_large_for_its_outcome", agent=name, case_id=ids.case_id)
        return record(outcome)


async def run_job(
    desk: Desk, message: Message, opened: Callable[[Call], None] = lambda _: None
) -> tuple[Record, ...]:
    """Run one job on the current event loop; the caller produces the records.

    `opened` hears of the call before the agent runs. Raises nothing but cancellation.
    """
    started = desk.services.now()
    call: Call | None = None
    try:
        call = desk.open(message, get_running_loop().time)
        opened(call)
        verdict = await desk.handler(call)
        return (desk.answer(message, call, verdict, started),)
    except PayloadError as error:
        return desk.bury(message, error)
    except Exception as error:  # noqa: BLE001 - the case must hear of a mistake of ours too
        _log.exception("worker_error", agent=desk.agent.name, offset=message.offset)
        if call is None:
            return desk.bury(message, PayloadError("worker_error", text_of(error)))
        return (desk.answer(message, call, Failed("worker_error", text_of(error)), started),)


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
            lines = tuple(_plain(line) for line in trace)
            return "halted", {"error": _failure(kind, message), "trace": lines}
        case Escalate(reason):
            return "escalate", {"error": _failure("escalated", reason)}
        case _:
            assert_never(verdict)


def _failure(kind: object, message: object, retry_after_s: object = None) -> Failure:
    """What an agent said, made fit for the wire: agents say anything."""
    wait_s = retry_after_s if isinstance(retry_after_s, (int, float)) else None
    if wait_s is not None and not (math.isfinite(wait_s) and wait_s >= 0):
        wait_s = None
    return Failure(kind=_plain(kind)[:64], message=_plain(message), retry_after_s=wait_s)


def _plain(text: object) -> str:
    """Text that UTF-8 can hold, shortened."""
    return str(text)[:MESSAGE_CHARS_MAX].encode("utf-8", "replace").decode()
