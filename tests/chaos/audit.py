"""The independent reader: everything on the topics, committed, from the beginning to the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from uuid import uuid4

import confluent_kafka as ck

from tests.chaos.accountant import Accountant

END_TIMEOUT_S = 60.0
"""How long an open transaction may hide the end of a partition; the broker aborts it before."""
CALL_TIMEOUT_S = 15.0
BATCH = 5000
PARTITION_EOF = ck.KafkaError._PARTITION_EOF


class HiddenEndError(Exception):
    """The end of a partition could not be read."""


def partitions_of(bootstrap: str) -> dict[str, int]:
    """Every topic's partition count."""
    with closing(_reader(bootstrap)) as reader:
        topics = reader.list_topics(timeout=CALL_TIMEOUT_S).topics
        return {name: len(topic.partitions) for name, topic in topics.items()}


def audit(bootstrap: str, namespace: str, accountant: Accountant) -> None:
    """Tell the accountant of every record. Raises `HiddenEndError`.

    Events first: a result of what was never published is a stranger.
    """
    counts = partitions_of(bootstrap)
    tellers: list[tuple[str, Callable[[ck.Message], None]]] = [
        (f"{namespace}.events", lambda m: accountant.event(header_of(m, "ce_id"))),
        (f"{namespace}.inbox", lambda m: _tell_command(accountant, m)),
        (f"{namespace}.tasks.", lambda m: _tell_task(accountant, m)),
        (f"{namespace}.results.", lambda m: _tell_result(accountant, m)),
        (".dlq", lambda m: accountant.dead_letter(m.topic() or "", header_of(m, "ce_id"))),
    ]
    for place, tell in tellers:
        for topic in sorted(counts):
            if _belongs(topic, place, namespace):
                for message in committed(bootstrap, topic, counts[topic]):
                    tell(message)


def _belongs(topic: str, place: str, namespace: str) -> bool:
    if not topic.startswith(f"{namespace}."):
        return False
    if place == ".dlq":
        return topic.endswith(place)
    return not topic.endswith(".dlq") and (
        topic.startswith(place) if place.endswith(".") else topic == place
    )


def _tell_command(accountant: Accountant, message: ck.Message) -> None:
    body = json.loads(message.value() or b"")
    match header_of(message, "ce_type"):
        case "caseworks.opened":
            accountant.opened(body["case_id"], body["event"]["id"])
        case "caseworks.outcome":
            accountant.outcome(body["task_id"], done=body["status"] == "done")
        case _:
            pass


def _tell_task(accountant: Accountant, message: ck.Message) -> None:
    body = json.loads(message.value() or b"")
    accountant.task(body["task_id"], body["attempt"])


def _tell_result(accountant: Accountant, message: ck.Message) -> None:
    body = json.loads(message.value() or b"")
    accountant.result(body["event"]["id"], body)


def header_of(message: ck.Message, name: str) -> str:
    found = dict(message.headers() or ()).get(name)
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else ""


def _reader(bootstrap: str) -> ck.Consumer:
    return ck.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"chaos-audit-{uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )


def committed(bootstrap: str, topic: str, partitions: int) -> Iterator[ck.Message]:
    """Every committed record; done when each partition is read up to its high watermark of now."""
    with closing(_reader(bootstrap)) as reader:
        places = [ck.TopicPartition(topic, number, 0) for number in range(partitions)]
        ends = {
            place.partition: reader.get_watermark_offsets(place, CALL_TIMEOUT_S)[1]
            for place in places
        }
        left = {number for number, end in ends.items() if end > 0}
        reader.assign(places)
        quiet_until = time.monotonic() + END_TIMEOUT_S
        while left:
            for message in reader.consume(BATCH, 0.2):
                error = message.error()
                if error is None:
                    quiet_until = time.monotonic() + END_TIMEOUT_S
                    yield message
                elif error.code() == PARTITION_EOF:
                    left -= {
                        number
                        for number in left
                        if number == message.partition() and (message.offset() or 0) >= ends[number]
                    }
            if time.monotonic() > quiet_until:
                raise HiddenEndError(f"{topic}, partitions {sorted(left)}: end not in sight")
