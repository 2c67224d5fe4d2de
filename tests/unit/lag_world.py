"""A namespace on the modelled broker in which lag is made by hand, and counted by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from caseworks.lag import LagReport, PartitionLag, Surveyor
from events.broker import Broker, Consumer, ConsumerSpec, Record, TopicPartition
from events.envelope import record_of
from events.memory import MemoryBroker
from events.partitioner import partition_of
from events.progress import Progress, encode
from events.settings import Settings
from events.topics import Partitions, Topics, catalogue
from schemas.agent import AgentSpec
from schemas.control import Decision
from schemas.outcome import Outcome
from schemas.usage import Usage

START = 1_800_000_000.0
TOPICS = Topics("cw")
COUNTS = Partitions(inbox=2, events=2, tasks=2, results=2)
GROUP = TOPICS.workers_group("triage")
TASKS = TopicPartition(TOPICS.tasks("triage"), 0)
URGENT = TopicPartition(TOPICS.tasks("triage", "urgent"), 0)
SPEC = AgentSpec(name="triage", version="v1", calls=("model",), timeout_s=20)


@dataclass
class LagWorld:
    """One agent, `triage`, which calls `model`."""

    now: float = START
    settings: Settings = field(default_factory=lambda: Settings(lag_window_s=60))

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(lambda: self.now)
        self.broker.admin().create(catalogue(TOPICS, ["triage"], ["ticket"], COUNTS))
        self.surveyor = Surveyor(
            self.broker, self.settings, specs={"triage": SPEC}, clock=lambda: self.now
        )
        self._written = 0

    # ---- what happens

    def put(self, n: int, at: TopicPartition = TASKS) -> None:
        put(self.broker, n, at)

    def transaction(self, n: int, at: TopicPartition = TASKS, *, commit: bool = True) -> None:
        self._written += 1
        writer = self.broker.transactional(f"w-{self._written}")
        writer.init()
        writer.begin()
        writer.produce([Record(at.topic, b"k", b"v", (), at.partition) for _ in range(n)])
        (writer.commit if commit else writer.abort)()

    def member(self, *topics: str) -> Consumer:
        """One that takes again and again stays a member."""
        read = topics or (TASKS.topic, URGENT.topic)
        consumer = self.broker.consumer(ConsumerSpec(GROUP, read, instance="one"))
        consumer.take(1000, 0)
        return consumer

    def commit(
        self,
        consumer: Consumer,
        offset: int,
        at: TopicPartition = TASKS,
        *,
        unfinished: Collection[int] = (),
        end: int = 0,
        seen: int = 0,
    ) -> None:
        consumer.take(1000, 0)
        head = next(iter(self.broker.reader().read(at, offset, 1).messages), None)
        head_ms = head.timestamp_ms if head is not None and unfinished else 0
        told = Progress(offset, max(end, offset), tuple(unfinished), head_ms=head_ms, seen=seen)
        consumer.commit({at: offset}, {at: encode(told)})

    def decide(self, key: str, decision: Decision) -> None:
        record = record_of(
            decision,
            decision.ce_type,
            topic=TOPICS.control,
            key=key,
            ce_id=f"{key}-{self.now}",
            source="test",
            now=self.now,
            partition=0,
        )
        producer = self.broker.producer()
        producer.produce(record)
        assert producer.flush(1) == 0

    def outcome(
        self, seconds: float, tokens: int = 0, usd: str = "0", status: str = "done"
    ) -> None:
        put_outcome(self.broker, seconds, tokens, usd, status)

    # ---- what is told

    def look(self) -> LagReport:
        return self.surveyor.look()

    def watch(
        self,
        seconds: float,
        each: Callable[[], object] = lambda: None,
        at: TopicPartition = TASKS,
        group: str = GROUP,
    ) -> PartitionLag:
        """Look every ten seconds, for so long, with something happening before each look."""
        until = self.now + seconds
        found = self.partition(at, group)
        while self.now < until:
            self.now += 10
            each()
            found = self.partition(at, group)
        return found

    def partition(self, at: TopicPartition = TASKS, group: str = GROUP) -> PartitionLag:
        return partitions(self.look())[group, at]

    # ---- counted another way

    def waiting(self, at: TopicPartition = TASKS, done: Collection[int] = ()) -> int:
        """Records of the log itself that a reader would still be given, one by one."""
        log = self.broker.log(at)
        said = self.broker.group(GROUP).offsets.position(at)
        start = said if said is not None and said <= log.end else 0
        left = log.entries[max(start, log.first) : log.stable]
        return sum(each is not None and each.offset not in done for each in left)


def partitions(report: LagReport) -> Mapping[tuple[str, TopicPartition], PartitionLag]:
    return {
        (group.group, TopicPartition(each.topic, each.partition)): each
        for group in report.groups
        for each in group.partitions
    }


def put(broker: Broker, n: int, at: TopicPartition) -> None:
    producer = broker.producer()
    for _ in range(n):
        producer.produce(Record(at.topic, b"k", b"v", (), at.partition))
    assert producer.flush(10) == 0
    producer.close()


def put_outcome(
    broker: Broker, seconds: float, tokens: int = 0, usd: str = "0", status: str = "done"
) -> None:
    began = datetime.fromtimestamp(START, UTC)
    outcome = Outcome.model_validate(
        {
            "task_id": "c:triage",
            "case_id": "c",
            "agent": "triage",
            "attempt": 1,
            "status": status,
            "usage": Usage(tokens_in=tokens, usd=Decimal(usd)),
            "started_at": began,
            "finished_at": began + timedelta(seconds=seconds),
        }
    )
    record = record_of(
        outcome,
        outcome.ce_type,
        topic=TOPICS.inbox,
        key="c",
        ce_id="o",
        source="test",
        now=START,
        partition=partition_of(b"c", COUNTS.inbox),
    )
    producer = broker.producer()
    producer.produce(record)
    assert producer.flush(10) == 0
    producer.close()
