"""Dead letters for people: finding, reading and replaying them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from pydantic import ValidationError

from caseworks.inbox import command_record, produce
from caseworks.scan import dead_letter_topics, partition_counts, partitions_of, records
from events.broker import Broker, LogReader, Message, Record, TopicPartition
from events.dead_letters import original_headers, read_letter
from events.errors import PayloadError, SetupError
from events.settings import Settings
from schemas.commands import Replay
from schemas.dead_letter import PREFIX, DeadLetter


@dataclass(frozen=True, slots=True)
class Dead:
    """A record of a dead-letter topic, and what its headers say."""

    message: Message
    letter: DeadLetter

    @property
    def place(self) -> str:
        """`topic:partition:offset`: its name, and the id of the command that replays it (I9)."""
        return place_of(self.message)


def place_of(message: Message) -> str:
    """`topic:partition:offset`."""
    return f"{message.topic}:{message.partition}:{message.offset}"


def read_place(text: str) -> tuple[TopicPartition, int]:
    """The record that `topic:partition:offset` names. Raises `PayloadError` for other text."""
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    if not (topic and partition.isdigit() and offset.isdigit()):
        raise PayloadError("place", f"{text!r} is not of the form topic:partition:offset")
    return TopicPartition(topic, int(partition)), int(offset)


def newest(broker: Broker, settings: Settings, limit: int, reason: str = "") -> list[Dead]:
    """The newest dead letters of a namespace, the newest last. Reads all of them."""
    found = (dead for dead in _all(broker, settings) if not reason or dead.letter.reason == reason)
    return heapq.nlargest(limit, found, key=lambda dead: dead.message.timestamp_ms)[::-1]


def _all(broker: Broker, settings: Settings) -> Iterator[Dead]:
    counts = partition_counts(broker)
    with closing(broker.reader()) as reader:
        for source in partitions_of(counts, dead_letter_topics(counts, settings.topics)):
            for message in records(reader, source):
                yield _dead(message)


def _dead(message: Message) -> Dead:
    """A record that is no letter of ours is shown as one without a reason, not hidden."""
    try:
        return Dead(message, read_letter(message))
    except ValidationError:
        unknown = DeadLetter.model_validate(
            {
                "topic": message.topic.removesuffix(".dlq"),
                "partition": -1,
                "offset": -1,
                "timestamp": message.timestamp_ms / 1000,
                "reason": "unknown",
            }
        )
        return Dead(message, unknown)


def find(broker: Broker, place: str) -> Dead:
    """The dead letter of that name. Raises `SetupError` when it is not there."""
    source, offset = read_place(place)
    partitions_of(partition_counts(broker), [source.topic])
    with closing(broker.reader()) as reader:
        message = _at(reader, source, offset)
    if message is None or not source.topic.endswith(".dlq"):
        raise SetupError(f"there is no dead letter {place}", hint="caseworks dlq list")
    return _dead(message)


def _at(reader: LogReader, source: TopicPartition, offset: int) -> Message | None:
    for message in records(reader, source, offset):
        return message if message.offset == offset else None
    return None


def replay_record(dead: Dead, settings: Settings, partitions: int, now: float, by: str) -> Record:
    """What is published to replay a letter.

    A task goes back into its case by a command whose id is the letter's place, so that replaying
    it twice has one effect. Anything else goes back as it was, to where it was.
    """
    letter, topics = dead.letter, settings.topics
    if letter.topic.startswith(topics.tasks("")):
        if letter.case_id is None or letter.task_id is None:
            raise SetupError(
                f"{dead.place} does not say whose task it is",
                hint="publish its event again; a case that was answered answers no second time",
            )
        command = Replay(
            case_id=letter.case_id, task_id=letter.task_id, command_id=dead.place, by=by
        )
        return command_record(command, settings, partitions, now, ce_id=dead.place)
    counted = (f"{PREFIX}replays", str(letter.replays + 1).encode())
    headers = (*original_headers(dead.message), counted)
    return Record(letter.topic, dead.message.key, dead.message.value, headers)


def replay(
    broker: Broker, settings: Settings, letters: list[Dead], now: float, by: str
) -> list[Record]:
    """Publish the replays and wait until Kafka has them. Raises `SetupError` if it has not."""
    inbox = len(partitions_of(partition_counts(broker), [settings.topics.inbox]))
    made = [replay_record(dead, settings, inbox, now, by) for dead in letters]
    failed = produce(broker, made)
    if failed:
        raise SetupError(
            f"{len(failed)} of {len(made)} replays were not acknowledged: {failed[0]}",
            hint="replay them again: it has no second effect on tasks",
        )
    return made
