"""Questions to people, read from `{ns}.approvals`, and the decisions that answer them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from pydantic import ValidationError

from caseworks.scan import Follower, Tail, ends, partition_counts, partitions_of, records
from events.broker import Broker, Message, TopicPartition
from events.errors import PayloadError, SetupError
from events.partitioner import partition_of
from events.settings import Settings
from schemas.approval import ApprovalEnded, ApprovalRequested


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and how it ended if it did."""

    request: ApprovalRequested
    ended: ApprovalEnded | None = None

    def open_at(self, now: float) -> bool:
        """Whether a decision may still count. `now` in seconds since the epoch."""
        return self.ended is None and self.request.expires_at.timestamp() > now


def read_approval(message: Message) -> ApprovalRequested | ApprovalEnded | None:
    """What a record of `approvals` says; `None` for one that is not ours."""
    try:
        match message.header("ce_type"):
            case ApprovalRequested.ce_type:
                return ApprovalRequested.from_json(message.value or b"")
            case ApprovalEnded.ce_type:
                return ApprovalEnded.from_json(message.value or b"")
            case _:
                return None
    except ValidationError:
        return None


def fold(messages: Iterable[Message]) -> dict[str, Asked]:
    """The questions by id as these records leave them; a case that reopens may ask anew."""
    asked: dict[str, Asked] = {}
    for message in messages:
        match read_approval(message):
            case ApprovalRequested() as request:
                asked.pop(request.approval_id, None)
                asked[request.approval_id] = Asked(request)
            case ApprovalEnded() as ended if ended.approval_id in asked:
                asked[ended.approval_id] = replace(asked[ended.approval_id], ended=ended)
    return asked


def open_questions(broker: Broker, settings: Settings, now: float) -> list[Asked]:
    """Every question that a person may answer now, the oldest first. Reads the whole topic."""
    sources = partitions_of(partition_counts(broker), [settings.topics.approvals])
    with closing(broker.reader()) as reader:
        found = fold(message for source in sources for message in records(reader, source))
    waiting = [asked for asked in found.values() if asked.open_at(now)]
    return sorted(waiting, key=lambda asked: asked.request.asked_at)


Starts = dict[TopicPartition, int]


def from_now(broker: Broker, settings: Settings) -> Starts:
    """Where to follow from, so that nothing that comes after this call is missed."""
    return ends(broker, partitions_of(partition_counts(broker), [settings.topics.approvals]))


def follow(
    broker: Broker, settings: Settings, starts: Starts
) -> Iterator[ApprovalRequested | ApprovalEnded]:
    """What is asked and answered, for ever."""
    topics = [settings.topics.approvals]
    with closing(Follower(broker, topics, starts, namespace=settings.namespace)) as follower:
        while True:
            for message in follower.take(0.5):
                said = read_approval(message)
                if said is not None:
                    yield said


def need_open(broker: Broker, settings: Settings, approval_id: str, now: float) -> Asked:
    """The question, if it can still be answered.

    Raises `SetupError` when nobody asked it, `PayloadError` when it has ended or is too old.
    """
    with closing(broker.reader()) as reader:
        found = fold(records(reader, _home(broker, settings, approval_id))).get(approval_id)
    if found is None:
        raise SetupError(f"nobody asked {approval_id}", hint="caseworks approvals list")
    if found.ended is not None:
        raise PayloadError("no_question", f"{approval_id} was {told(found.ended)}")
    if not found.open_at(now):
        request = found.request
        raise PayloadError(
            "no_question",
            f"{approval_id} expired at {request.expires_at:%Y-%m-%d %H:%M:%S}Z: {_then(request)}",
        )
    return found


class Watch:
    """Waits for the end of one question, from the moment it is made."""

    def __init__(self, broker: Broker, settings: Settings, approval_id: str) -> None:
        self._approval_id = approval_id
        self._reader = broker.reader()
        self._tail = Tail.at_end(self._reader, [_home(broker, settings, approval_id)])

    def wait(self, timeout_s: float) -> ApprovalEnded | None:
        """How it ended, or `None` when nothing was heard in time."""
        return self._tail.until(self._its_end, timeout_s)

    def _its_end(self, message: Message) -> ApprovalEnded | None:
        said = read_approval(message)
        if isinstance(said, ApprovalEnded) and said.approval_id == self._approval_id:
            return said
        return None

    def close(self) -> None:
        """Stop looking."""
        self._reader.close()


def told(ended: ApprovalEnded) -> str:
    """An end in words: `approved by ann`."""
    words = {"approve": "approved", "reject": "rejected", "correct": "corrected"}
    by = f" by {ended.by}" if ended.by else ""
    why = f": {ended.note}" if ended.note else ""
    when = f"{ended.ended_at:%Y-%m-%d %H:%M:%S}Z"
    return f"{words.get(ended.ending, ended.ending)}{by} at {when}{why}"


def _then(request: ApprovalRequested) -> str:
    return f"its case goes on by `{request.on_expiry}`, see caseworks case show {request.case_id}"


def _home(broker: Broker, settings: Settings, approval_id: str) -> TopicPartition:
    """A question lies where its case's id leads."""
    topic = settings.topics.approvals
    count = len(partitions_of(partition_counts(broker), [topic]))
    case_id = approval_id.partition(":")[0]
    return TopicPartition(topic, partition_of(case_id.encode(), count))
