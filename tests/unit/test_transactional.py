"""The transactional loop on the memory broker, operation by operation."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.case_turn import OrchestratorLimits
from coordinator.orchestrator import Orchestrator
from coordinator.transactional import LoopLimits, TransactionalLoop
from events.broker import ConsumerSpec, LogEnds, Record, TopicPartition
from events.dispatch import Handles, advance
from events.errors import FencedError
from events.loop import Operation, ReadLogs, Take
from events.memory import MemoryBroker
from events.memory.producers import MemoryTransactionalProducer
from events.topics import Partitions, Topics, catalogue
from schemas.base import Message as Model
from tests.unit.machine import START, diamond, event, opened

TOPICS = Topics("cw")
INBOX = TopicPartition("cw.inbox", 0)
LOG = TopicPartition("cw.cases", 0)
ONE = Partitions(inbox=1, events=1, tasks=1, results=1)


class Deaf(MemoryTransactionalProducer):
    """Its next commit is carried out, and its answer is lost with the producer."""

    def commit(self) -> LogEnds:
        super().commit()
        raise FencedError("the answer was lost")


class Stand:
    """One orchestrator's loop on a broker of its own."""

    def __init__(self) -> None:
        self.now = START
        self.broker = MemoryBroker(lambda: self.now)
        agents = ("triage", "billing", "kb", "reply", "spare")
        self.broker.admin().create(catalogue(TOPICS, agents, ["ticket"], ONE))
        self.plan = diamond()
        self.it = Orchestrator(
            TOPICS, [self.plan], partitions=1, writer_id="w", limits=OrchestratorLimits()
        )
        spec = ConsumerSpec("cw.orchestrator", ("cw.inbox",), "w", paused_on_assign=True)
        self.handles = Handles(
            self.broker,
            lambda: self.now,
            self.broker.consumer(spec),
            transactional_id="w",
            reader=self.broker.reader(),
        )
        self.loop = TransactionalLoop(self.it, "w", LoopLimits())
        self.run = self.loop.run()
        self.operation: Operation = next(self.run)

    def tell(self, *models: Model) -> None:
        producer = self.broker.producer()
        for model in models:
            ce_type: str = getattr(model, "ce_type", "")
            headers = (("ce_type", ce_type.encode()),)
            producer.produce(Record("cw.inbox", b"k", model.to_json(), headers, partition=0))

    def turns(self, n: int) -> list[Operation]:
        """Go on until the loop has taken so many times; what it asked for."""
        asked: list[Operation] = []
        while n:
            asked.append(self.operation)
            n -= isinstance(self.operation, Take)
            self.operation = advance(self.run, self.operation, self.handles)
        return asked

    def case_ids(self) -> Sequence[str]:
        return sorted(self.it.states[0].cases)


def read_from(asked: Sequence[Operation]) -> list[int]:
    return [operation.offsets[LOG] for operation in asked if isinstance(operation, ReadLogs)]


def test_after_a_commit_the_state_knows_how_far_the_changelog_is() -> None:
    stand = Stand()
    stand.tell(opened(stand.plan))
    stand.turns(4)

    assert stand.it.adopt(INBOX) == 3
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
    assert stand.it.adopt(INBOX) == stand.broker.log(LOG).end
