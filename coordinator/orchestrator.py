"""The orchestrator: commands of the inbox in; tasks, results and the changelog out.

Pure: `TransactionalLoop` drives it. A turn is an overlay (`CaseTurn`); only a committed one is
promoted into the partitions' states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from coordinator.admission import OPEN_NOTE, TELL_S, Telling
from coordinator.case_turn import CaseTurn
from coordinator.changelog import write_changelog
from coordinator.outages import Fleet, Outages
from coordinator.partition import ENTITY_MARK, PartitionState, keeps_whole
from coordinator.records import Writer
from coordinator.retries import RetryBudgets
from coordinator.store import DictStore
from coordinator.turn import UNKNOWN, Adopted, Turn
from coordinator.versions import check_unchanged, note_key, note_of
from coordinator.workflow import Plan
from coordinator.world import OrchestratorLimits, World
from events.broker import LogEnds, Message, TopicPartition
from events.envelope import WRITER
from events.errors import PayloadError, StateLostError
from events.partitioner import partition_of
from events.store import Store
from events.topics import Topics
from schemas.outcome import Outcome

RECENT_MAX = 20_000
"""Decoded cases held in memory beside their bytes, over all partitions of a process."""
RECENT_MIN = 100


class Orchestrator:
    """A `Processor` over the inbox."""

    name = "orchestrator"

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        topics: Topics,
        plans: Sequence[Plan],
        *,
        partitions: int,
        writer_id: str,
        limits: OrchestratorLimits,
        store_of: Callable[[int], Store] = DictStore,
        outages: Outages | None = None,
    ) -> None:
        """*partitions* is the inbox's fixed count; *writer_id* the loop's transactional id.

        *store_of* opens what holds the state of a partition; *outages* says what is away.
        """
        self.changelog: str | None = topics.cases
        self.limits = limits
        self.store_of = store_of
        self._adopted_at: dict[int, float] = {}
        self._told_at: dict[int, float] = {}
        self.telling = Telling(topics, partitions, limits.cases_open_max)
        self.states: dict[int, PartitionState] = {}
        retries = RetryBudgets(limits.retries)
        agents = {name: spec for plan in plans for name, spec in plan.agents.items()}
        self.world = World(
            writer=Writer(topics),
            plans={plan.name: plan for plan in plans},
            agents=agents,
            retries=retries,
            around=Fleet(agents, outages, retries),
            version_notes={plan.name: note_of(plan) for plan in plans},
            states=self.states,
            limits=limits,
            home_of=lambda case_id: partition_of(case_id.encode(), partitions),
            log_headers=((WRITER, writer_id.encode()),),
        )

    # --- restore

    def adopt(self, source: TopicPartition, end: int, now: float) -> Adopted:
        """State of partitions that went was kept, in memory or in a store: only the rest is read.

        What cannot be trusted is thrown away: a state that is ahead of its changelog (which was
        made anew), and one that is so old that tombstones may be gone that it never saw.
        """
        state, discarded = self.states.get(source.partition), None
        if state is None:
            state, discarded = self._open(source.partition)
        if state.log_offset > end:
            discarded = "ahead"
        elif state.log_offset and now - state.seen_at > self.limits.unseen_max_s:
            discarded = "stale"
        if discarded is not None and state.log_offset:
            self.abandon(source)
            state = self.states[source.partition]
        if not state.log_offset:
            state.seen_at = now
        self._adopted_at[source.partition] = now
        for each in self.states.values():
            each.recent_max = max(RECENT_MIN, RECENT_MAX // len(self.states))
        return Adopted(state.log_offset, discarded)

    def _open(self, partition: int) -> tuple[PartitionState, str | None]:
        try:
            store = self.store_of(partition)
        except StateLostError:
            return self._in_memory(partition), "unwritable"
        discarded = store.discarded
        try:
            state = PartitionState(self.limits.keep_s, store)
        except StateLostError:
            discarded = "corrupt"
            store.clear()
            state = PartitionState(self.limits.keep_s, store)
        self.states[partition] = state
        return state, discarded

    def _in_memory(self, partition: int) -> PartitionState:
        """Where a store cannot be written, a partition is held in memory."""
        state = self.states[partition] = PartitionState(self.limits.keep_s, DictStore(partition))
        return state

    def abandon(self, source: TopicPartition) -> None:
        """What was restored of this partition is of no use."""
        try:
            self.states[source.partition].forget_all()
        except StateLostError:
            self._in_memory(source.partition)

    def restore(self, source: TopicPartition, messages: Sequence[Message], upto: int) -> None:
        """Apply committed changelog records."""
        self.states[source.partition].restore(messages, upto)

    def restored(self, source: TopicPartition, committed: int | None) -> int | None:
        """The group's position; where it expired, the changelog's own record of it.

        Raises `DeclarationError` when a version that cases run on is not what it was.
        """
        state = self.states[source.partition]
        state.seen_at = self._adopted_at[source.partition]
        for plan in self.world.plans.values():
            check_unchanged(state.note(note_key(plan.name, plan.spec.version)), plan)
        return committed if committed is not None else state.position

    # --- a turn

    def plan(
        self, messages: Sequence[Message], ready: Mapping[TopicPartition, int | None], now: float
    ) -> CaseTurn | None:
        """Apply what came and what is due; encode what changed."""
        turn = self._turn(now)
        for source, position in ready.items():
            self._fire(turn, source, position or 0)
            self._tell(turn, source, position or 0)
        for message in messages:
            turn.command(message)
        if not turn.positions:
            return None
        turn.quiet = not turn.records
        write_changelog(turn)
        return turn

    def _turn(self, now: float) -> CaseTurn:
        """A new one; what the last one took of retry budgets without a commit is free again."""
        self.world.retries.take_back()
        return CaseTurn(world=self.world, now=now)

    def reject(self, message: Message, now: float, error: str) -> CaseTurn:
        """Set a command aside that cannot be committed; its step fails."""
        turn = self._turn(now)
        turn.positions[message.source] = message.offset + 1
        turn.bury_command(message, PayloadError("rejected", error))
        if message.header("ce_type") == Outcome.ce_type:
            turn.fail_step(message)
        write_changelog(turn)
        return turn

    def promote(self, turn: Turn, ends: LogEnds = UNKNOWN) -> None:
        """The overlay becomes the state, which is as far as the changelog from then on (rule 3)."""
        assert isinstance(turn, CaseTurn)  # a loop gives back what `plan` made
        self.world.retries.keep()
        for partition, fired in turn.fired.items():
            self.states[partition].fired(turn.now, fired)
        for (partition, case_id, name), part in turn.parts.items():
            self.states[partition].put_part(case_id, name, part)
        for (partition, note), text in turn.notes.items():
            self.states[partition].put_note(note, text)
        for (partition, key), changed in turn.entities.items():
            value, due = changed or (None, None)
            self.states[partition].put_entity(key, value, due)
        for (partition, case_id), case in turn.cases.items():
            state, data = self.states[partition], turn.encoded[partition, case_id]
            if case is None or data is None:
                state.forget(case_id)
            elif keeps_whole(case):
                state.put(case, data)
            else:
                state.close(case_id, case.closed or turn.now)
        for partition, case_id, due in turn.idle:
            if (partition, case_id) not in turn.cases:  # a command may have closed it meanwhile
                self.states[partition].arm(case_id, due)
        for partition, entries in turn.expired.items():
            self.states[partition].forget_closed(entries)
        offsets = {source.partition: end for source, end in ends.items()}
        for source, position in turn.positions.items():
            state = self.states[source.partition]
            state.position, state.seen_at = position, turn.now
            state.commit(offsets.get(source.partition))

    def drop(self, turn: Turn) -> None:
        """Nothing to undo: the overlay goes with the turn."""

    def close(self) -> None:
        """Let the stores write what they still hold."""
        for state in self.states.values():
            state.store.close()

    def _tell(self, turn: CaseTurn, source: TopicPartition, position: int) -> None:
        """Say how many cases are open here, where that has changed."""
        partition = source.partition
        state, open_now = self.states[partition], self.states[partition].open_count
        if not self.telling.due(open_now, state.note(OPEN_NOTE)):
            return
        if abs(turn.now - self._told_at.get(partition, 0.0)) < TELL_S:
            return
        self._told_at[partition] = turn.now
        turn.positions[source] = position
        turn.notes[partition, OPEN_NOTE] = b"%d" % open_now
        turn.records.append(self.telling.record(partition, open_now, turn.now))

    def _fire(self, turn: CaseTurn, source: TopicPartition, position: int) -> None:
        """Tick what is due; a timer's turn sends its partition's position again (rule 2)."""
        state, limits = self.states[source.partition], self.limits
        due = state.timers.due(turn.now, limits.due_max)
        due += state.alarms.due(turn.now, limits.due_max)
        expired = state.closed.expired(turn.now, limits.dedupe_window_s, limits.due_max)
        if not due and not expired:
            return
        turn.positions[source] = position
        turn.fired[source.partition] = due
        turn.expired[source.partition] = expired
        for key in due:
            if key.startswith(ENTITY_MARK):
                turn.tick_entity(source.partition, key)
            else:
                turn.tick(source.partition, key)
