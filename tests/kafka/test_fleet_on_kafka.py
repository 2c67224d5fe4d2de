"""The shared breaker on real Kafka: three workers, a dependency that dies, one probe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event as Flag
from threading import Thread
from uuid import uuid4

from pydantic import BaseModel

from agents.context import Context
from caseworks.app import App
from caseworks.client import Publisher, delivered, new_event
from caseworks.compose import System, build
from caseworks.fleet import decisions
from caseworks.scan import Follower
from events.errors import TransientError
from events.kafka import KafkaBroker
from events.settings import Settings
from schemas.control import Breaker
from schemas.result import Result

RATE_PER_S = 40
BEFORE_S, DOWN_S, AFTER_S = 4.0, 8.0, 20.0
LIMIT_S = 90.0


class Customer(BaseModel):
    name: str


@dataclass
class Crm:
    """Answers, or fails while it is down; remembers when it was called."""

    down: bool = False
    called_s: list[float] = field(default_factory=list)

    async def ask(self) -> None:
        self.called_s.append(time.monotonic())
        await asyncio.sleep(0.02)
        if self.down:
            raise TransientError("503")


def shop(crm: Crm) -> App:
    app = App("shop")

    @app.agent(calls=("crm",), timeout_s=10.0)
    async def look_up(customer: Customer, ctx: Context) -> str:
        async with ctx.call("crm"):
            await crm.ask()
        return customer.name

    app.workflow("greeting", on={"customer.came": Customer}, steps=[look_up])
    return app


@contextmanager
def running(app: App, bootstrap: str, settings: Settings) -> Iterator[System]:
    """A coordinator and three workers, each on threads of its own."""

    def system(instance: str) -> System:
        named = settings.model_copy(update={"instance": instance})
        return build(app, named, broker=KafkaBroker(bootstrap, client_id=f"test-{instance}"))

    first, stop = system("0"), Flag()
    first.ensure_topics()
    workers = [system(str(number)) for number in range(3)]
    roles: list[Callable[[], int]] = [partial(first.run_coordinator, stop)]
    roles += [partial(worker.run_worker, list(app.agents), stop) for worker in workers]
    threads = [Thread(target=role) for role in roles]
    for thread in threads:
        thread.start()
    try:
        yield first
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_dead_dependency_is_probed_once_and_nothing_is_lost(kafka_bootstrap: str) -> None:
    crm = Crm()
    settings = Settings(
        namespace=f"fleet-{uuid4().hex[:8]}",
        inbox_partitions=2,
        events_partitions=2,
        tasks_partitions=6,
        results_partitions=2,
    )
    with running(shop(crm), kafka_bootstrap, settings) as system:
        sent = int(RATE_PER_S * (BEFORE_S + DOWN_S))
        with closing(Publisher(system.broker, settings)) as publisher:
            publisher.send(new_event("customer.came", {"name": "ann"}, subject="first"))
            publisher.flush()
            wait_called(crm)
            began = time.monotonic()
            down_s = began + BEFORE_S
            for number in range(sent):
                crm.down = number >= RATE_PER_S * BEFORE_S
                publisher.send(new_event("customer.came", {"name": "ann"}, subject=f"s{number}"))
                time.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
            publisher.flush()
        crm.down = False
        results = answered(system, settings, sent + 1, began + LIMIT_S)
        [breaker] = [
            each
            for each in decisions(system.broker, settings).values()
            if isinstance(each, Breaker)
        ]

    assert len(results) == sent + 1
    assert {result.status for result in results} == {"completed"}
    assert (breaker.state, breaker.epoch) == ("closed", 2), "one probe, and it succeeded"
    meanwhile = [at for at in crm.called_s if down_s + 2.0 <= at < down_s + DOWN_S]
    assert meanwhile == []
    back_s = min(at for at in crm.called_s if at >= down_s + DOWN_S)
    first_ten = [at for at in crm.called_s if back_s <= at < back_s + 10.0]
    assert len(first_ten) <= 2 * 10 * RATE_PER_S


def wait_called(crm: Crm) -> None:
    """Until the workers are at work: an outage before that is none."""
    deadline = time.monotonic() + LIMIT_S
    while not crm.called_s:
        assert time.monotonic() < deadline, "nobody works"
        time.sleep(0.05)


def answered(
    system: System, settings: Settings, wanted: int, until_s: float, workflow: str = "greeting"
) -> list[Result]:
    """The results that came until then, one of each case."""
    found: dict[str, Result] = {}
    topics = [settings.topics.results(workflow)]
    with closing(Follower(system.broker, topics, namespace=settings.namespace)) as follower:
        while len(found) < wanted and time.monotonic() < until_s:
            for message in follower.take(0.5):
                result = delivered(message).result
                found[result.case_id] = result
    return list(found.values())
