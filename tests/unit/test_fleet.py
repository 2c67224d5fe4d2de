"""What a worker makes of the controller's decisions: leases, pauses, silence."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from agents.limits.dependencies import Dependencies, DependencyLimits
from agents.limits.fleet_loop import fleet_loop
from agents.limits.fleet_view import FleetView
from agents.limits.gate import gate_of
from events.broker import Message, Record, Taken, TopicPartition
from events.errors import DependencyOpenError, PermanentError, RetriableError, TransientError
from events.loop import Open
from events.metrics import Prometheus
from events.topics import Topics
from events.virtual_loop import VirtualLoop
from schemas.agent import AgentSpec
from schemas.base import instant
from schemas.control import REQUESTS, Breaker, Pause, Probe, ProbeWanted
from tests.unit.workbench import ManualClock

START = 1_000_000.0
CONTROL = TopicPartition("cw.control", 0)


class Line:
    """A producer that keeps what is sent, or refuses it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False

    def produce(self, record: Record, on_delivery: Any = None) -> None:
        del on_delivery
        if self.full:
            raise RetriableError("full")
        self.records.append(record)

    def poll(self) -> None:
        """Nothing comes."""

    def flush(self, timeout_s: float) -> int:
        del timeout_s
        return 0

    def close(self) -> None:
        """Nothing is held."""


def decided(decision: Breaker | Pause, offset: int = 0) -> Message:
    name = decision.dependency if isinstance(decision, Breaker) else decision.agent
    key = f"{'breaker' if isinstance(decision, Breaker) else 'pause'}:{name}".encode()
    headers = (("ce_type", decision.ce_type.encode()),)
    return Message("cw.control", 0, offset, 0, key, decision.to_json(), headers)


@dataclass
class World:
    """One process's view, its own breakers, and a clock that moves when told."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    line: Line = field(default_factory=Line)
    telemetry: Prometheus = field(default_factory=Prometheus)

    def __post_init__(self) -> None:
        self.view = FleetView("w-1", Topics("cw"), self.line, self.clock, self.telemetry)
        limits = {"crm": DependencyLimits(failures_max=1, open_s=30)}
        self.dependencies = Dependencies(self.clock, limits, fleet=self.view)
        self.loop = VirtualLoop(self.clock)
        self.view.looked()

    def says(self, state: str = "open", epoch: int = 1, **fields: Any) -> None:
        breaker = Breaker.model_validate(
            {"dependency": "crm", "state": state, "epoch": epoch, **fields}
        )
        self.view.learn([decided(breaker)])

    def open_for(self, seconds: float, epoch: int = 1) -> None:
        self.says("open", epoch, until=instant(self.clock.now + seconds))

    def lends(self, worker: str = "w-1", epoch: int = 1, seconds: float = 30.0) -> None:
        lease = Probe(worker=worker, until=instant(self.clock.now + seconds))
        self.says("half_open", epoch, probe=lease)

    @property
    def asked(self) -> list[Any]:
        return [
            REQUESTS[dict(record.headers)["ce_type"].decode()].from_json(record.value or b"")
            for record in self.line.records
        ]

    def run(self, work: Coroutine[Any, Any, Any], *, seconds: float = 0.0) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)
        self.pass_time(seconds)
        return task

    def pass_time(self, seconds: float) -> None:
        self.loop.run_ready()
        until = self.clock.now + seconds
        while (due := self.loop.next_timer()) is not None and due <= until:
            self.clock.now = max(due, self.clock.now)
            self.loop.run_ready()
        self.clock.now = until
        self.loop.run_ready()

    async def call(self, error: Exception | None = None) -> str:
        async with self.dependencies.call("crm"):
            if error is not None:
                raise error
        return "called"


@pytest.fixture
def world() -> World:
    return World()


def refused(task: asyncio.Task[Any]) -> DependencyOpenError:
    error = task.exception()
    assert isinstance(error, DependencyOpenError)
    return error


# ---- leases


def test_an_own_breaker_that_opens_is_reported_once_with_what_the_dependency_asked_for(
    world: World,
) -> None:
    world.run(world.call(TransientError("503", retry_after_s=40.0))).exception()
    world.run(world.call()).exception()

    [report] = world.asked
    assert (report.verdict, report.epoch, report.worker) == ("failing", 0, "w-1")
    assert report.retry_after_s == 40.0
    assert report.reason == "TransientError: 503"
    assert world.dependencies.breaker("crm").wait_s == 40.0


def test_nothing_is_called_while_the_fleet_says_open(world: World) -> None:
    world.open_for(10.0)

    assert refused(world.run(world.call())).retry_after_s == 10.0
    assert world.dependencies.standing("crm") == "shut"
    assert world.asked == []


def test_the_first_call_when_it_is_time_asks_for_the_probe_and_waits_for_the_lease(
    world: World,
) -> None:
    world.open_for(10.0)
    world.clock.now += 10.0
    assert world.dependencies.standing("crm") == "single"

    task = world.run(world.call(), seconds=0.5)
    assert not task.done()
    assert world.dependencies.standing("crm") == "shut"
    world.lends()
    world.pass_time(0.2)

    assert task.result() == "called"
    wish, report = world.asked
    assert wish == ProbeWanted(dependency="crm", epoch=1, worker="w-1")
    assert (report.verdict, report.epoch) == ("well", 1)


def test_a_lease_lets_one_call_through(world: World) -> None:
    world.open_for(0.0)
    first, second = world.run(world.call()), world.run(world.call())
    world.lends()
    world.pass_time(0.2)

    assert first.result() == "called"
    refused(second)
    assert world.dependencies.standing("crm") == "shut"


def test_a_failing_probe_is_reported_and_an_answer_of_no_is_an_answer(world: World) -> None:
    for epoch, error in ((1, TransientError("503")), (2, PermanentError("no such customer"))):
        world.open_for(0.0, epoch)
        task = world.run(world.call(error))
        world.lends(epoch=epoch)
        world.pass_time(0.2)
        assert task.exception() is error

    assert [each.verdict for each in world.asked[1::2]] == ["failing", "well"]


def test_a_lease_that_was_not_used_lets_another_call_through(world: World) -> None:
    world.open_for(0.0)

    async def hang() -> None:
        async with world.dependencies.call("crm"):
            await asyncio.sleep(100)

    hung = world.run(hang())
    world.lends()
    world.pass_time(0.2)
    hung.cancel()
    world.pass_time(0.0)

    assert world.dependencies.standing("crm") == "single"
    assert world.run(world.call()).result() == "called"


def test_a_lease_of_another_worker_or_of_an_earlier_life_is_none_of_ours(world: World) -> None:
    world.lends("w-2")
    refused(world.run(world.call()))
    world.lends("w-1", epoch=2)
    refused(world.run(world.call()))

    assert world.dependencies.standing("crm") == "shut"


def test_who_does_not_get_the_lease_comes_back_soon(world: World) -> None:
    world.open_for(0.0)
    task = world.run(world.call())
    world.lends("w-2", seconds=30.0)
    world.pass_time(0.2)

    assert refused(task).retry_after_s == 15.0


def test_what_a_person_holds_open_is_not_probed(world: World) -> None:
    world.says("open", held=True, until=None)
    world.clock.now += 1000.0

    refused(world.run(world.call()))
    assert world.dependencies.standing("crm") == "shut"
    assert world.asked == []


def test_closing_closes_the_own_breaker_too_and_work_goes_on_slowly(world: World) -> None:
    world.run(world.call(TransientError("503"))).exception()
    world.open_for(10.0)
    world.says("closed", 2, ramp_until=instant(world.clock.now + 10.0))

    assert world.dependencies.standing("crm") == "slow"
    assert world.run(world.call()).result() == "called"
    assert world.dependencies.breaker("crm").state == "closed"
    world.clock.now += 10.0
    assert world.dependencies.standing("crm") == "free"


def test_a_decider_whose_clock_was_an_hour_ahead_keeps_nobody_waiting_for_it(world: World) -> None:
    world.says("open", until=instant(world.clock.now + 3610.0), reset_s=10.0)
    assert world.dependencies.standing("crm") == "shut"
    world.clock.now += 10.5

    assert world.dependencies.standing("crm") == "single"


# ---- a controller that is away


def test_without_an_answer_the_own_breaker_decides_and_says_so(world: World) -> None:
    world.open_for(0.0)
    refused(world.run(world.call(), seconds=2.5))
    assert world.dependencies.standing("crm") == "shut"
    world.clock.now += 10.0

    assert world.dependencies.standing("crm") == "free"
    assert world.run(world.call()).result() == "called"
    counted = world.telemetry.value("caseworks_fleet_fallbacks_total", dependency="crm")
    assert counted == 1.0


def test_a_lease_whose_end_nobody_declares_does_not_stop_the_work_for_good(world: World) -> None:
    world.lends("w-2", seconds=30.0)
    world.clock.now += 30.0 + 10.5

    assert world.run(world.call()).result() == "called"


def test_the_next_decision_ends_the_loneliness(world: World) -> None:
    world.open_for(0.0)
    refused(world.run(world.call(), seconds=2.5))
    world.clock.now += 10.0
    assert world.dependencies.standing("crm") == "free"

    world.run(world.call())
    assert isinstance(world.asked[-1], ProbeWanted)
    world.lends("w-2")

    assert world.dependencies.standing("crm") == "shut"


def test_a_request_that_cannot_be_sent_is_no_error_of_the_agent(world: World) -> None:
    world.line.full = True

    assert isinstance(world.run(world.call(TransientError("503"))).exception(), TransientError)


@pytest.mark.parametrize("value", [b"{", b'{"v":2,"dependency":"crm","state":"open"}'])
def test_what_cannot_be_read_leaves_the_own_breaker_in_charge(world: World, value: bytes) -> None:
    world.open_for(100.0)
    headers = (("ce_type", Breaker.ce_type.encode()),)
    world.view.learn([Message("cw.control", 0, 7, 0, b"breaker:crm", value, headers)])

    assert world.run(world.call()).result() == "called"


# ---- pauses and the gate


def test_a_paused_version_takes_nothing_and_another_version_does(world: World) -> None:
    spec = AgentSpec(name="triage", version="3")
    gates = [gate_of(spec.evolve(version=v), world.dependencies) for v in ("3", "4")]
    world.view.learn([decided(Pause(agent="triage", paused=True, agent_version="3"))])
    assert [gate() for gate in gates] == ["shut", "free"]

    world.view.learn([decided(Pause(agent="triage", paused=True))])
    assert [gate() for gate in gates] == ["shut", "shut"]
    world.view.learn([decided(Pause(agent="triage", paused=False))])
    assert [gate() for gate in gates] == ["free", "free"]


def test_the_worst_of_what_an_agent_calls_holds_it_back(world: World) -> None:
    gate = gate_of(AgentSpec(name="triage", calls=("crm", "mail")), world.dependencies)
    assert gate() == "free"
    world.open_for(10.0)

    assert gate() == "shut"
    assert gate_of(AgentSpec(name="other", calls=("mail",)), world.dependencies)() == "free"


def test_tasks_wait_for_the_first_look_and_no_longer_than_two_seconds() -> None:
    clock = ManualClock(START)
    view = FleetView("w-1", Topics("cw"), Line(), clock)
    gate = gate_of(AgentSpec(name="triage"), Dependencies(clock, fleet=view))
    assert gate() == "shut"
    clock.now += 2.0

    assert gate() == "free"


def test_the_loop_opens_what_it_is_given_and_looks_to_the_end(world: World) -> None:
    view = FleetView("w-1", Topics("cw"), Line(), world.clock)
    loop = fleet_loop(view, 1.0)
    next(loop)
    assert loop.send(Taken([], {CONTROL: 1})) == Open({CONTROL: None})
    loop.send(None)
    assert not view.ready
    loop.send(Taken([decided(Pause(agent="triage", paused=True))], {CONTROL: 1}))
    assert (view.paused("triage", "1"), view.ready) == (True, False)
    loop.send(Taken([], {CONTROL: 1}))

    assert view.ready
    assert loop.send(Taken([], {CONTROL: 2})) == Open({CONTROL: None})
