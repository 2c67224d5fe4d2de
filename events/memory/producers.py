"""The two producers: with transactions, and without."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from events.broker import DeliveryReport, LogEnds, Record, TopicPartition
from events.errors import (
    AbortableError,
    BrokerError,
    FatalBrokerError,
    FencedError,
    RetriableError,
)
from events.memory.cluster import TransactionalId
from events.memory.groups import Membership
from events.memory.link import Link
from events.memory.log import PartitionLog, Transaction

State = Literal["new", "ready", "open", "committing", "committed", "failed", "fenced", "closed"]
"""Of a transactional client: `committing` may only be repeated, `failed` only aborted,
`committed` is a commit that was carried out while its caller was told to repeat it."""


class MemoryTransactionalProducer:
    """`events.broker.TransactionalProducer` on the modelled cluster."""

    def __init__(self, link: Link, transactional_id: str) -> None:
        self.transactional_id = transactional_id
        self._link = link
        self._cluster = link.cluster
        self._state: State = "new"
        self._epoch = -1
        self._current: Transaction | None = None
        """Begun on the broker; a transaction begins there with its first write."""
        self._marks: dict[TopicPartition, int] = {}
        """Where the marks of this transaction end."""
        self._out_of_step = False
        """A record was refused: the client library numbers the next ones wrongly, once."""

    def init(self) -> None:
        with self._cluster.lock:
            self._link.enter()
            self._maybe_retry()
            ids = self._cluster.ids
            owner = ids.get(self.transactional_id)
            if owner is None:
                owner = ids[self.transactional_id] = TransactionalId(self.transactional_id)
            owner.epoch += 1
            self._cluster.finish(owner)
            self._link.ids[self.transactional_id] = None
            self._epoch, self._state, self._current = owner.epoch, "ready", None

    def begin(self) -> None:
        with self._cluster.lock:
            self._enter("begin", "ready")
            self._state, self._marks = "open", {}

    def produce(self, records: Sequence[Record], marks: Sequence[Record] = ()) -> None:
        with self._cluster.lock:
            self._enter("produce", "open")
            transaction = self._transaction()
            for record in records:
                self._cluster.append(self._log_for(record), record, transaction)
            for record in marks:
                log = self._log_for(record)
                self._marks[log.source] = self._cluster.append(log, record, transaction) + 1

    def send_offsets(self, positions: Mapping[TopicPartition, int], metadata: Any) -> None:
        with self._cluster.lock:
            self._enter("send_offsets", "open")
            if not isinstance(metadata, Membership):
                raise FatalBrokerError("send_offsets takes the consumer's group_metadata()")
            self._maybe_retry()
            group = self._cluster.group(metadata.group)
            refusal = group.refusal(metadata, transactional=True)
            if refusal is None and self._link.strikes("abort_offsets"):
                refusal = "the coordinator says so"
            if refusal is not None:
                self._fail(f"{metadata.group} refuses the positions: {refusal}")
            transaction = self._transaction()
            transaction.groups[group.name] = None
            self._cluster.move(group, metadata.member_id, positions, transaction)

    def commit(self) -> LogEnds:
        with self._cluster.lock:
            self._enter("commit", "open", "committing", "committed")
            self._check_epoch()
            if self._state == "committed":
                self._state = "ready"
                return self._marks
            if self._link.strikes("retriable"):
                self._state = "committing"
                raise RetriableError(f"{self.transactional_id}: the commit timed out")
            if self._out_of_step and self._current is not None:
                self._out_of_step = False
                self._fail("skipped sequence numbers")
            if self._link.strikes("fenced"):
                self._cluster.time_out(self._cluster.ids[self.transactional_id])
                self._check_epoch()
            if self._link.strikes("abort_commit"):
                self._fail("the coordinator refused the commit")
            if self._current is not None:
                self._cluster.decide(self._current, commit=True)
                self._current = None
            if self._link.strikes("commit_timeout"):
                self._state = "committed"
                raise RetriableError(f"{self.transactional_id}: the commit timed out")
            self._state = "ready"
            return self._marks

    def abort(self) -> None:
        with self._cluster.lock:
            self._enter("abort", "open", "failed")
            self._check_epoch()
            self._maybe_retry()
            if self._current is not None:
                self._cluster.decide(self._current, commit=False)
                self._current = None
            self._state = "ready"

    def close(self) -> None:
        self._state = "closed"

    # --- guards

    def _log_for(self, record: Record) -> PartitionLog:
        log = self._cluster.log_for(record)
        if log is None:
            self._fail(f"there is no topic {record.topic}, partition {record.partition}")
        if not log.fits(record):
            self._out_of_step = True
            self._fail(f"a record for {record.topic} is over max.message.bytes")
        return log

    def _enter(self, call: str, *states: State) -> None:
        """Let time pass; refuse what the client's state does not allow."""
        self._link.enter()
        if self._state in states:
            return
        match self._state:
            case "fenced":
                self._fence()
            case "failed":
                raise AbortableError(f"{self.transactional_id}: abort comes before {call}")
            case state:
                raise FatalBrokerError(f"{self.transactional_id}: {call} while {state}")

    def _transaction(self) -> Transaction:
        """This transaction on the broker, begun if need be; refuses a fenced producer."""
        owner = self._check_epoch()
        if self._current is None:
            if owner.current is not None:
                # The broker answers CONCURRENT_TRANSACTIONS until the last one's markers are out.
                self._cluster.settle(owner.current)
            self._current = owner.current = self._cluster.begin(self.transactional_id)
        return self._current

    def _check_epoch(self) -> TransactionalId:
        owner = self._cluster.ids[self.transactional_id]
        if owner.epoch != self._epoch:
            self._fence()
        return owner

    def _fence(self) -> NoReturn:
        self._state = "fenced"
        raise FencedError(
            f"{self.transactional_id}: a newer producer took this id, or its transaction timed out"
        )

    def _fail(self, why: str) -> NoReturn:
        self._state = "failed"
        raise AbortableError(f"{self.transactional_id}: {why}")

    def _maybe_retry(self) -> None:
        if self._link.strikes("retriable"):
            raise RetriableError(f"{self.transactional_id}: the broker did not answer in time")


class MemoryProducer:
    """`events.broker.Producer` on the modelled cluster."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._cluster = link.cluster
        self._sending: deque[tuple[Record, DeliveryReport | None]] = deque()
        self._reports: deque[tuple[DeliveryReport, Exception | None]] = deque()
        self._closed = False
        link.producers.append(self)

    @property
    def sending(self) -> int:
        """Records that are still on their way."""
        return len(self._sending)

    @property
    def reports(self) -> int:
        """Reports that `poll` would serve."""
        return len(self._reports)

    def produce(self, record: Record, on_delivery: DeliveryReport | None = None) -> None:
        with self._cluster.lock:
            self._link.enter()
            if self._closed:
                raise FatalBrokerError(f"a producer of {self._link.name} is closed")
            if len(self._sending) + len(self._reports) >= self._cluster.limits.queue_max:
                raise RetriableError(f"the producer of {self._link.name} is full")
            self._air(1)
            dice = self._cluster.dice
            if dice.quiet and not self._sending:
                self._arrive(record, on_delivery)
                return
            self._sending.append((record, on_delivery))
            if dice.quiet or not dice.weather("slow_delivery"):
                self.deliver_all()

    def deliver(self) -> None:
        """The oldest record on its way arrives, or is given up."""
        self._arrive(*self._sending.popleft())

    def _arrive(self, record: Record, on_delivery: DeliveryReport | None) -> None:
        error = self._write(record)
        if on_delivery is None:
            self._air(-1)
        else:
            self._reports.append((on_delivery, error))

    def deliver_all(self) -> None:
        """All of them, in order."""
        while self._sending:
            self.deliver()

    def lose(self) -> None:
        """The process is killed: some of what was on its way has left already."""
        for _ in range(self._cluster.dice.pick(len(self._sending) + 1)):
            self.deliver()
        self._clear()

    def poll(self) -> None:
        with self._cluster.lock:
            self._link.enter()
            due, self._reports = self._reports, deque()
            self._air(-len(due))
        for report, error in due:
            report(error)

    def flush(self, timeout_s: float) -> int:
        with self._cluster.lock:
            self._link.enter()
            self.deliver_all()
        self.poll()
        return len(self._sending) + len(self._reports)

    def close(self) -> None:
        with self._cluster.lock:
            self._closed = True
            self._clear()

    def _clear(self) -> None:
        self._air(-len(self._sending) - len(self._reports))
        self._sending.clear()
        self._reports.clear()

    def _air(self, change: int) -> None:
        self._link.airborne += change
        self._cluster.airborne += change

    def _write(self, record: Record) -> BrokerError | None:
        log = self._cluster.log_for(record)
        if log is None:
            return FatalBrokerError(f"there is no topic {record.topic}")
        if not log.fits(record):
            return FatalBrokerError(f"a record for {record.topic} is over max.message.bytes")
        if self._cluster.dice.quiet:
            self._cluster.append(log, record)
            self._cluster.arrived(log)
            return None
        lost = self._link.strikes("lost_delivery")
        if not lost or self._cluster.dice.pick(2):
            for _ in range(2 if self._link.strikes("duplicate") else 1):
                self._cluster.append(log, record)
            self._cluster.arrived(log)
        return RetriableError(f"the record for {record.topic} was given up") if lost else None
