from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag

import pytest

from caseworks.cli.breaker import NO_EFFECT
from coordinator.breakers import BreakerLimits
from coordinator.controller import Controller
from coordinator.transactional import LoopLimits, TransactionalLoop
from events.broker import ConsumerSpec, Record
from events.dispatch import Handles, unheard
from events.envelope import record_of
from events.thread_driver import ThreadDriver
from schemas.base import instant
from schemas.control import Breaker, BreakerOrder, Decision, Pause, PauseOrder, Probe
from tests.unit.command_line import NOW, TOPICS, CommandLine


@pytest.fixture
def command() -> CommandLine:
    made = CommandLine()
    made.make_topics()
    return made


def decided(decision: Decision) -> Record:
    name = decision.dependency if isinstance(decision, Breaker) else decision.agent
    return record_of(
        decision,
        decision.ce_type,
        topic=TOPICS.control,
        key=f"{'breaker' if isinstance(decision, Breaker) else 'pause'}:{name}",
        ce_id="x",
        source="caseworks/cw",
        now=NOW,
        partition=0,
    )


@contextmanager
def controlled(command: CommandLine) -> Iterator[None]:
    """A controller runs on a thread."""
    spec = ConsumerSpec(TOPICS.loop_group("controller"), (TOPICS.requests,), paused_on_assign=True)

    def handles() -> Handles:
        consumer = command.broker.consumer(spec)
        reader = command.broker.reader()
        return Handles(command.broker, lambda: NOW, consumer, "cw-controller-0", reader)

    controller = Controller(TOPICS, "cw-controller-0", BreakerLimits())
    loop = TransactionalLoop(controller, "cw-controller-0", LoopLimits())
    stop = Flag()
    driver = ThreadDriver("controller", loop.run, handles, stop=stop, listener=unheard)
    driver.start()
    try:
        yield
    finally:
        stop.set()
        assert driver.join(10)


def test_breakers_are_listed_the_open_ones_first_and_as_they_are_now(command: CommandLine) -> None:
    lease = Probe(worker="cw-fleet-triage-2", until=instant(NOW + 30))
    command.produce(
        decided(Breaker(dependency="crm", state="open", epoch=1, at=instant(NOW))),
        decided(Breaker(dependency="crm", state="closed", epoch=2, at=instant(NOW))),
        decided(Breaker(dependency="mail", state="half_open", epoch=4, probe=lease, reason="503")),
        decided(Pause(agent="triage", paused=True)),
    )

    ran = command("breaker", "list")
    lines = [line for line in ran.out.splitlines() if "crm" in line or "mail" in line]
    assert ("half open" in lines[0], "closed" in lines[1]) == (True, True)
    assert "cw-fleet-triage-2" in lines[0]
    assert "1 of 2 let nothing through" in ran.out
    assert [each["dependency"] for each in command("breaker", "list", "--json").lines] == [
        "mail",
        "crm",
    ]


def test_an_order_is_decided_and_said(command: CommandLine) -> None:
    with controlled(command):
        opened = command("breaker", "open", "crm", "--by", "ann", "--why", "it charges twice")
        assert (opened.code, opened.out) == (0, "crm is open, held\n")
        assert command("breaker", "release", "crm").out == "crm is open\n"
        assert command("breaker", "hold", "crm").out == "crm is open, held\n"
        closed = command("breaker", "close", "crm", "--json")
        [said] = closed.lines
        assert (said["state"], said["held"]) == ("closed", False)

    first = BreakerOrder.from_json(command.records(TOPICS.requests)[0].value)
    assert first == BreakerOrder(dependency="crm", order="open", by="ann", why="it charges twice")


def test_an_agent_is_paused_listed_and_resumed(command: CommandLine) -> None:
    with controlled(command):
        paused = command("agent", "pause", "triage", "--version", "3", "--why", "it errs")
        assert paused.out == "triage (version 3) is paused\n"
        [listed] = command("agent", "list", "--json").lines
        assert (listed["agent"], listed["workers"], listed["waiting"]) == ("triage", 0, 0)
        assert (listed["paused"]["agent_version"], listed["paused"]["reason"]) == ("3", "it errs")
        assert "1 of 1 paused" in command("agent", "list").out
        assert command("agent", "resume", "triage").out == "triage is at work\n"
        assert "0 of 1 paused" in command("agent", "list").out


def test_an_order_that_nobody_decides_says_so(command: CommandLine) -> None:
    ran = command("breaker", "close", "crm", "--timeout-s", "0")

    assert (ran.code, ran.out) == (NO_EFFECT, "")
    assert "no coordinator runs" in ran.err


def test_an_agent_that_nobody_knows_is_not_paused(command: CommandLine) -> None:
    ran = command("agent", "pause", "triag", "--timeout-s", "0")

    assert ran.code == 3
    assert "known: triage" in ran.err
    assert [PauseOrder.from_json(m.value) for m in command.records(TOPICS.requests)] == []
