"""What an agent may ask of the world around it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import cached_property
from typing import Any

import structlog
from pydantic import TypeAdapter

from agents.effects.effects import Call, Reconcile, Wanted
from agents.limits.budget import Meter, tightest
from agents.limits.iterations import Iterations, Trace
from agents.mind.mind import Mind
from agents.services import Services
from events.broker import Message
from events.envelope import record_of, travelling_from
from events.errors import DeclarationError, RetriableError
from events.logs import get_logger
from events.trace_ids import trace_id_for
from schemas.agent import AgentSpec
from schemas.base import instant
from schemas.effect import KEY, effect_id_of
from schemas.lean import LeanTask
from schemas.outcome import Delivery, Progress
from schemas.usage import NOTHING, Usage

_log = get_logger("caseworks.agent")


class Context:
    """One attempt, as its agent sees it. Made by the worker; valid until the attempt ends.

    Args:
        task: The task of this attempt.
        spec: The agent that runs it.
        services: What the process shares.
        clock: Monotonic seconds; those of the event loop.
        run_until: When the attempt is out of time, on that clock.
        message: The record of the task; what travels along the case is read from its headers.
    """

    _reports = 0
    _spends = False
    """Whether something has been metered; what most attempts never need is made when it is."""

    def __init__(
        self,
        task: LeanTask,
        spec: AgentSpec,
        services: Services,
        *,
        clock: Callable[[], float],
        run_until: float,
        message: Message | None = None,
    ) -> None:
        self._task = task
        self._spec = spec
        self._services = services
        self._clock = clock
        self._message = message
        self.run_until = run_until

    @property
    def case_id(self) -> str:
        """The case that this attempt is for."""
        return self._task.case_id

    @property
    def task_id(self) -> str:
        """Names the task across attempts and agents: use it as an idempotency key."""
        return self._task.task_id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._task.attempt

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self._spec.name

    @property
    def tenant(self) -> str | None:
        """The tenant of the case's event."""
        return self._task.event.tenant

    @property
    def deadline(self) -> datetime:
        """When the step is given up, this attempt or another."""
        return self._task.deadline

    @property
    def now(self) -> datetime:
        """The time of day, in UTC; virtual in a simulation."""
        return instant(self._services.now())

    @property
    def time_left_s(self) -> float:
        """Run time left of this attempt, in seconds; negative when it is over."""
        return self.run_until - self._clock()

    @cached_property
    def blamed(self) -> dict[str, BaseException]:
        """By dependency: the last error of a guarded call."""
        return {}

    @cached_property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A logger whose lines carry case, trace, task and agent."""
        return _log.bind(
            case_id=self.case_id,
            trace_id=trace_id_for(self.case_id, self._task.event.traceparent),
            task_id=self.task_id,
            attempt=self.attempt,
            agent=self.agent,
        )

    @cached_property
    def budget(self) -> Meter:
        """What may be spent and what was; the smaller of the task's and the agent's limits."""
        self._spends = True
        return Meter(tightest(self._task.budget, self._spec.budget))

    @cached_property
    def trace(self) -> Trace:
        """The last things done, told when a limit stops the attempt."""
        return Trace()

    @cached_property
    def _iterations(self) -> Iterations:
        self._spends = True
        of_task = self._task.budget.iterations
        limit = self._spec.iterations_max
        return Iterations(limit if of_task is None else min(limit, of_task), self.trace)

    @property
    def usage(self) -> Usage:
        """What was spent so far."""
        if not self._spends:
            return NOTHING
        known = self.__dict__
        spent = known["budget"].spent if "budget" in known else NOTHING
        if "_iterations" in known:
            spent = spent + Usage(iterations=known["_iterations"].made)
        return spent

    def iteration(self, note: str = "") -> int:
        """Begin a turn of a loop; returns its number from 1.

        Raises `HaltedError` beyond the agent's `iterations_max` or the task's budget.
        """
        return self._iterations.next(note)

    def call(self, dependency: str) -> AbstractAsyncContextManager[None]:
        """Guard calls to an outside thing by its breaker and bulkhead.

        Example: `async with ctx.call("crm"): customer = await crm.get(id)`

        Raises `DependencyOpenError` (the worker answers `deferred`), and `DeclarationError` for
        one that the agent did not declare in `calls`.
        """
        if dependency not in self._spec.calls:
            raise DeclarationError(
                f"agent {self.agent!r} calls {dependency!r}, which it did not declare",
                hint=f"@app.agent(calls=[{dependency!r}])",
            )
        return self._services.dependencies.call(
            dependency, lambda: self.time_left_s <= 0, self.blamed.__setitem__
        )

    async def effect(
        self,
        key: str,
        call: Call,
        *,
        reconcile: Reconcile | None = None,
        returns: Any = None,
    ) -> Any:
        """Change the outside world, at most once unless reconciled, however often this task runs.

        Example: `receipt = await ctx.effect("refund", lambda id: bank.refund(amount, id))`

        Args:
            key: Names the effect within its step: 1 to 100 printable ASCII characters. Attempts,
                fallback agents and replays of the step that use the same key share the effect.
            call: One outside call. If it takes an argument it gets the effect's id, for systems
                that know idempotency keys. `PermanentError`, `NotDoneError` and
                `DependencyOpenError` say that nothing happened; after any other error nobody knows.
            reconcile: Asks the outside system about a call of which nobody knows (same argument):
                `Happened(result)`, `DidNotHappen()` or `Unclear(why)`.
            returns: The type of the result; else it is plain JSON.

        Costs about two round trips to the broker. The result (at most 64 KiB as JSON) is kept for
        90 days. Raises what the call raises; `EffectUnknownError` (the task fails, a person must
        find out), `EffectBusyError` (another attempt is at it; `deferred`).
        """
        if KEY.fullmatch(key) is None:
            raise DeclarationError(
                f"the effect key {key[:200]!r} is not 1 to 100 printable ASCII characters"
            )
        adapter = None if returns is None else TypeAdapter(returns)
        result = await self._services.effects.once(self._wanted(key), call, reconcile)
        return result if adapter is None else adapter.validate_python(result)

    def _wanted(self, key: str) -> Wanted:
        task, message, services = self._task, self._message, self._services
        delivery = message and Delivery(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp=instant(message.timestamp_ms / 1000),
        )
        return Wanted(
            effect_id=effect_id_of(task.task_id, key),
            case_id=task.case_id,
            task_id=task.task_id,
            key=key,
            partition=task.reply_to.partition,
            agent=self.agent,
            attempt=task.attempt,
            until_s=services.now() + self.time_left_s + services.limits.grace_s,
            time_left_s=lambda: self.time_left_s,
            delivery=delivery,
            travelling=travelling_from(message) if message else (),
        )

    @cached_property
    def model(self) -> Mind:
        """The language model, within this attempt's time and budget."""
        return Mind(self, self._services)

    async def progress(self, message: str = "", fraction: float | None = None) -> None:
        """Say that work goes on: re-arms the step's backstop and shows in the case's timeline.

        `fraction` is between 0 and 1. Reports beyond the limit of an attempt, or while the
        producer's queue is full, are logged and not sent.
        """
        self._reports += 1
        self.trace.add(f"progress: {message}")
        limit = self._services.limits.progress_max
        if self._reports > limit:
            if self._reports == limit + 1:
                self.log.warning("progress_silenced", limit=limit)
            return
        progress = Progress(
            task_id=self.task_id,
            case_id=self.case_id,
            agent=self.agent,
            attempt=self.attempt,
            message=message,
            fraction=fraction,
        )
        record = record_of(
            progress,
            Progress.ce_type,
            topic=self._task.reply_to.topic,
            partition=self._task.reply_to.partition,
            key=self.case_id,
            ce_id=f"{self.task_id}:{self.attempt}:progress:{self._reports}",
            source=self._services.source,
            now=self._services.now(),
            travelling=travelling_from(self._message) if self._message else (),
        )
        try:
            self._services.producer.produce(record)
        except RetriableError as error:
            self.log.warning("progress_not_sent", error=str(error))
