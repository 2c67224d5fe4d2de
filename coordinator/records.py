"""Effects as records on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from coordinator.effects import Bury, Publish, Work
from coordinator.keys import step_of
from coordinator.workflow import Plan
from events.broker import Headers, Record
from events.dead_letters import letter_headers
from events.envelope import record_of, travelling_of
from events.topics import Lane, Topics
from schemas.base import instant
from schemas.case import Case
from schemas.dead_letter import DeadLetter
from schemas.task import ReplyTo, Task, task_id_of


@cache
def _reply_to(topic: str, partition: int) -> ReplyTo:
    return ReplyTo(topic=topic, partition=partition)


@dataclass(frozen=True, slots=True)
class Writer:
    """Builds records for one namespace."""

    topics: Topics

    @property
    def source(self) -> str:
        """The `ce_source` of what the coordinator writes."""
        return f"caseworks/{self.topics.namespace}"

    def task(self, case: Case, plan: Plan, work: Work, partition: int, now: float) -> Record:
        """The task of a step's current attempt, on its agent's lane."""
        return self._record(self.build_task(case, plan, work, partition), case, plan, now)

    def build_task(self, case: Case, plan: Plan, work: Work, partition: int) -> Task:
        """The task model of a piece of work, as the case says."""
        key = work.key
        step, state = plan.steps.get(step_of(key)), work.state
        asked = state.agent or (step.agent if step else None) or ""
        agent = plan.agents[asked if asked in plan.agents or step is None else step.agent or asked]
        own = step is not None and agent.name == step.agent
        return Task.trusted(
            task_id=task_id_of(case.case_id, key, state.replay, state.iteration),
            case_id=case.case_id,
            workflow=case.workflow,
            workflow_version=case.workflow_version,
            step=step_of(key),
            agent=agent.name,
            attempt=state.attempt,
            event=case.event,
            input=work.input,
            results=work.results or {},
            timeout_s=step.timeout_s if own and step is not None else agent.timeout_s,
            deadline=instant(state.deadline or case.deadline),
            budget=agent.budget,
            reply_to=_reply_to(self.topics.inbox, partition),
        )

    def _record(self, task: Task, case: Case, plan: Plan, now: float) -> Record:
        event = case.event
        lane: Lane = "urgent" if event.priority == "urgent" else "normal"
        by_subject = plan.agents[task.agent].order_by == "subject"
        return record_of(
            task,
            Task.ce_type,
            topic=self.topics.tasks(task.agent, lane),
            key=(event.subject or event.id) if by_subject else case.case_id,
            ce_id=f"{task.task_id}:{task.attempt}",
            source=self.source,
            now=now,
            travelling=travelling_of(event),
        )

    def result(self, case: Case, plan: Plan, effect: Publish, now: float) -> Record:
        """The result, keyed like its event."""
        event = case.event
        return record_of(
            effect.result,
            plan.spec.result_type(effect.result.status),
            topic=self.topics.results(case.workflow),
            key=event.subject or event.id,
            ce_id=f"{case.case_id}:{effect.number}",
            source=self.source,
            now=now,
            travelling=travelling_of(event),
        )

    def dead_letter(
        self, case: Case, plan: Plan, effect: Bury, partition: int, now: float
    ) -> Record:
        """The dead task: its own bytes when the worker sent them, else written anew."""
        task = self.build_task(case, plan, effect.work, partition)
        written = self._record(task, case, plan, now)
        outcome, error = effect.outcome, effect.error
        delivery = outcome.delivery if outcome else None
        letter = DeadLetter(
            topic=delivery.topic if delivery else written.topic,
            partition=delivery.partition if delivery else -1,
            offset=delivery.offset if delivery else -1,
            timestamp=delivery.timestamp if delivery else instant(now),
            group=self.topics.workers_group(task.agent),
            reason=error.kind,
            error_type=error.kind,
            error=error.message,
            attempts=effect.work.state.attempt,
            case_id=case.case_id,
            task_id=task.task_id,
            replays=effect.work.state.replay,
        )
        value = outcome.task if outcome and outcome.task else written.value
        headers: Headers = (*written.headers, *letter_headers(letter))
        return Record(self.topics.dlq(written.topic), written.key, value, headers)
