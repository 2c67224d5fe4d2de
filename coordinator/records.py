"""Effects as records on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from pydantic_core import to_json

from coordinator.effects import Bury, Publish, Work
from coordinator.keys import WAITING, step_of
from coordinator.workflow import Plan
from events.broker import Headers, Record
from events.dead_letters import letter_headers
from events.envelope import headers_of, record_of, rfc3339, travelling_of
from events.topics import Lane, Topics
from schemas.base import instant
from schemas.dead_letter import DeadLetter
from schemas.lean_case import Case
from schemas.task import ReplyTo, Task, task_id_of

_TASK = (
    b'{"task_id":%b,"case_id":%b,%b,"attempt":%d,"event":%b,"input":%b,"results":%b,'
    b'"deadline":"%b",%b,"reply_to":%b}'
)


@cache
def _reply_to(topic: str, partition: int) -> ReplyTo:
    return ReplyTo(topic=topic, partition=partition)


@dataclass(frozen=True, slots=True)
class _Form:
    """What the tasks of one step and agent have in common."""

    what: bytes
    how: bytes
    normal: str
    """The topic of its lane."""
    urgent: str
    by_subject: bool


def _part_of(task: Task, *fields: str) -> bytes:
    """Some fields of a task as they stand in its JSON."""
    return task.__pydantic_serializer__.to_json(task, include=set(fields))[1:-1]


@dataclass(frozen=True, slots=True)
class Writer:
    """Builds records for one namespace."""

    topics: Topics
    _forms: dict[tuple[str | None, ...], _Form] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The `ce_source` of what the coordinator writes."""
        return f"caseworks/{self.topics.namespace}"

    def task(self, case: Case, plan: Plan, work: Work, partition: int, now: float) -> Record:
        """The task of a step's current attempt, on its agent's lane.

        What `build_task` would make, written around the parts that many tasks share.
        """
        key, state = work.key, work.state
        form = self._form(case, plan, key, state.agent)
        task_id = task_id_of(case.case_id, key, state.replay, state.iteration)
        value = _TASK % (
            to_json(task_id),
            to_json(case.case_id),
            form.what,
            state.attempt,
            case.event.kept_json(),
            b"null" if work.input is None else to_json(work.input),
            to_json(work.results) if work.results else b"{}",
            rfc3339(state.deadline or case.deadline),
            form.how,
            _reply_to(self.topics.inbox, partition).kept_json(),
        )
        event = case.event
        ce_id = f"{task_id}:{state.attempt}".encode()
        return Record(
            form.urgent if event.priority == "urgent" else form.normal,
            ((event.subject or event.id) if form.by_subject else case.case_id).encode(),
            value,
            headers_of(Task.ce_type, self.source, ce_id, rfc3339(now)) + travelling_of(event),
        )

    def _form(self, case: Case, plan: Plan, key: str, asked: str | None) -> _Form:
        """What the tasks of this step and agent have in common."""
        name = (plan.name, plan.spec.version, case.workflow_version, step_of(key), asked)
        form = self._forms.get(name)
        if form is None:
            task = self.build_task(case, plan, Work(key, WAITING.evolve(agent=asked)), 0)
            form = self._forms[name] = _Form(
                what=_part_of(task, "workflow", "workflow_version", "step", "agent"),
                how=_part_of(task, "timeout_s", "budget", "trust"),
                normal=self.topics.tasks(task.agent),
                urgent=self.topics.tasks(task.agent, "urgent"),
                by_subject=plan.agents[task.agent].order_by == "subject",
            )
        return form

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
            event=case.event.model(),
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
