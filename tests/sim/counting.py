"""A small exactly-once system, and the same with one rule broken at a time.

Counters read words from `in`, keep a count a word (changelog `counts`, partition n belongs to
partition n of `in`), and write `word n` to `out`. Right is: each word's numbers, each once, in
order, whatever is killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, Literal

from events import loop as op
from events.broker import ConsumerSpec, Message, Record, Taken, TopicPartition
from events.dispatch import Handles
from events.errors import AbortableError, FencedError, RetriableError, UnstableError
from events.memory import HARSH, Faults, MemoryBroker
from events.memory.consumer import MemoryConsumer
from events.sim_actors import Incarnation, Program
from events.sim_driver import Run, SimDriver
from events.topics import TopicSpec

PARTITIONS = 2
WORDS = (b"ant", b"bee")
SAID = 8

Broken = Literal[
    "nothing",
    "epoch by ownership",
    "stale messages",
    "restore to the stable offset",
    "promote before commit",
    "offsets first",
    "no offsets",
    "give a time-out up",
]
Step = Generator[op.Operation, Any, Any]


class CarelessConsumer(MemoryConsumer):
    """Delivers what the first half of a take found, whoever owns it now."""

    def _kept(self) -> list[Message]:
        first, self._first = self._first, []
        return first


class Counters:
    """The loop of one counter."""

    def __init__(self, broken: Broken) -> None:
        self.broken = broken
        self.counts: dict[TopicPartition, Counter[bytes]] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.epochs: dict[TopicPartition, int] = {}

    def run(self) -> op.Loop:
        yield from self.repeat(op.Init())
        while True:
            taken: Taken = yield op.Take(10, 0.05)
            known = dict(self.counts)
            yield from self.adopt(taken)
            # What came before a restore is delivered again from the restored position.
            trusted = known if self.broken == "stale messages" else dict(self.counts)
            yield from self.restore()
            batch = [m for m in taken.messages if m.source in trusted]
            if batch:
                yield from self.transact(batch, trusted)

    def adopt(self, taken: Taken) -> Step:
        for source in list(self.counts):
            epoch = taken.assignment.get(source)
            if self.broken == "epoch by ownership" and epoch is not None:
                if self.epochs.get(source) != epoch:
                    yield op.Open({source: self.positions[source]})
            elif self.epochs.get(source) != epoch:
                del self.counts[source]
        self.epochs = dict(taken.assignment)

    def restore(self) -> Step:
        for source in [source for source in self.epochs if source not in self.counts]:
            try:
                committed = yield from self.repeat(op.Committed((source,)))
            except UnstableError:
                continue
            log = TopicPartition("counts", source.partition)
            end = (yield op.LogEnd((log,)))[log]
            counts: Counter[bytes] = Counter()
            offset = 0
            while offset < end:
                found = (yield op.ReadLogs({log: offset}, 50))[log]
                for message in found.messages:
                    counts[message.key] = int(message.value)
                if found.next_offset == offset:
                    if self.broken == "restore to the stable offset":
                        break
                    counts = Counter()
                    break
                offset = found.next_offset
            if offset < end and self.broken != "restore to the stable offset":
                continue
            self.counts[source] = counts
            self.positions[source] = committed[source] or 0
            yield op.Open({source: committed[source]})

    def transact(
        self, batch: Sequence[Message], trusted: dict[TopicPartition, Counter[bytes]]
    ) -> Step:
        overlay = {source: Counter(trusted[source]) for source in {m.source: None for m in batch}}
        if self.broken == "promote before commit":
            overlay = {source: trusted[source] for source in overlay}
        records, positions = [], {}
        for message in batch:
            counts, key = overlay[message.source], message.key or b""
            counts[key] += 1
            number = b"%d" % counts[key]
            records.append(Record("counts", key, number, partition=message.partition))
            records.append(Record("out", key, number, partition=message.partition))
            positions[message.source] = message.offset + 1
        try:
            if self.broken == "offsets first":
                yield op.CommitOffsets(positions)
            yield from self.repeat(op.Begin())
            yield op.Produce(records)
            if self.broken not in {"no offsets", "offsets first"}:
                yield from self.repeat(op.SendOffsets(positions))
            yield from self.repeat(op.Commit())
            if self.broken == "no offsets":
                yield op.CommitOffsets(positions)
        except AbortableError:
            yield from self.abort(positions)
        except FencedError:
            yield from self.repeat(op.Renew())
            self.counts.clear()
        else:
            self.counts.update(overlay)
            self.positions.update(positions)

    def abort(self, positions: dict[TopicPartition, int]) -> Step:
        try:
            if self.broken == "give a time-out up":
                yield from self.repeat(op.Renew())
            else:
                yield from self.repeat(op.Abort())
        except FencedError:
            yield from self.repeat(op.Renew())
            self.counts.clear()
        else:
            yield op.Open({source: self.positions[source] for source in positions})

    def repeat(self, operation: op.Operation) -> Step:
        while True:
            try:
                return (yield operation)
            except RetriableError as error:
                if self.broken == "give a time-out up" and isinstance(operation, op.Commit):
                    raise AbortableError(str(error)) from error


def boot(broken: Broken, instance: str | None) -> Any:
    """The boot function of a counter, static under a name or dynamic without one."""
    spec = ConsumerSpec("counters", ("in",), instance=instance, paused_on_assign=True)

    def begin(life: Incarnation) -> list[Program]:
        make = CarelessConsumer if broken == "stale messages" else MemoryConsumer
        handles = Handles(
            life.broker,
            life.clock,
            make(life.broker.link, spec),
            transactional_id=f"counter-{life.name}",
            reader=life.broker.reader(),
        )
        return [Program(Counters(broken).run(), handles)]

    return begin


def system(
    seed: int, broken: Broken = "nothing", faults: Faults = HARSH, **options: Any
) -> SimDriver:
    """Two counters under faults; words are said one after the other."""
    driver = SimDriver(seed, faults=faults, **options)
    driver.broker.admin().create(
        [TopicSpec(name, "word", PARTITIONS, "") for name in ("in", "counts", "out")]
    )
    for name in ("c0", "c1"):
        driver.add(name, boot(broken, name))
    producer = driver.broker.producer()
    for number in range(SAID):
        record = Record(
            "in", WORDS[number // PARTITIONS % len(WORDS)], b"said", partition=number % PARTITIONS
        )
        driver.after(0.01 + 0.02 * number, "say", partial(producer.produce, record))
    return driver


def heard(broker: MemoryBroker) -> list[tuple[int, bytes | None, bytes | None]]:
    """What committed readers of `out` see."""
    return [
        (partition, message.key, message.value)
        for partition in range(PARTITIONS)
        for message in broker.log(TopicPartition("out", partition)).read(0, 1000).messages
    ]


def expected() -> list[tuple[int, bytes, bytes]]:
    """What is right."""
    counts: Counter[tuple[int, bytes]] = Counter()
    right = []
    for number in range(SAID):
        at = number % PARTITIONS, WORDS[number // PARTITIONS % len(WORDS)]
        counts[at] += 1
        right.append((*at, b"%d" % counts[at]))
    return sorted(right)


def verdict(driver: SimDriver, **bounds: Any) -> tuple[str, Run]:
    """Run to the end and a while beyond; "right", or what is wrong."""
    right = expected()
    run = driver.run(lambda: len(heard(driver.broker)) >= len(right), **bounds)
    if run.outcome == "crashed":
        return "crashed", run
    if run.outcome != "done":
        return "unfinished", run
    driver.run(steps_max=400)
    return ("right" if sorted(heard(driver.broker)) == right else "wrong"), run
