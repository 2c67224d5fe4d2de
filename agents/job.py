"""One job: a task's record in, the records that answer it out. Nothing here waits or sends.

A task that does not decode goes to the agent's dead letters, bytes and headers untouched; when its
ids can be read, its case is told by a `failed` outcome as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from pydantic import ValidationError

from agents.agent import Agent
from agents.answers import Answers, Asker, Attempt, plain
from agents.call import Call, Handler
from agents.context import Context
from agents.delivery import Parcel
from agents.limits.failures import FailureWindow
from agents.outcomes import Done, Failed, Halted, Verdict, text_of
from agents.processes.declared import START_S
from agents.services import Services
from agents.wrappers.checked_input import explained
from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.errors import PayloadError
from events.logs import bind_case, get_logger
from events.topics import Topics
from schemas.lean import LeanTask, read_task
from schemas.usage import NOTHING

UNDECODABLE = "undecodable"
"""Failure kind of a task that the worker itself put to the dead letters."""

_log = get_logger("caseworks.worker")


class Desk:
    """Opens and answers the jobs of one agent."""

    def __init__(self, agent: Agent, services: Services, handler: Handler) -> None:
        self.agent = agent
        self.services = services
        self.handler = handler
        self._answers = Answers(agent, services)
        self._topics = Topics(services.namespace)
        self._failures = FailureWindow(services.limits.failures)
        self._name, self._spec, self._now = agent.name, agent.spec, services.now
        # A process may have to start first; from then on its own clock counts.
        self._start_s = START_S if agent.process and services.processes else 0.0

    def open(self, message: Message, clock: Callable[[], float]) -> Call:
        """The task in a record, ready for the handler; `clock` gives monotonic seconds.

        Raises `PayloadError`.
        """
        task = self._decoded(message)
        left_s, run_s = task.deadline.timestamp() - self._now(), task.timeout_s + self._start_s
        until = clock() + min(left_s, run_s)
        context = Context(
            task,
            self._spec,
            self.services,
            clock=clock,
            run_until=until,
            message=message,
        )
        return Call(self.agent, task, context, self.services)

    def answer(self, run: Run, call: Call, verdict: Verdict) -> Record:
        """The outcome's record of a run that ended. Counts the attempt."""
        attempt = Attempt(run.message, call.usage, run.started, run.ended)
        if isinstance(verdict, (Failed, Halted)):
            self._failed(verdict.kind, verdict.message)
        else:
            self._failures.well()
        if type(verdict) is Done and verdict.written is not None:
            confidence = 1.0 if verdict.confidence is None else verdict.confidence
            return self._answers.done(call.task, verdict.written, confidence, attempt)
        return self._answers.outcome(call.task, verdict, attempt)

    def bury(self, message: Message, error: PayloadError) -> tuple[Record, ...]:
        """The dead letter of a task that does not decode, and the outcome if there is a case."""
        now, topic = self.services.now(), self._topics.dlq(message.topic)
        ids = self._ids_in(message)
        self._failed(error.reason, "")
        letter = letter_for(
            message,
            error.reason,
            group=self._topics.workers_group(self.agent.name),
            error_type=type(error).__name__,
            error=plain(str(error)),
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
        return dead, self._answers.outcome(ids, verdict, Attempt(message, NOTHING, now, now))

    def _failed(self, kind: str, text: str) -> None:
        """Count what failed for good; too much of it pauses this version of the agent."""
        why = self._failures.failed(kind, text, self.services.now())
        if why:
            spec = self.agent.spec
            self.services.dependencies.fleet.pause(spec.name, spec.version, why)

    def _decoded(self, message: Message) -> LeanTask:
        if message.value is None:
            raise PayloadError("null_value", "the task's value is null")
        try:
            task = read_task(message.value)
        except ValidationError as error:
            reason = "not_json" if error.errors()[0]["type"] == "json_invalid" else "schema"
            raise PayloadError(reason, explained(error)) from None
        except ValueError as error:  # NaN or infinity
            raise PayloadError("not_json", str(error)) from None
        if task.agent != self._name:
            raise PayloadError("wrong_agent", f"it is for {task.agent!r}, not {self._name!r}")
        return task

    def _ids_in(self, message: Message) -> Asker | None:
        """The ids in a task that does not decode, if they can be read and lead to our inbox."""
        try:
            ids = Asker.from_json(message.value or b"")
        except ValidationError:
            return None
        return ids if ids.reply_to.topic == self._topics.inbox else None


class Run:
    """One job in execution, then in delivery."""

    __slots__ = (
        "call",
        "ended",
        "failure",
        "message",
        "parcel",
        "started",
        "task",
        "until",
        "wanted",
    )

    def __init__(self, message: Message, failure: str = "") -> None:
        self.message = message
        self.failure = failure
        """Not executed, but answered as failed, of this kind."""
        self.started = self.ended = 0.0
        """In seconds since the epoch."""
        self.call: Call | None = None
        self.task: asyncio.Task[None] | None = None
        """What executes it, when it has begun."""
        self.parcel: Parcel[Run] | None = None
        self.until = inf
        """When it is given up, on the event loop's clock."""
        self.wanted = True


def failed_for(kind: str) -> Failed:
    """Why a task is not executed."""
    return Failed(kind, "its worker died each time that it ran; it was not started again")


async def work(desk: Desk, run: Run, clock: Callable[[], float]) -> Verdict | PayloadError:
    """Run one job in a context of its own; how it ended.

    `clock` is the event loop's. Raises nothing but cancellation.
    """
    services = desk.services
    run.started = services.now()
    said: Verdict | PayloadError
    try:
        run.call = call = desk.open(run.message, clock)
        run.until = call.context.run_until + services.limits.grace_s
        bind_case(call.task.case_id, call.task.event.traceparent)
        said = failed_for(run.failure) if run.failure else await desk.handler(call)
    except PayloadError as error:
        said = error
    except Exception as error:  # noqa: BLE001 - the case must hear of a mistake of ours too
        _log.exception("worker_error", agent=desk.agent.name, offset=run.message.offset)
        if run.call is None:
            said = PayloadError("worker_error", text_of(error))
        else:
            said = Failed("worker_error", text_of(error))
    run.ended = services.now()
    return said


def records_of(desk: Desk, run: Run, said: Verdict | PayloadError) -> tuple[Record, ...]:
    """What answers a job that ended so; the caller produces it."""
    call = run.call
    if call is None or isinstance(said, PayloadError):
        assert isinstance(said, PayloadError)
        return desk.bury(run.message, said)
    try:
        return (desk.answer(run, call, said),)
    except Exception as error:  # noqa: BLE001 - as above
        _log.exception("worker_error", agent=desk.agent.name, offset=run.message.offset)
        return (desk.answer(run, call, Failed("worker_error", text_of(error))),)
