"""The way of an unknown refund: dead letter, a person, the replay, one result; nothing twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event as Flag
from threading import Thread

from pydantic import BaseModel

from agents.context import Context
from caseworks.app import App
from caseworks.client import Publisher, delivered, new_event
from caseworks.compose import build
from caseworks.nodes import Step
from caseworks.scan import Follower
from events.errors import TransientError
from events.settings import Settings
from schemas.result import Result
from tests.unit.command_line import CommandLine

LIMIT_S = 20.0


class Claim(BaseModel):
    amount: int


def refunds(calls: list[str]) -> App:
    app = App("refunds")

    @app.agent()
    async def refund(claim: Claim, ctx: Context) -> str:
        async def pay(key: str) -> str:
            calls.append(key)
            raise TransientError("the answer was lost")

        result: str = await ctx.effect("pay", pay, returns=str)
        return result

    app.workflow("refund", on={"refund.wanted": Claim}, steps=[Step(refund, on_dead_letter="park")])
    return app


@contextmanager
def running(app: App, command: CommandLine, settings: Settings) -> Iterator[None]:
    """A coordinator and a worker on threads."""
    coordinator, worker = (build(app, settings, broker=command.broker) for _ in range(2))
    coordinator.ensure_topics()
    stop = Flag()
    threads = [
        Thread(target=coordinator.run_coordinator, args=(stop,)),
        Thread(target=worker.run_worker, args=(sorted(app.agents), stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_what_a_person_found_out_is_what_the_case_goes_on_by() -> None:
    calls: list[str] = []
    command, settings = CommandLine(), Settings()
    event = new_event("refund.wanted", {"amount": 7})
    with running(refunds(calls), command, settings):
        with closing(Publisher(command.broker, settings)) as publisher:
            publisher.send(event)
            publisher.flush()
        dead = until(command, "dlq", "list")
        effect_id = f"{event.case_id}:refund/pay"
        [open_] = command("effect", "list", "--json").lines
        resolved = command("effect", "resolve", effect_id, "--happened", '"paid"')
        replayed = command("dlq", "replay", "--case", event.case_id, "--yes", "--why", "found it")
        result = answer(command, settings)

    assert dead["reason"] == "effect_unknown"
    assert "effect resolve" in dead["error"]
    assert (open_["effect_id"], open_["running"]) == (effect_id, False)
    assert (resolved.code, replayed.code) == (0, 0), replayed
    assert (result.status, result.output) == ("completed", "paid")
    assert calls == [effect_id]


def until(command: CommandLine, *told: str) -> dict[str, str]:
    """The first line that a command comes to write."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        lines = command(*told, "--json").lines
        if lines:
            first: dict[str, str] = lines[0]
            return first
        time.sleep(0.05)
    raise AssertionError(f"nothing from {told} in {LIMIT_S} s")


def answer(command: CommandLine, settings: Settings) -> Result:
    deadline = time.monotonic() + LIMIT_S
    topics = [settings.topics.results("refund")]
    with closing(Follower(command.broker, topics, namespace=settings.namespace)) as follower:
        while time.monotonic() < deadline:
            for message in follower.take(0.1):
                return delivered(message).result
    raise AssertionError(f"no result in {LIMIT_S} s")
