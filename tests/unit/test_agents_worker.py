"""The worker loop, operation by operation: a driver of the test's own answers what it yields."""

from __future__ import annotations

import pytest

from agents.errors import WorkerStuckError
from agents.worker import WorkerConfig
from events.errors import CaseworksError, FencedError, RetriableError
from events.loop import (
    Discard,
    Pause,
    Resume,
    Settled,
    Start,
    Take,
)
from events.settings import Settings
from schemas.agent import AgentSpec
from tests.unit.worker_stage import P0, P1, URGENT, Stage, message, offsets

# ---- committing


def test_nothing_is_committed_before_something_is_settled() -> None:
    stage = Stage()
    stage.arrive(message(5), message(6))
    stage.turn(3)

    assert offsets(stage.running) == [5, 6]
    assert stage.commits == []


def test_a_commit_never_passes_an_unfinished_offset() -> None:
    stage = Stage()
    stage.arrive(message(5), message(6), message(9))
    stage.turn()
    stage.settle(6, 9)
    stage.turn(2)
    assert stage.commits == []

    stage.settle(5)
    stage.turn(2)

    assert stage.commits == [{P0: 10}]


def test_a_position_is_committed_once_and_at_most_every_interval() -> None:
    stage = Stage(commit_interval_s=1.0)
    stage.turn()
    for offset in range(10):
        stage.arrive(message(offset))
        stage.turn()
        stage.settle(offset)
        stage.now += 0.3
        stage.turn()
    stage.now += 1
    stage.turn(5)

    assert len(stage.commits) == 3
    assert stage.commits[-1] == {P0: 10}


@pytest.mark.parametrize("error", [RetriableError("busy"), FencedError("rebalance")])
def test_a_refused_commit_is_not_recorded_as_done(error: CaseworksError) -> None:
    stage = Stage()
    stage.arrive(message(5))
    stage.turn()
    stage.refusals = [error]
    stage.settle(5)
    stage.turn(3)

    assert stage.positions[-2:] == [{P0: 6}, {P0: 6}]
    assert "commit_refused" in stage.notes


def test_what_was_delivered_twice_in_one_epoch_runs_once() -> None:
    stage = Stage()
    stage.arrive(message(5), message(5))
    stage.turn(2)
    assert offsets(stage.running) == [5]


def test_a_settlement_of_an_older_epoch_finishes_nothing() -> None:
    stage = Stage()
    stage.arrive(message(5))
    stage.turn()
    stage.assignment[P0] = 2
    stage.arrive(message(5, epoch=2))
    stage.turn(2)
    stage.settled = [Settled(P0, 5, 1)]
    stage.turn(2)

    assert stage.commits == []
    stage.settle(5)
    stage.turn(2)
    assert stage.commits == [{P0: 6}]


def test_messages_of_another_epoch_are_left_alone() -> None:
    stage = Stage()
    stage.arrive(message(5, epoch=9), message(6))
    stage.turn(2)
    assert offsets(stage.running) == [6]


# ---- bounds


def test_no_more_run_than_may_be_in_flight_and_the_rest_waits() -> None:
    stage = Stage(in_flight_max=4)
    stage.arrive(*(message(n) for n in range(10)))
    stage.turn(4)
    assert offsets(stage.running) == [0, 1, 2, 3]

    stage.settle(1, 2)
    stage.turn(3)

    assert offsets(stage.running) == [0, 3, 4, 5]
    assert stage.seen(Pause) == []


def test_a_full_lane_is_paused_and_resumed_when_half_of_it_has_started() -> None:
    stage = Stage(in_flight_max=1, read_ahead_max=4)
    stage.arrive(*(message(n) for n in range(9)))
    stage.turn(6)
    assert [take.n for take in stage.seen(Take)][:3] == [4, 1, 4]
    assert [pause.partitions for pause in stage.seen(Pause)] == [(P0, P1)]

    stage.settle(0)
    stage.turn(3)
    assert stage.seen(Resume) == []
    stage.settle(1)
    stage.turn(3)
    assert [resume.partitions for resume in stage.seen(Resume)] == [(P0, P1)]


def test_a_loop_that_is_full_goes_on_serving_rebalances() -> None:
    stage = Stage(in_flight_max=1, read_ahead_max=1)
    stage.arrive(message(0), message(1), message(0, URGENT))
    stage.turn(20)

    assert len(stage.seen(Take)) > 10


def test_an_urgent_task_starts_with_the_next_take_whatever_waits() -> None:
    stage = Stage(in_flight_max=4, read_ahead_max=16_000)
    stage.assignment[URGENT] = 1
    stage.arrive(*(message(n) for n in range(20_000)))
    stage.turn(40)
    assert [pause.partitions for pause in stage.seen(Pause)] == [(P0, P1)]
    taken = len(stage.seen(Take))

    stage.arrive(message(0, URGENT))
    stage.settle(stage.running[0].offset)
    stage.turn(3)

    assert [m.source for m in stage.running][-1] == URGENT
    assert len(stage.seen(Take)) - taken <= 2


def test_a_partition_that_runs_too_far_ahead_is_paused_alone_and_resumed_at_half() -> None:
    stage = Stage(in_flight_max=100, span_max=10)
    stage.arrive(*(message(n) for n in range(12)), message(0, P1))
    stage.turn(2)
    assert [pause.partitions for pause in stage.seen(Pause)] == [(P0,)]

    stage.settle(*range(1, 3))
    stage.turn(2)
    stage.settle(0)
    stage.turn(2)
    assert stage.seen(Resume) == []

    stage.settle(*range(3, 7))
    stage.turn(2)
    assert [resume.partitions for resume in stage.seen(Resume)] == [(P0,)]


def test_a_partition_that_comes_back_is_resumed_whatever_the_client_remembers() -> None:
    stage = Stage(in_flight_max=100, span_max=10)
    stage.arrive(*(message(n) for n in range(12)))
    stage.turn(2)
    stage.revoke(P0)
    stage.turn()
    stage.assignment[P0] = 2
    stage.turn()

    assert [resume.partitions for resume in stage.seen(Resume)] == [(P0,)]


# ---- key order


def test_tasks_of_one_key_run_one_after_another() -> None:
    stage = Stage(ordered=True, in_flight_max=10)
    stage.arrive(message(0, key=b"x"), message(1, key=b"y"), message(2, key=b"x"))
    stage.arrive(message(3, key=None), message(4, key=None), message(5, key=b"x"))
    stage.turn(2)
    assert offsets(stage.running) == [0, 1, 3, 4]

    stage.settle(0)
    stage.turn(4)
    assert offsets(stage.running) == [1, 3, 4, 2]
    stage.settle(2)
    stage.turn(4)
    assert offsets(stage.running) == [1, 3, 4, 5]


def test_a_lane_goes_on_when_its_head_s_partition_is_gone() -> None:
    stage = Stage(ordered=True, in_flight_max=10)
    stage.arrive(message(0, P0, key=b"x"), message(0, P1, key=b"x"), message(1, P0, key=b"x"))
    stage.turn(2)
    assert [m.source for m in stage.running] == [P0]

    stage.revoke(P0)
    stage.turn(2)

    assert [(m.source, m.offset) for m in stage.running] == [(P1, 0)]


# ---- partitions that go


def test_before_partitions_go_it_drains_and_commits_them_alone() -> None:
    stage = Stage(commit_interval_s=1000.0, drain_timeout_s=5.0)
    stage.turn()
    stage.arrive(message(5), message(6), message(0, P1), message(1, P1))
    stage.turn()
    stage.settle(0, source=P1)
    stage.turn()
    running = iter((5, 6))

    def one_ends(seconds: float) -> None:
        stage.now += 0.01
        for offset in (next(running, None),):
            if offset is not None:
                stage.settle(offset)

    stage.on_collect = one_ends
    stage.revoke(P0)

    assert stage.commits == [{P0: 7}]
    assert [discard.partitions for discard in stage.seen(Discard)] == [frozenset({P0})]
    assert [m.source for m in stage.running] == [P1]


def test_the_drain_ends_with_its_budget_and_commits_what_was_finished() -> None:
    stage = Stage(commit_interval_s=1000.0, drain_timeout_s=5.0)
    stage.turn()
    stage.arrive(message(5), message(6))
    stage.turn()
    stage.settle(5)
    began = stage.now
    stage.revoke(P0, P1)

    assert stage.commits == [{P0: 6}]
    assert 5.0 <= stage.now - began < 6.0
    assert stage.running == []


def test_nothing_new_starts_while_partitions_go() -> None:
    stage = Stage(ordered=True, in_flight_max=10)
    stage.arrive(message(0), message(1), message(2))
    stage.turn(2)

    def head_ends(seconds: float) -> None:
        if stage.going and stage.running:
            stage.settle(0)
        else:
            stage.now += 0.1

    stage.on_collect = head_ends
    stage.revoke(P0)

    assert [offsets([job.message for job in start.jobs]) for start in stage.seen(Start)] == [[0]]
    assert stage.commits == [{P0: 1}]


def test_a_clock_that_stands_still_does_not_hold_the_drain() -> None:
    stage = Stage()
    stage.arrive(message(5))
    stage.turn()
    stage.on_collect = lambda _: None
    stage.revoke(P0)
    assert stage.seen(Discard)


def test_the_last_commit_is_repeated_but_not_for_ever() -> None:
    stage = Stage(commit_interval_s=1000.0)
    stage.turn()
    stage.arrive(message(5))
    stage.turn()
    stage.settle(5)
    stage.refusals = [RetriableError("busy") for _ in range(99)]
    stage.revoke(P0)
    assert stage.positions[-3:] == [{P0: 6}] * 3
    assert len(stage.positions) == 4


def test_for_lost_partitions_nothing_is_committed() -> None:
    stage = Stage(commit_interval_s=1000.0)
    stage.turn()
    stage.arrive(message(5), message(6))
    stage.turn()
    stage.settle(5)
    stage.turn()
    del stage.assignment[P0]
    stage.lost = frozenset({P0})
    stage.turn()
    stage.now += 2000
    stage.turn(3)

    assert stage.commits == []
    assert [discard.partitions for discard in stage.seen(Discard)] == [frozenset({P0})]
    assert "lost" in stage.notes


def test_a_partition_lost_and_regained_between_two_takes_starts_anew() -> None:
    stage = Stage()
    stage.arrive(message(5), message(6))
    stage.turn()
    stage.assignment[P0] = 2
    stage.arrive(message(5, epoch=2))
    stage.turn(2)

    assert [(m.offset, m.epoch) for m in stage.running] == [(5, 2)]
    order = [type(op) for op in stage.log if isinstance(op, (Discard, Start))]
    assert order == [Start, Discard, Start]


def test_a_partition_that_was_to_go_and_stays_is_worked_on_again() -> None:
    stage = Stage()
    stage.turn()
    stage.revoke(P0)
    stage.regain(P0, 1)
    stage.arrive(message(5))
    stage.turn(2)

    assert offsets(stage.running) == [5]


def test_room_that_lost_partitions_held_is_free_again() -> None:
    stage = Stage(in_flight_max=2)
    stage.arrive(message(5), message(6))
    stage.turn(2)
    stage.revoke(P0)
    stage.arrive(message(0, P1), message(1, P1))
    stage.turn(2)
    assert offsets(stage.running) == [0, 1]


# ---- trouble


def test_a_stuck_executor_ends_the_loop_after_a_last_commit() -> None:
    stage = Stage(commit_interval_s=1000.0)
    stage.turn()
    stage.arrive(message(5), message(6))
    stage.turn()
    stage.settle(5)
    stage.turn()

    def stuck(_: float) -> None:
        raise WorkerStuckError("stuck")

    stage.on_collect = stuck
    with pytest.raises(WorkerStuckError):
        stage.turn(3)
    assert stage.commits == [{P0: 6}]


def test_its_bounds_are_the_smaller_of_agent_and_process() -> None:
    spec = AgentSpec(name="a", in_flight_max=8, order_by="case")
    config = WorkerConfig.of(spec, Settings(in_flight_max=4, span_max=7, key_depth_max=3))
    assert (config.agent, config.bounds.in_flight_max, config.span_max) == ("a", 4, 7)
    assert config.bounds.key_depth_max == 3
    assert config.urgent_topic == "cw.tasks.a.urgent"
    assert config.ordered


def test_a_task_whose_answer_is_on_its_way_holds_no_place() -> None:
    stage = Stage(in_flight_max=2)
    stage.arrive(*(message(n) for n in range(10)))
    stage.turn(2)
    assert len(stage.running) == 2

    stage.answered = 1
    stage.turn(2)
    assert len(stage.running) == 3

    stage.answered = 3
    stage.turn(4)
    assert len(stage.running) == 4, "at most as many as have a place"
