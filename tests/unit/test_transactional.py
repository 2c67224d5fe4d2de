"""The transactional loop on the memory broker, operation by operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coordinator.orchestrator import Orchestrator
from coordinator.store import DictStore
from coordinator.transactional import LoopLimits, TransactionalLoop
from coordinator.turn import Adopted
from coordinator.world import OrchestratorLimits
from events.broker import ConsumerSpec, LogEnds, Record, TopicPartition
from events.dispatch import Handles, advance
from events.errors import FencedError, RetriableError, StateLostError
from events.loop import Commit, Operation, ReadLogs, Take
from events.memory import MemoryBroker
from events.memory.consumer import MemoryConsumer
from events.memory.producers import MemoryTransactionalProducer
from events.partitioner import partition_of
from events.topics import Partitions, Topics, catalogue
from schemas.base import Message as Model
from schemas.lean_case import Case
from tests.unit.machine import START, diamond, event, opened, outcome
from tests.unit.test_orchestrator import values_of

TOPICS = Topics("cw")
INBOX = TopicPartition("cw.inbox", 0)
LOG = TopicPartition("cw.cases", 0)


class Deaf(MemoryTransactionalProducer):
    """Its next commit is carried out, and its answer is lost with the producer."""

    def commit(self) -> LogEnds:
        super().commit()
        raise FencedError("the answer was lost")


class Forgetful(DictStore):
    """Cannot be read once."""

    broken = False

    def get(self, key: str) -> bytes | None:
        if self.broken:
            self.broken = False
            raise StateLostError("a checksum is wrong", partition=0)
        return super().get(key)


class Stand:
    """One orchestrator's loop on a broker of its own."""

    def __init__(
        self, consumer: type[MemoryConsumer] = MemoryConsumer, partitions: int = 1
    ) -> None:
        self.now = START
        self.broker = MemoryBroker(lambda: self.now)
        agents = ("triage", "billing", "kb", "reply", "spare")
        count = Partitions(inbox=partitions, events=1, tasks=1, results=1)
        self.broker.admin().create(catalogue(TOPICS, agents, ["ticket"], count))
        self.plan = diamond()
        self.store = Forgetful()
        self.it = Orchestrator(
            TOPICS,
            [self.plan],
            partitions=partitions,
            writer_id="w",
            limits=OrchestratorLimits(),
            store_of=lambda partition: self.store if partition == 0 else DictStore(),
        )
        self.noted: list[tuple[str, Mapping[str, Any]]] = []
        spec = ConsumerSpec("cw.orchestrator", ("cw.inbox",), "w", paused_on_assign=True)
        self.handles = Handles(
            self.broker,
            lambda: self.now,
            consumer(self.broker.link, spec),
            transactional_id="w",
            reader=self.broker.reader(),
            note=lambda name, fields: self.noted.append((name, fields)),
        )
        self.loop = TransactionalLoop(self.it, "w", LoopLimits())
        self.run = self.loop.run()
        self.operation: Operation = next(self.run)

    def tell(self, *models: Model, partition: int = 0) -> None:
        producer = self.broker.producer()
        for model in models:
            ce_type: str = getattr(model, "ce_type", "")
            headers = (("ce_type", ce_type.encode()),)
            value = model.to_json()
            producer.produce(Record("cw.inbox", b"k", value, headers, partition=partition))

    def turns(self, n: int) -> list[Operation]:
        """Go on until the loop has taken so many times; what it asked for."""
        asked: list[Operation] = []
        while n:
            asked.append(self.operation)
            n -= isinstance(self.operation, Take)
            self.operation = advance(self.run, self.operation, self.handles)
        return asked

    def case_ids(self) -> Sequence[str]:
        return sorted(values_of(self.it.states[0]))


def read_from(asked: Sequence[Operation]) -> list[int]:
    return [operation.offsets[LOG] for operation in asked if isinstance(operation, ReadLogs)]


def test_after_a_commit_the_state_knows_how_far_the_changelog_is() -> None:
    stand = Stand()
    stand.tell(opened(stand.plan))
    stand.turns(4)

    assert stand.it.states[0].log_offset == 3
    assert stand.broker.log(LOG).end == 4
    assert stand.it.restored(INBOX, None) == 1


def test_a_regained_partition_is_restored_from_where_its_last_commit_ended() -> None:
    stand = Stand()
    stand.tell(opened(stand.plan), opened(stand.plan, event("e2")))
    stand.turns(4)
    before = stand.case_ids()
    stand.broker.rebalance("cw.orchestrator")

    assert read_from(stand.turns(4)) == [4]
    assert stand.case_ids() == before
    assert INBOX in stand.loop.ready


def test_a_commit_whose_answer_was_lost_does_not_move_the_state_and_is_read_again() -> None:
    stand = Stand()
    stand.turns(2)
    deaf = Deaf(stand.broker.link, "w")
    deaf.init()
    stand.handles.transactional = deaf
    stand.tell(opened(stand.plan))
    asked = stand.turns(4)

    assert read_from(asked) == [0]
    assert stand.case_ids() == [opened(stand.plan).case_id]
    assert stand.it.states[0].log_offset == stand.broker.log(LOG).end


def test_a_partition_whose_changelog_cannot_be_read_stands_still_and_the_others_go_on() -> None:
    stand = Stand(partitions=2)
    from_the_future = Record("cw.cases", b"abc", b'{"v":9}', partition=0)
    stand.broker.producer().produce(from_the_future)
    some = [opened(stand.plan, event(f"e{number}")) for number in range(9)]
    first, other = (
        next(each for each in some if partition_of(each.case_id.encode(), 2) == home)
        for home in (0, 1)
    )
    stand.tell(first)
    stand.tell(other, partition=1)
    stand.turns(6)

    assert list(stand.loop.ready) == [TopicPartition("cw.inbox", 1)]
    assert sorted(values_of(stand.it.states[1])) == [other.case_id]
    (said,) = [fields for name, fields in stand.noted if name == "stopped"]
    assert (said["partition"], said["loop"]) == (0, "orchestrator")
    assert "cw.cases:0 offset 0, key 'abc': it has version 9" in said["error"]


def test_a_partition_that_stands_still_is_tried_again_when_it_is_assigned_anew() -> None:
    stand = Stand()
    stand.broker.producer().produce(Record("cw.cases", b"abc", b"{", partition=0))
    stand.turns(3)
    stand.broker.producer().produce(Record("cw.cases", b"abc", None, partition=0))
    assert INBOX in stand.loop.stopped
    stand.broker.compact("cw.cases")
    stand.broker.rebalance("cw.orchestrator")
    stand.turns(4)

    assert INBOX in stand.loop.ready
    assert not stand.loop.stopped


def test_a_state_that_cannot_be_trusted_any_more_is_restored_and_nothing_is_lost() -> None:
    stand = Stand()
    stand.tell(opened(stand.plan))
    stand.turns(4)
    stand.store.broken = True
    stand.tell(opened(stand.plan, event("e2")))
    asked = stand.turns(5)

    assert read_from(asked) == [0]
    assert len(stand.case_ids()) == 2
    (said,) = [fields for name, fields in stand.noted if name == "discarded"]
    assert (said["reason"], said["error"]) == ("corrupt", "a checksum is wrong")


def test_a_state_that_is_ahead_of_its_changelog_or_long_unseen_is_thrown_away() -> None:
    stand = Stand()
    stand.tell(opened(stand.plan))
    stand.turns(4)
    end, later = 3, START + stand.it.limits.unseen_max_s

    assert stand.it.adopt(INBOX, end, later).discarded is None
    assert stand.it.adopt(INBOX, end - 1, START) == Adopted(0, "ahead")
    stand.it.states[0].log_offset = 3
    assert stand.it.adopt(INBOX, end, later + 1) == Adopted(0, "stale")
    assert stand.case_ids() == []


def case_of(stand: Stand, case_id: str) -> Case:
    case = stand.it.states[0].load(case_id)
    assert case is not None
    return case


def with_a_join_ahead() -> tuple[Stand, Case]:
    """A case whose last step waits for two others; one of them has answered."""
    stand = Stand()
    command = opened(stand.plan)
    stand.tell(command)
    stand.turns(4)
    for step in ("triage", "kb"):
        case = case_of(stand, command.case_id)
        stand.tell(outcome(case, step))
        if step == "triage":
            stand.turns(2)
    return stand, case


def until_it_waits_for_company(stand: Stand) -> None:
    company = Take(stand.loop.limits.batch_max, stand.loop.limits.company_s)
    for _ in range(20):
        if stand.operation == company:
            return
        stand.operation = advance(stand.run, stand.operation, stand.handles)
    raise AssertionError("it does not wait")


def commits(asked: Sequence[Operation]) -> int:
    return sum(isinstance(operation, Commit) for operation in asked)


def test_a_turn_that_nobody_waits_for_takes_the_other_outcome_of_a_join_along() -> None:
    stand, case = with_a_join_ahead()
    tasks = stand.broker.log(TopicPartition("cw.tasks.reply", 0))
    until_it_waits_for_company(stand)
    stand.tell(outcome(case, "billing"))
    asked = stand.turns(2)

    assert tasks.end == 2  # with the transaction's marker
    assert commits(asked) == 1
    assert stand.loop.ready[INBOX] == 4


def test_a_turn_for_which_no_company_comes_is_committed_alone() -> None:
    stand, _ = with_a_join_ahead()
    until_it_waits_for_company(stand)

    assert commits(stand.turns(2)) == 1
    assert stand.loop.ready[INBOX] == 3


def test_what_waits_for_company_goes_with_its_partition() -> None:
    stand, case = with_a_join_ahead()
    until_it_waits_for_company(stand)
    stand.broker.rebalance("cw.orchestrator")
    stand.tell(outcome(case, "billing"))
    asked = stand.turns(2)
    assert not commits(asked)
    stand.turns(5)

    assert stand.loop.ready[INBOX] == 4
    assert stand.broker.log(TopicPartition("cw.tasks.reply", 0)).end == 2


class Unanswered(MemoryConsumer):
    """A question who left finds no answer, once."""

    broken = False

    def departed(self, partitions: Iterable[TopicPartition]) -> frozenset[str]:
        if self.broken:
            self.broken = False
            raise RetriableError("the broker is away")
        return super().departed(partitions)


def dies_inside(stand: Stand, name: str) -> None:
    """Somebody takes the partition over, commits once, and dies within his next transaction."""
    process = stand.broker.connect(name)
    member = process.consumer(ConsumerSpec("cw.orchestrator", ("cw.inbox",), name))
    while INBOX not in member.take(1, 0).assignment:
        stand.turns(1)
    producer = process.transactional(name)
    producer.init()
    for last in (False, True):
        producer.begin()
        if last:
            producer.produce([Record("cw.cases", b"k", b"left open", partition=0)])
        producer.send_offsets({INBOX: 0}, member.group_metadata())
        if not last:
            producer.commit()
    process.link.cut()
    stand.now += 7  # its session is over, its transaction is not


def test_a_transaction_that_somebody_who_died_left_open_is_ended_by_who_takes_over() -> None:
    stand = Stand()
    stand.turns(2)
    dies_inside(stand, "a")
    stand.turns(6)

    assert ("release", {"loop": "orchestrator", "writer": "a"}) in stand.noted
    assert INBOX in stand.loop.ready


def test_while_nobody_can_say_who_died_it_is_asked_again_a_little_later() -> None:
    stand = Stand(Unanswered)
    stand.turns(2)
    dies_inside(stand, "a")
    assert isinstance(stand.handles.consumer, Unanswered)
    stand.handles.consumer.broken = True
    stand.turns(6)
    assert not stand.handles.consumer.broken
    assert INBOX not in stand.loop.ready, "it asks once a second"

    stand.now += 1
    stand.turns(6)
    assert INBOX in stand.loop.ready
