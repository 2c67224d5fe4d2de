"""For tests of an app: run it on the broker in memory, no Kafka and no processes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING

from caseworks.client import Publisher, delivered
from caseworks.scan import Follower
from events.errors import SetupError
from events.memory import MemoryBroker
from events.settings import Settings

if TYPE_CHECKING:
    from caseworks.app import App
    from schemas.event import Event
    from schemas.result import Result

PARTITIONS = 2
TAKE_S = 0.05


def play(app: App, events: Iterable[Event], *, timeout_s: float = 10.0) -> list[Result]:
    """Publish events to the app and return one result each, in the order of the events.

    Coordinator and worker run on threads of this process, as they would on Kafka.

    Example:
        `[result] = play(app, [new_event("order.placed", {"item": "lamp", "price": 40})])`

    Raises `DeclarationError` for the app, `SetupError` when a result does not come in time.
    """
    from caseworks.compose import build

    settings = Settings(
        inbox_partitions=PARTITIONS,
        events_partitions=PARTITIONS,
        tasks_partitions=PARTITIONS,
        results_partitions=PARTITIONS,
    )
    broker = MemoryBroker()
    coordinator, worker = (build(app, settings, broker=broker) for _ in range(2))
    coordinator.ensure_topics()
    stop = Flag()
    threads = [
        Thread(target=coordinator.run_coordinator, args=(stop,), name="coordinator"),
        Thread(target=worker.run_worker, args=(sorted(app.agents), stop), name="worker"),
    ]
    for thread in threads:
        thread.start()
    try:
        return _results(app, broker, settings, list(events), timeout_s)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _results(
    app: App, broker: MemoryBroker, settings: Settings, events: list[Event], timeout_s: float
) -> list[Result]:
    with closing(Publisher(broker, settings)) as publisher:
        for event in events:
            publisher.send(event)
        publisher.flush()
    wanted = {event.case_id: event for event in events}
    found: dict[str, Result] = {}
    topics = [settings.topics.results(plan.name) for plan in app.plans]
    topics.append(settings.topics.dlq(settings.topics.events))
    deadline = time.monotonic() + timeout_s
    with closing(Follower(broker, topics, namespace=settings.namespace)) as follower:
        while len(found) < len(wanted):
            if time.monotonic() > deadline:
                late = next(e for case_id, e in wanted.items() if case_id not in found)
                raise SetupError(f"no result for {late.type} {late.id} within {timeout_s:g} s")
            for message in follower.take(TAKE_S):
                if message.topic.endswith(".dlq"):
                    raise SetupError(f"an event was refused: {message.header('cw_dlq_error')}")
                result = delivered(message).result
                found.setdefault(result.case_id, result)
    return [found[event.case_id] for event in events]
