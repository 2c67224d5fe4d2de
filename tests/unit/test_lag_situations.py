"""Constructed situations: state and numbers, beside a count made from the log itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from caseworks.lag import LagReport
from coordinator.admission import Telling
from events.broker import Record, TopicPartition
from schemas.base import instant
from schemas.control import Breaker, Pause
from tests.unit.lag_world import GROUP, TASKS, TOPICS, URGENT, LagWorld, partitions


@pytest.fixture
def world() -> Iterator[LagWorld]:
    made = LagWorld()
    yield made
    made.surveyor.close()


def held(report: LagReport) -> str:
    return next(group.held for group in report.groups if group.group == GROUP)


def test_an_idle_group_is_ok_and_behind_by_nothing(world: LagWorld) -> None:
    member = world.member()
    world.put(3)
    world.commit(member, 3)

    found = world.watch(600, lambda: member.take(1, 0))

    assert (found.state, found.lag, found.committed_lag, found.in_flight) == ("OK", 0, 0, 0)
    assert found.lag == world.waiting()
    assert (found.oldest_age_s, found.exact, found.owned) == (None, True, True)


def test_a_busy_group_that_keeps_up_is_ok(world: LagWorld) -> None:
    member, done = world.member(), 0
    world.put(10)

    def work() -> None:
        nonlocal done
        done += 12 if done % 20 else 8
        world.put(10)
        world.commit(member, done, seen=world.broker.log(TASKS).end)

    found = world.watch(120, work)

    assert found.state == "OK"
    assert found.lag == world.waiting() > 0
    assert found.oldest_age_s in (0.0, 10.0)
    assert (found.in_flight, found.undelivered) == (found.lag, 0)


def test_a_group_that_moves_and_falls_behind_is_a_warning(world: LagWorld) -> None:
    member, done = world.member(), 0

    def work() -> None:
        nonlocal done
        done += 5
        world.put(10)
        world.commit(member, done)

    found = world.watch(120, work)

    assert (found.state, found.lag) == ("WARN", world.waiting())
    assert found.lag == 60


def test_a_stuck_head_with_done_behind_it_is_a_stall_and_counts_as_one(world: LagWorld) -> None:
    member, end = world.member(), 1
    world.put(1)

    def work() -> None:
        nonlocal end
        world.put(10)
        end += 10
        world.commit(member, 0, unfinished=[0], end=end)

    found = world.watch(120, work)

    assert (found.state, found.lag, found.committed_lag, found.done_ahead) == ("STALL", 1, 121, 120)
    assert (found.in_flight, found.undelivered) == (1, 0)
    assert found.lag == world.waiting(done=range(1, end))
    assert found.oldest_age_s == pytest.approx(120.0)


def test_what_a_member_has_read_ahead_is_in_flight_and_the_rest_undelivered(
    world: LagWorld,
) -> None:
    member = world.member()
    world.put(20)
    world.commit(member, 2, unfinished=[2, 4], end=6, seen=12)

    found = world.partition()

    assert (found.committed_lag, found.done_ahead, found.lag) == (18, 2, 16)
    assert (found.in_flight, found.undelivered) == (8, 8)
    assert found.lag == world.waiting(done=[3, 5])


def test_a_position_that_went_back_is_a_rewind(world: LagWorld) -> None:
    member = world.member()
    world.put(10)
    world.commit(member, 10)
    assert world.watch(60).state == "OK"

    world.commit(member, 4)

    assert world.watch(10).state == "REWIND"
    assert world.partition().lag == world.waiting() == 6


def test_a_position_that_went_back_behind_a_marker_is_counted_from_there(world: LagWorld) -> None:
    member = world.member()
    for _ in range(3):
        world.transaction(2)
    world.commit(member, 8)
    assert world.partition().lag == world.waiting() == 0

    world.commit(member, 1, unfinished=[1], end=5)

    assert world.partition().lag == world.waiting(done=[3, 4]) == 3


def test_a_group_without_members_stops(world: LagWorld) -> None:
    member = world.member()
    world.put(5)
    world.commit(member, 2)
    member.close()
    world.now += 10

    found = world.watch(60)

    assert (found.state, found.lag, found.owned) == ("STOP", 3, False)
    group = next(each for each in world.look().groups if each.group == GROUP)
    assert (group.members, group.unowned, group.state) == (0, 4, "STOP")
    assert found.why == "no member has it"
    assert found.lag == world.waiting()


def test_members_that_have_no_partition_of_it_leave_it_standing(world: LagWorld) -> None:
    world.put(5)
    member = world.member(URGENT.topic)

    found = world.watch(60, lambda: member.take(10, 0))

    group = next(each for each in world.look().groups if each.group == GROUP)
    assert (group.members, group.unowned) == (1, 2)
    assert (found.state, found.lag, found.owned) == ("STOP", 5, False)


def test_what_an_open_transaction_hides_is_no_lag(world: LagWorld) -> None:
    member = world.member()
    world.put(3)
    world.commit(member, 3)
    writer = world.broker.transactional("open")
    writer.init()
    writer.begin()
    writer.produce([Record(TASKS.topic, b"k", b"v", (), 0)] * 4)
    world.put(2)

    found = world.partition()

    assert (found.state, found.lag, found.hidden) == ("OK", 0, 6)
    assert (found.stable, found.end) == (3, 9)
    assert found.lag == world.waiting()
    writer.commit()
    assert world.partition().lag == world.waiting() == 6


def test_markers_alone_are_no_lag(world: LagWorld) -> None:
    member = world.member()
    world.transaction(1)
    world.commit(member, 1)

    found = world.watch(120)

    assert (found.committed, found.stable, found.lag, found.state) == (1, 2, 0, "OK")
    assert found.lag == world.waiting()


def test_aborted_records_are_no_lag(world: LagWorld) -> None:
    world.transaction(5, commit=False)
    world.transaction(2)
    world.transaction(5, commit=False)

    found = world.partition()

    assert (found.end, found.lag) == (15, 2)
    assert found.lag == world.waiting()


def test_what_compaction_removed_is_no_lag(world: LagWorld) -> None:
    member = world.member()
    world.put(10)
    world.commit(member, 2)
    world.broker.compact(TASKS.topic)

    found = world.partition()

    assert (found.committed, found.end, found.lag) == (2, 10, 1)
    assert found.lag == world.waiting()


def test_what_an_open_breaker_holds_back_is_held_and_no_stop(world: LagWorld) -> None:
    member = world.member()
    world.outcome(seconds=2)
    world.put(5)
    world.commit(member, 0)
    assert world.watch(30).state is None
    world.decide("breaker:model", Breaker(dependency="model", state="open", epoch=1))

    found = world.watch(300)

    [work] = world.look().agents
    assert found.state == "OK"
    assert found.lag == world.waiting() == 5
    assert held(world.look()) == "breaker: model is open"
    assert (work.now.records, work.now.seconds) == (0, 0)
    assert (work.held.records, work.held.seconds) == (5, 10.0)

    world.decide("breaker:model", Breaker(dependency="model", state="closed", epoch=2))

    found = world.partition()
    [work] = world.look().agents
    assert found.state is None  # watched anew
    assert (work.now.records, work.now.seconds, work.held.records) == (5, 10.0, 0)
    assert world.watch(60).state == "STOP"


def test_what_a_person_paused_is_held_and_another_version_is_not(world: LagWorld) -> None:
    world.put(5)
    pause = Pause(agent="triage", paused=True, by="ann", reason="checks", at=instant(world.now))

    world.decide("pause:triage", pause)

    assert world.watch(300).state == "OK"
    assert held(world.look()) == "pause: checks"

    world.decide("pause:triage", pause.model_copy(update={"agent_version": "v0"}))
    assert held(world.look()) == ""
    world.decide("pause:triage", pause.model_copy(update={"agent_version": "v1"}))
    assert held(world.look()) == "pause: checks"
    world.decide("pause:triage", pause.model_copy(update={"paused": False}))
    assert held(world.look()) == ""


def test_what_waits_while_too_many_cases_are_open_is_held(world: LagWorld) -> None:
    events = TopicPartition(TOPICS.events, 0)
    intake = TOPICS.loop_group("intake")
    telling = Telling(TOPICS, 2, world.settings.cases_open_max)
    world.put(4, events)
    producer = world.broker.producer()
    producer.produce(telling.record(0, world.settings.cases_open_max, world.now))
    assert producer.flush(1) == 0

    found = world.watch(120, at=events, group=intake)

    group = next(each for each in world.look().groups if each.group == intake)
    assert (found.state, found.lag) == ("OK", 4)
    assert group.held == "limit: 1000000 cases are open"

    producer.produce(telling.record(0, 10, world.now))
    assert producer.flush(1) == 0
    assert world.watch(70, at=events, group=intake).state == "STOP"


def test_a_new_topic_to_which_nothing_was_committed_is_behind_by_all_of_it(world: LagWorld) -> None:
    member = world.member()
    world.put(7)

    found = world.partition()

    assert (found.committed, found.lag, found.undelivered, found.state) == (None, 7, 7, None)
    assert found.lag == world.waiting()
    member.close()


def test_a_position_behind_the_end_of_a_topic_made_anew_is_a_rewind(world: LagWorld) -> None:
    world.member()
    world.put(4)
    world.broker.group(GROUP).offsets.write({TASKS: 900})

    found = world.partition()

    assert (found.state, found.lag, found.committed) == ("REWIND", 4, 900)
    assert found.why == "its position is behind the end: the topic was made anew or cut"
    assert found.lag == world.waiting()


def test_a_text_of_another_log_counts_nothing_as_done(world: LagWorld) -> None:
    member = world.member()
    world.put(6)
    world.commit(member, 2, unfinished=[2], end=6)
    log = world.broker.log(TASKS)
    for offset in range(2, 6):
        entry = log.entries[offset]
        assert entry is not None
        log.entries[offset] = entry._replace(timestamp_ms=entry.timestamp_ms + 5)

    assert world.partition().lag == world.waiting() == 4


def test_both_lanes_of_an_agent_are_told_apart(world: LagWorld) -> None:
    world.put(3)
    world.put(2, URGENT)
    world.put(1, TopicPartition(URGENT.topic, 1))

    report = world.look()
    found = partitions(report)

    assert found[GROUP, TASKS].lag == 3
    assert found[GROUP, URGENT].lag == 2
    [work] = report.agents
    assert work.now.records == 6


def test_what_retention_deleted_unread_is_told(world: LagWorld) -> None:
    member = world.member()
    world.put(10)
    world.commit(member, 2)
    world.broker.trim(TASKS, 5)

    found = world.partition()

    assert (found.deleted, found.lag) == (3, 5)
    assert found.lag == world.waiting()
    assert found.why == "3 offsets were deleted before they were read"


def test_a_long_backlog_is_estimated_by_the_density_of_its_beginning(world: LagWorld) -> None:
    for _ in range(300):
        world.transaction(1)

    found = world.partition()

    assert not found.exact
    assert found.lag == pytest.approx(world.waiting(), rel=0.02)
    assert world.waiting() == 300


def test_the_loops_of_a_coordinator_are_measured_too(world: LagWorld) -> None:
    events = TopicPartition(TOPICS.events, 1)
    world.put(3, events)

    found = partitions(world.look())[TOPICS.loop_group("intake"), events]

    assert (found.lag, found.undelivered, found.oldest_age_s) == (3, 3, 0.0)
