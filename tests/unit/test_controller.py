"""The controller: breakers for the whole fleet, probe leases, pauses, restore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from coordinator.breakers import BREAKER, BreakerLimits
from coordinator.controller import Controller, ControlTurn
from events.broker import Message, TopicPartition
from events.errors import ChangelogError
from events.topics import Topics
from schemas.base import Message as Model
from schemas.control import (
    Breaker,
    BreakerOrder,
    BreakerReport,
    Pause,
    PauseOrder,
    ProbeWanted,
)

REQUESTS = TopicPartition("cw.requests", 0)
START = 1_000_000.0


class Room:
    """A controller fed by hand; keeps the log of its decisions."""

    def __init__(self) -> None:
        self.it = self.new()
        self.now = START
        self.log: list[Message] = []
        self.offset = 0

    def new(self) -> Controller:
        return Controller(Topics("cw"), "cw-controller-0", BreakerLimits())

    def asks(self, *models: Model, promote: bool = True) -> ControlTurn | None:
        return self.turn([self.message(model) for model in models], promote=promote)

    def message(self, model: Model) -> Message:
        self.offset += 1
        headers = (("ce_type", getattr(model, "ce_type", "").encode()),)
        return Message("cw.requests", 0, self.offset, 0, b"k", model.to_json(), headers)

    def turn(self, messages: Sequence[Message] = (), *, promote: bool = True) -> ControlTurn | None:
        turn = self.it.plan(messages, {REQUESTS: self.offset}, self.now)
        if turn is not None and promote:
            self.it.promote(turn)
            for record in turn.records:
                where = (record.topic, 0, len(self.log), 0)
                self.log.append(Message(*where, record.key, record.value, record.headers))
        return turn

    @property
    def crm(self) -> Breaker:
        return self.it.state.breaker("crm")

    def state(self) -> str:
        return self.crm.state

    def restarted(self) -> Controller:
        fresh = self.new()
        fresh.adopt(REQUESTS, len(self.log), self.now)
        fresh.restore(REQUESTS, self.log, len(self.log))
        return fresh


def report(room: Room, verdict: str = "failing", worker: str = "w1", **fields: Any) -> Model:
    given: dict[str, Any] = {
        "dependency": "crm",
        "verdict": verdict,
        "epoch": room.crm.epoch,
        "worker": worker,
    }
    return BreakerReport(**(given | fields))


def wish(room: Room, worker: str = "w1") -> Model:
    return ProbeWanted(dependency="crm", epoch=room.crm.epoch, worker=worker)


def opened(room: Room) -> Room:
    room.asks(report(room))
    return room


def half_opened(room: Room) -> Room:
    opened(room).now += 10
    room.asks(wish(room, "w2"))
    return room


def test_a_report_opens_the_breaker_for_everybody_and_the_second_changes_nothing() -> None:
    room = Room()
    first, second = report(room), report(room, worker="w2")
    turn = room.asks(first, second)

    assert room.state() == "open"
    assert room.crm.epoch == 1
    assert turn is not None
    assert [(record.topic, record.key) for record in turn.records] == [
        ("cw.control", b"breaker:crm")
    ]


def test_retry_after_is_honoured() -> None:
    room = Room()
    room.asks(report(room, retry_after_s=90))

    assert room.crm.until is not None
    assert room.crm.until.timestamp() == START + 90


def test_retry_after_is_believed_up_to_a_bound() -> None:
    room = Room()
    room.asks(report(room, retry_after_s=1e9))

    assert room.crm.reset_s == BreakerLimits().reset_s_max


def test_what_was_decided_while_the_clock_was_an_hour_ahead_does_not_last_an_hour() -> None:
    room = Room()
    room.now = START + 3600
    opened(room)
    room.now = START + 20
    room.asks(wish(room))
    assert room.state() == "half_open"

    room = Room()
    room.now = START + 3600
    half_opened(room).now = START + 20
    room.turn()
    assert room.state() == "open"


def test_nobody_probes_before_the_time() -> None:
    room = opened(Room())
    room.now += 9
    room.asks(wish(room))

    assert room.state() == "open"


def test_one_worker_gets_the_probe_and_the_others_do_not() -> None:
    room = opened(Room())
    room.now += 10
    room.asks(wish(room, "w2"), wish(room, "w3"))

    assert room.state() == "half_open"
    assert room.crm.probe is not None
    assert room.crm.probe.worker == "w2"


def test_the_probe_decides_and_nobody_else() -> None:
    room = half_opened(Room())
    room.asks(report(room, "well", worker="w1"))
    assert room.state() == "half_open"
    room.asks(report(room, "well", worker="w2"))

    assert room.state() == "closed"
    assert room.crm.ramp_until is not None
    assert room.crm.ramp_until.timestamp() == room.now + 10


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    room = half_opened(Room())
    waits = []
    for _ in range(7):
        room.asks(report(room, "failing", worker="w2"))
        waits.append(room.crm.reset_s)
        room.now += room.crm.reset_s
        room.asks(wish(room, "w2"))

    assert waits == [20, 40, 80, 160, 300, 300, 300]


def test_a_lease_that_runs_out_lets_the_next_one_probe() -> None:
    room = half_opened(Room())
    late = report(room, "well", worker="w2")
    room.now += 30
    turn = room.turn()

    assert turn is not None
    assert turn.positions == {REQUESTS: room.offset}  # no transaction without offsets
    assert room.state() == "open"
    room.asks(late)
    assert room.state() == "open"
    room.asks(wish(room, "w3"))
    assert room.crm.probe is not None
    assert room.crm.probe.worker == "w3"


def test_what_a_person_holds_no_report_moves() -> None:
    room = Room()
    room.asks(BreakerOrder(dependency="crm", order="open", by="ann", why="maintenance"))
    room.now += 3600
    room.asks(wish(room))
    assert (room.state(), room.crm.held, room.crm.by) == ("open", True, "ann")
    room.asks(BreakerOrder(dependency="crm", order="close", by="ann"))
    assert (room.state(), room.crm.held) == ("closed", False)
    room.asks(BreakerOrder(dependency="crm", order="hold", by="bob"))
    room.asks(report(room))
    assert room.state() == "closed"
    room.asks(BreakerOrder(dependency="crm", order="release", by="bob"))
    room.asks(report(room))
    assert room.state() == "open"


def test_a_held_open_breaker_can_be_probed_after_its_release() -> None:
    room = Room()
    room.asks(BreakerOrder(dependency="crm", order="open", by="ann"))
    room.asks(BreakerOrder(dependency="crm", order="release", by="ann"))
    room.asks(wish(room))

    assert room.state() == "half_open"


def test_an_agent_is_paused_and_resumed() -> None:
    room = Room()
    room.asks(PauseOrder(agent="triage", paused=True, by="ann", why="a bad deploy"))
    paused = room.it.state.by_key["pause:triage"]
    assert isinstance(paused, Pause)
    assert (paused.paused, paused.reason) == (True, "a bad deploy")
    room.asks(PauseOrder(agent="triage", paused=False, by="ann"))

    resumed = room.it.state.by_key["pause:triage"]
    assert isinstance(resumed, Pause)
    assert not resumed.paused


def test_decisions_survive_a_restart() -> None:
    room = half_opened(Room())
    room.asks(PauseOrder(agent="triage", paused=True))

    assert room.restarted().state == room.it.state


def test_an_aborted_turn_has_decided_nothing() -> None:
    room = Room()
    room.asks(report(room), promote=False)

    assert room.state() == "closed"


def test_a_request_that_is_none_is_counted_and_passed() -> None:
    room = Room()
    turn = room.turn(
        [
            Message("cw.requests", 0, 0, 0, None, b"{", (("ce_type", b"no.such"),)),
            Message("cw.requests", 0, 1, 0, None, b"{", (("ce_type", b"caseworks.request.probe"),)),
        ]
    )

    assert turn is not None
    assert turn.positions == {REQUESTS: 2}
    assert {dict(labels)["reason"] for _, labels in turn.counts} == {"unknown_request", "schema"}


def test_a_decision_of_a_later_version_is_not_guessed_at() -> None:
    room = opened(Room())
    record = room.log[0]
    later = Breaker(dependency="crm", state="open", v=99).to_json()

    with pytest.raises(ChangelogError, match="does not understand"):
        room.new().restore(REQUESTS, [record._replace(value=later)], 1)


def test_every_state_of_the_table_can_be_left() -> None:
    assert {state for moves in BREAKER.values() for state in moves.values()} == set(BREAKER)
