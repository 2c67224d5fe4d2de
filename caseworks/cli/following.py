"""Following one event from its publication to its answer, on the few partitions it can touch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from caseworks.casebook import find, read_state
from caseworks.cli.output import note, plain, say, write_json
from caseworks.client import Delivered, Publisher, delivered
from caseworks.scan import Tail, partition_counts, results_topics
from caseworks.timeline import Moment, Timeline
from events.broker import LogReader, TopicPartition
from events.dead_letters import read_letter
from events.partitioner import partition_of
from schemas.lean_case import Case

if TYPE_CHECKING:
    from events.broker import Broker, Message
    from events.settings import Settings
    from schemas.event import Event

POLL_S = 0.02
BAD = frozenset(("failed", "expired", "cancelled"))
NO_ANSWER = 1

Show = Callable[[Moment], None]


def send(broker: Broker, settings: Settings, events: Iterable[Event]) -> None:
    """Publish events and wait until Kafka has them. Raises `SetupError` if it has not."""
    with closing(Publisher(broker, settings)) as publisher:
        for event in events:
            publisher.send(event)
        publisher.flush()


def tell_published(events: Sequence[Event], *, as_json: bool) -> None:
    """The case of each event for scripts and of a single one for people, else how many."""
    for event in events:
        if as_json:
            write_json({"case_id": event.case_id, "id": event.id, "type": event.type})
        elif len(events) == 1:
            say(f"case {event.case_id}")
    if not as_json and len(events) != 1:
        say(f"published {len(events)} events")


def answered_before(
    broker: Broker, settings: Settings, event: Event, *, as_json: bool
) -> int | None:
    """The exit code if an event of this name was answered before: no second answer will come."""
    found = find(broker, settings, event.case_id)
    if found is None or not found.results:
        return None
    note(f"this event was answered before: case {event.case_id}")
    _show_answer(found.results[-1], as_json=as_json)
    return 1 if found.status in BAD else 0


def publish_and_follow(
    broker: Broker, settings: Settings, event: Event, timeout_s: float, *, as_json: bool
) -> int:
    """Publish and tell what happens; returns the exit code."""
    show = _moments_as_json if as_json else _moments_as_text(event.time.timestamp())
    with closing(broker.reader()) as reader:
        tail = _tail(broker, settings, reader, event)
        send(broker, settings, [event])
        tell_published([event], as_json=as_json)
        timeline, deadline = Timeline(), time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for message in tail.poll():
                end = _told(message, event, timeline, show, as_json=as_json)
                if end is not None:
                    return end
            time.sleep(POLL_S)
    note(f"no result within {timeout_s:g} s: caseworks case show {event.case_id}")
    return NO_ANSWER


def _tail(broker: Broker, settings: Settings, reader: LogReader, event: Event) -> Tail:
    """The few partitions on which something about this event can appear."""
    counts, topics = partition_counts(broker), settings.topics
    keys = {topics.cases: event.case_id, topics.dlq(topics.events): event.subject or event.id}
    keys |= dict.fromkeys(results_topics(counts, topics), event.subject or event.id)
    return Tail.at_end(
        reader,
        [
            TopicPartition(topic, partition_of(key.encode(), counts[topic]))
            for topic, key in keys.items()
            if topic in counts
        ],
    )


def _told(
    message: Message, event: Event, timeline: Timeline, show: Show, *, as_json: bool
) -> int | None:
    """Tell what a record says about the event's case; the exit code when that is the end."""
    if message.topic.endswith(".dlq"):
        return _refused(message, event)
    if message.key == event.case_id.encode():
        state = read_state(message)
        if isinstance(state, Case):
            for moment in timeline.changed(state, message.timestamp_ms / 1000):
                show(moment)
        return None
    if message.value is None or event.case_id.encode() not in message.value:
        return None
    found = delivered(message)
    if found.result.case_id != event.case_id:
        return None
    for moment in timeline.answered(found.result):
        show(moment)
    _show_answer(found, as_json=as_json)
    return 1 if found.result.status in BAD else 0


def _refused(message: Message, event: Event) -> int | None:

    if message.header("ce_id") != event.id or message.header("ce_source") != event.source:
        return None
    letter = read_letter(message)
    note(f"refused: {plain(letter.reason)}: {plain(letter.error)}")
    place = f"{message.topic}:{message.partition}:{message.offset}"
    note(f"it is a dead letter now: caseworks dlq show {place}")
    return NO_ANSWER


def _moments_as_text(start: float) -> Show:
    def show(moment: Moment) -> None:
        after = f"{max(0.0, moment.at - start) * 1000:7.0f} ms"
        say(f"{after}  {plain(moment.step):<16} {plain(moment.what):<11} {plain(moment.detail)}")

    return show


def _moments_as_json(moment: Moment) -> None:
    write_json(moment.as_json())


def _show_answer(found: Delivered, *, as_json: bool) -> None:
    if as_json:
        write_json({"type": found.type, "result": found.result.model_dump(mode="json")})
        return
    result = found.result
    say(f"{plain(found.type)} ({result.status})")
    say(json.dumps(result.output, indent=2, ensure_ascii=True, default=str))
