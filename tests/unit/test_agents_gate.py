"""The worker loop behind its gate: shut, one at a time, slowly, and as tasks come."""

from __future__ import annotations

from agents.limits.fleet import Standing
from events.loop import Pause, Resume, Take
from tests.unit.worker_stage import P0, P1, Stage, message, offsets


class Gate:
    """Says what the test wants."""

    def __init__(self, standing: Standing) -> None:
        self.standing: Standing = standing

    def __call__(self) -> Standing:
        return self.standing


def test_a_shut_gate_pauses_every_partition_and_takes_go_on_for_the_group() -> None:
    gate = Gate("free")
    stage = Stage(gate=gate)
    stage.turn(2)
    gate.standing = "shut"
    stage.turn(3)
    before = len(stage.log)
    stage.turn(4)

    assert [each for each in stage.log if isinstance(each, Pause)] == [Pause((P0, P1))]
    assert any(isinstance(each, Take) for each in stage.log[before:])


def test_what_runs_behind_a_shut_gate_is_settled_and_an_open_one_goes_on() -> None:
    gate = Gate("free")
    stage = Stage(gate=gate)
    stage.arrive(message(5))
    stage.turn(2)
    gate.standing = "shut"
    stage.turn(2)
    stage.settle(5)
    stage.turn(3)
    assert stage.commits == [{P0: 6}]

    gate.standing = "free"
    stage.arrive(message(6), message(7))
    stage.turn(4)
    assert Resume((P0, P1)) in stage.log
    assert offsets(stage.running) == [6, 7]


def test_one_at_a_time_is_beside_what_runs_already() -> None:
    gate = Gate("free")
    stage = Stage(gate=gate)
    stage.arrive(message(5))
    stage.turn(2)
    gate.standing = "single"
    stage.turn()
    stage.arrive(message(6), message(7))
    stage.turn(5)
    assert offsets(stage.running) == [5, 6]

    stage.settle(6)
    stage.turn(5)
    assert offsets(stage.running) == [5, 7]


def test_slowly_is_by_the_pace_of_before() -> None:
    gate = Gate("slow")
    stage = Stage(gate=gate, in_flight_max=100)
    stage.arrive(*(message(offset) for offset in range(100)))
    stage.turn()
    assert len(stage.running) <= 1

    began = stage.now
    while stage.now < began + 5.0:
        stage.turn()
        stage.now += 0.05
    assert 0.5 * 50 <= len(stage.running) <= 1.1 * 50


def test_a_gate_that_is_shut_from_the_start_lets_the_loop_join_its_group() -> None:
    stage = Stage(gate=Gate("shut"))
    stage.arrive(*(message(offset) for offset in range(5)))
    for _ in range(20):
        if Pause((P0, P1)) not in stage.log:
            stage.step()

    assert Pause((P0, P1)) in stage.log
    assert len(stage.running) <= 1
