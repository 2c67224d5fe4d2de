"""A turn of the orchestrator: commands applied to an overlay over the partitions' states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from pydantic import ValidationError

from coordinator import beside, flock_turn, shelf_turn, waits_turn
from coordinator.case import Tick, apply, next_due
from coordinator.decoding import CommandBeside, decode_command
from coordinator.effects import (
    Answered,
    Ask,
    AskFlock,
    Bury,
    Effect,
    Ignored,
    Keep,
    LeaveFlock,
    Postponed,
    Publish,
    Recall,
    Retain,
    SendTask,
    Tune,
)
from coordinator.turn import Turn
from coordinator.versions import note_key, plan_of
from coordinator.view import Parts, no_parts
from coordinator.workflow import Plan
from coordinator.world import World
from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.envelope import is_hostile, record_of, travelling_of
from events.errors import PayloadError
from schemas.commands import Command, Opened
from schemas.event import Event
from schemas.lean_case import Case, StepState
from schemas.outcome import Failure, Outcome
from schemas.stored_event import StoredEvent

TICK_AGAIN_S = 0.05
"""A timer that changed nothing fires again no sooner than this."""
CANNOT_TICK_S = 60.0
"""Nor one whose case cannot be moved: its workflow is gone, or a bug of ours stands in the way."""


@dataclass(slots=True)
class CaseTurn(Turn):
    """The overlay and the records of one turn. Nothing here touches the partitions' states."""

    world: World = field(kw_only=True)
    now: float = field(kw_only=True)
    cases: dict[tuple[int, str], Case | None] = field(default_factory=dict)
    """Changed cases by partition and id; `None` is a tombstone."""
    encoded: dict[tuple[int, str], bytes | None] = field(default_factory=dict)
    parts: dict[tuple[int, str, str], bytes | None] = field(default_factory=dict)
    """Changed parts by partition, case and name; `None` drops one."""
    notes: dict[tuple[int, str], bytes | None] = field(default_factory=dict)
    """Changed notes by partition and key."""
    entities: dict[tuple[int, str], tuple[bytes, float] | None] = field(default_factory=dict)
    """Changed entities by partition and key, with the time of their next tick."""
    grown: dict[str, int] = field(default_factory=dict)
    """Bytes that this turn's outcomes add, by case."""
    fired: dict[int, list[str]] = field(default_factory=dict)
    idle: list[tuple[int, str, float]] = field(default_factory=list)
    """Timers that found nothing to do, with the time of the next."""
    expired: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)

    # --- commands

    def command(self, message: Message) -> None:
        """Apply one inbox record; what cannot be applied becomes a dead letter."""
        self.positions[message.source] = message.offset + 1
        try:
            if not beside.command(self, message):
                self._dispatch(message, decode_command(message))
        except PayloadError as error:
            self.bury_command(message, error)

    def _dispatch(self, message: Message, command: Command) -> None:
        self.count("caseworks_commands_total", kind=command.ce_type.rpartition(".")[2])
        case = self.load(message.partition, command.case_id)
        if case is None and not self._belongs(message, command):
            return
        if case is not None:
            plan, name = self.plan_of(message.partition, case), case.workflow
        else:
            name = command.workflow if isinstance(command, Opened) else ""
            plan = self.world.plans.get(name)
        if plan is None:
            raise PayloadError("unknown_workflow", f"no workflow {name!r} runs here")
        if isinstance(command, Outcome):
            command = self._bounded(message, command)
        size = waits_turn.weigh(self, message, command)
        if self.apply(message.partition, case, command, plan) and size:
            self.grown[command.case_id] = self.grown.get(command.case_id, 0) + size

    def apply(self, partition: int, case: Case | None, command: Command | Tick, plan: Plan) -> bool:
        """Move a case and carry out what it asks for; whether it changed.

        Raises `PayloadError` when the machine fails: a bug of ours must not stop the partition.
        """
        written = len(self.records)
        try:
            part, around = self._parts_of(partition, case), self.world.around
            after, effects = apply(case, command, self.now, plan, part, around)
            if after is None or after is case:
                self._count_ignored(effects)
                return False
            for effect in effects:
                self._carry_out(after, plan, effect, partition)
        except Exception as error:  # any bug at all, see above
            del self.records[written:]
            text = f"{type(error).__name__}: {error}"
            raise PayloadError("cannot_apply", text) from error
        self.cases[partition, after.case_id] = after
        if case is None:
            self._note_version(partition, plan)
            self.count("caseworks_cases_opened_total", workflow=after.workflow)
        return True

    def plan_of(self, partition: int, case: Case) -> Plan | None:
        """The plan that a case began with; where nobody noted it, the current one."""
        plan = self.world.plans.get(case.workflow)
        if plan is not None and plan.spec.version == case.workflow_version:
            return plan
        note = self.load_note(partition, note_key(case.workflow, case.workflow_version))
        return plan if note is None else plan_of(note).knowing(self.world.agents)

    def _note_version(self, partition: int, plan: Plan) -> None:
        """The partition's changelog knows every version that its cases began with."""
        key = note_key(plan.name, plan.spec.version)
        if self.load_note(partition, key) != (note := self.world.version_notes[plan.name]):
            self.notes[partition, key] = note

    def _parts_of(self, partition: int, case: Case | None) -> Parts:
        """How the machine gets at the items of the case's maps."""
        if case is None:
            return no_parts

        def part(key: str) -> StepState | None:
            data = self.load_part(partition, case.case_id, key)
            return None if data is None else StepState.from_json(data)

        return part

    def _belongs(self, message: Message, command: Command) -> bool:
        """Whether a command without an open case is ours to apply; else forward or count it."""
        if self.forwarded(message, command.case_id):
            return False
        closed = command.case_id in self.world.states[message.partition].closed
        if isinstance(command, Opened):
            if closed:
                self.count("caseworks_events_duplicate_total")
            return not closed
        self.count(
            "caseworks_outcomes_ignored_total", why="closed_case" if closed else "unknown_case"
        )
        return False

    def forwarded(self, message: Message, case_id: str) -> bool:
        """Pass a record on that belongs to another partition; whether it did."""
        home = self.world.home_of(case_id)
        if home == message.partition:
            return False
        self.count("caseworks_commands_forwarded_total")
        self.records.append(
            Record(message.topic, message.key, message.value, message.headers, partition=home)
        )
        return True

    def _bounded(self, message: Message, outcome: Outcome) -> Outcome:
        """An output that would take the case over its size fails its step instead."""
        grown = self.grown.get(outcome.case_id, 0) + len(message.value or b"")
        state = self.world.states[message.partition]
        held = grown + state.size_of(outcome.case_id)
        inputs = [step.input for step in outcome.delegates]
        if is_hostile(outcome.output) or is_hostile(inputs):
            return _failed(outcome, "not_json", "it is nested too deep or holds an infinity")
        nothing = outcome.output is None and not outcome.delegates
        if nothing or held <= self.world.limits.case_bytes_max:
            self.grown[outcome.case_id] = grown
            return outcome
        return _failed(outcome, "case_too_large", f"with this output it would hold {held} bytes")

    def addressed(
        self,
        said: Command | CommandBeside,
        ce_id: str,
        event: Event | StoredEvent | None = None,
    ) -> Record:
        """A command on its way to whom it names; *event* is what it is said because of."""
        writer = self.world.writer
        return record_of(
            said,
            said.ce_type,
            topic=writer.topics.inbox,
            key=said.case_id,
            ce_id=ce_id,
            source=writer.source,
            now=self.now,
            travelling=() if event is None else travelling_of(event),
            partition=self.world.home_of(said.case_id),
        )

    def fail_step(self, message: Message) -> None:
        """The step of an outcome that cannot be committed fails."""
        try:
            outcome = Outcome.from_json(message.value or b"")
        except ValidationError:
            return
        case = self.load(message.partition, outcome.case_id)
        plan = self.plan_of(message.partition, case) if case else None
        if plan is not None:
            failed = _failed(outcome, "uncommittable", "its outcome could not be committed")
            self.apply(message.partition, case, failed, plan)

    def bury_command(self, message: Message, error: PayloadError) -> None:
        """Set an inbox record aside with the reason."""
        topics = self.world.writer.topics
        topic = topics.dlq(topics.inbox)
        letter = letter_for(
            message,
            error.reason,
            error=str(error),
            error_type=type(error).__name__,
            group=topics.loop_group("orchestrator"),
        )
        self.records.append(dead_letter_record(message, topic, letter))
        self.count("caseworks_dead_letters_total", topic=topic, reason=error.reason)

    # --- timers

    def tick(self, partition: int, case_id: str) -> None:
        """Fire what is due in one case."""
        case = self.load(partition, case_id)
        if case is None:
            return
        plan = self.plan_of(partition, case)
        if plan is None:
            self.count("caseworks_outcomes_ignored_total", why="unknown_workflow")
            self.idle.append((partition, case_id, self.now + CANNOT_TICK_S))
            return
        keep_s = self.world.limits.keep_s
        if case.closed is not None and case.closed + keep_s <= self.now:
            self.cases[partition, case_id] = None
            return
        again_s = TICK_AGAIN_S
        try:
            if self.apply(partition, case, Tick(), plan):
                return
        except PayloadError:
            self.count("caseworks_outcomes_ignored_total", why="cannot_tick")
            again_s = CANNOT_TICK_S
        self.idle.append((partition, case_id, max(next_due(case, keep_s), self.now + again_s)))

    def tick_entity(self, partition: int, key: str) -> None:
        """The time of something beside the cases has come."""
        beside.tick(self, partition, key)

    # --- effects and changelog

    def load(self, partition: int, case_id: str) -> Case | None:
        """The case as this turn sees it."""
        key = (partition, case_id)
        if key in self.cases:
            return self.cases[key]
        return self.world.states[partition].load(case_id)

    def load_part(self, partition: int, case_id: str, name: str) -> bytes | None:
        """A part of a case as this turn sees it."""
        key = (partition, case_id, name)
        if key in self.parts:
            return self.parts[key]
        return self.world.states[partition].part(case_id, name)

    def load_part_names(self, partition: int, case_id: str) -> tuple[str, ...]:
        """The names of a case's parts as this turn sees them, in no particular order."""
        names = dict.fromkeys(self.world.states[partition].part_names(case_id), True)
        for (at, whose, name), data in self.parts.items():
            if at == partition and whose == case_id:
                names[name] = data is not None
        return tuple(name for name, there in names.items() if there)

    def load_note(self, partition: int, key: str) -> bytes | None:
        """A note of the partition as this turn sees it."""
        if (partition, key) in self.notes:
            return self.notes[partition, key]
        return self.world.states[partition].note(key)

    def load_entity(self, partition: int, key: str) -> bytes | None:
        """An entity as this turn sees it."""
        if (partition, key) in self.entities:
            changed = self.entities[partition, key]
            return None if changed is None else changed[0]
        return self.world.states[partition].entity(key)

    def _carry_out(self, case: Case, plan: Plan, effect: Effect, partition: int) -> None:
        writer, now = self.world.writer, self.now
        match effect:
            case SendTask(work):
                self.records.append(writer.task(case, plan, work, partition, now))
                if not work.state.burnt and work.state.agent is not None:
                    self.world.retries.first(work.state.agent, now)
            case AskFlock() | LeaveFlock():
                flock_turn.carry_out(self, case, plan, effect)
            case Recall() | Retain():
                shelf_turn.carry_out(self, case, plan, effect)
            case Postponed(agent):
                self.count("caseworks_retries_postponed_total", agent=agent)
            case Keep(key, state):
                self.parts[partition, case.case_id, key] = state.to_compact_json()
            case Publish(result):
                self.records.append(writer.result(case, plan, effect, now))
                workflow = case.workflow
                self.count("caseworks_results_total", workflow=workflow, status=result.status)
                elapsed_s = max(0.0, now - case.event.time.timestamp())
                self.observe("caseworks_case_seconds", elapsed_s, workflow=workflow)
                if result.amends is None and result.status != "cancelled":
                    self._count_closed(case, result.status, elapsed_s)
            case Bury():
                record = writer.dead_letter(case, plan, effect, partition, now)
                self.records.append(record)
                reason = effect.error.kind
                self.count("caseworks_dead_letters_total", topic=record.topic, reason=reason)
            case Ask() | Answered() | Tune():
                waits_turn.carry_out(self, case, plan, effect)
            case Ignored():
                self._count_ignored((effect,))
            case _:
                assert_never(effect)

    def _count_closed(self, case: Case, status: str, elapsed_s: float) -> None:
        """In time is an answer, of whichever kind, before the case's deadline or the one set."""
        within_s = self.world.limits.in_time_s
        late = self.now > case.deadline if within_s is None else elapsed_s > within_s
        in_time = "no" if late or status in ("failed", "expired") else "yes"
        self.count("caseworks_cases_closed_total", workflow=case.workflow, in_time=in_time)

    def _count_ignored(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Ignored):
                if effect.why == "duplicate_event":
                    self.count("caseworks_events_duplicate_total")
                else:
                    self.count("caseworks_outcomes_ignored_total", why=effect.why)


def _failed(outcome: Outcome, kind: str, message: str) -> Outcome:
    error = Failure(kind=kind, message=message)
    return outcome.model_copy(
        update={"status": "failed", "output": None, "delegates": (), "error": error}
    )
