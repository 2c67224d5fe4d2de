"""What a worker leaves beside its commits, and what the next one makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.recovery import ALONE_S, GROUPS_MAX, Recovery
from events.broker import Message, OffsetAndMetadata
from events.errors import FencedError, RetriableError
from events.loop import CommitOffsets, Start
from events.progress import Again, Progress, decode, encode
from tests.unit.worker_stage import P0, P1, Stage, message, offsets


def told(stage: Stage, source: Any = P0) -> Progress:
    mark = stage.marks[source]
    return decode(mark.metadata, mark.offset)


def heir(dead: Stage, **config: Any) -> Stage:
    """The next worker's life, after the first was killed."""
    stage = Stage(**config)
    stage.marks, stage.finished = dead.marks, dead.finished
    return stage


def left(progress: Progress, **config: Any) -> Stage:
    """A worker that finds this."""
    stage = Stage(**config)
    stage.marks = {P0: OffsetAndMetadata(progress.offset, encode(progress))}
    return stage


def starts(stage: Stage) -> list[list[int]]:
    return [offsets([job.message for job in start.jobs]) for start in stage.seen(Start)]


# ---- what is finished is not done again


def test_a_restart_behind_a_stuck_task_starts_nothing_that_was_finished() -> None:
    first = Stage(in_flight_max=100)
    first.arrive(*(message(n, timestamp_ms=50 + n) for n in (3, 4, 6, 7, 9)))
    first.turn(2)
    first.settle(4, 6, 9)
    first.turn(2)
    assert told(first).unfinished == (3, 7)

    second = heir(first)
    second.arrive(*(message(n, timestamp_ms=50 + n) for n in (3, 4, 6, 7, 9, 10)))
    second.turn(2)
    for offset in (3, 7, 10):
        second.settle(offset)
        second.turn(2)

    assert starts(second) == [[3], [7], [10]]
    assert second.marks[P0].offset == 11


def test_an_orderly_end_suspects_nobody() -> None:
    first = Stage()
    first.arrive(message(3), message(4), message(5))
    first.turn(2)
    first.settle(4)
    first.revoke(P0)
    assert told(first).reach <= 3

    second = heir(first)
    second.arrive(message(3), message(4), message(5))
    second.turn(2)

    assert starts(second) == [[3, 5]]


@pytest.mark.parametrize("text", ["", "cw-orchestrator-0", "1", "1~~~~", "2abc", "x" * 4000])
def test_the_text_of_somebody_else_is_ignored(text: str) -> None:
    stage = Stage(in_flight_max=10)
    stage.marks = {P0: OffsetAndMetadata(3, text)}
    stage.arrive(message(3), message(4))
    stage.turn(2)

    assert starts(stage) == [[3, 4]]
    assert ("progress_ignored" in stage.notes) == bool(text)


def test_what_belongs_to_another_topic_of_this_name_is_ignored() -> None:
    before = Progress(3, 50, (3,), 50, head_ms=1111)
    stage = left(before, in_flight_max=10)
    stage.arrive(message(3, timestamp_ms=2222), message(4, timestamp_ms=2222))
    stage.turn(2)

    assert starts(stage) == [[3, 4]]
    assert "progress_ignored" in stage.notes


def test_a_position_that_an_operator_set_carries_nothing() -> None:
    stage = Stage(in_flight_max=10)
    text = encode(Progress(9, 60, (9,), 60))
    stage.marks = {P0: OffsetAndMetadata(3, text)}
    stage.arrive(message(3), message(10))
    stage.turn(2)

    assert starts(stage) == [[3, 10]]


# ---- nothing starts that no commit speaks of


def test_the_first_start_waits_for_a_commit_that_tells_of_it() -> None:
    stage = Stage()
    stage.refusals = [RetriableError("busy"), FencedError("rebalance")]
    stage.arrive(message(5), message(6))
    stage.turn(2)
    assert starts(stage) == []

    stage.turn(2)

    assert starts(stage) == [[5, 6]]
    assert told(stage).reach > 6
    kinds = [type(each) for each in stage.log if isinstance(each, (CommitOffsets, Start))]
    assert kinds[-2:] == [CommitOffsets, Start]


def test_partitions_that_go_before_their_first_start_leave_nothing() -> None:
    stage = Stage()
    stage.refusals = [RetriableError("busy")] * 9
    stage.arrive(message(5))
    stage.turn(2)
    began = stage.now
    stage.revoke(P0)

    assert stage.now == began  # nothing ran, so nothing had to be waited for
    assert starts(stage) == []
    stage.regain(P0, 2)
    stage.refusals = []
    stage.arrive(message(5, epoch=2))
    stage.turn(2)
    assert starts(stage) == [[5]]


def test_a_steady_flow_is_committed_no_more_often_than_the_interval_says() -> None:
    stage = Stage(in_flight_max=50, commit_interval_s=1.0)
    next_ = 0
    for _ in range(400):
        stage.arrive(*(message(n) for n in range(next_, next_ + 5)))
        next_ += 5
        stage.turn()
        stage.settle(*offsets(stage.running))
        stage.now += 0.05
        stage.turn()

    assert next_ == 2000
    seconds = stage.now - 1000.0
    assert len(stage.positions) <= seconds + 10


# ---- suspects


def test_after_an_unclean_end_what_was_started_runs_one_at_a_time_and_the_rest_waits() -> None:
    stage = left(Progress(3, 3, (), reach=6), in_flight_max=10)
    stage.arrive(*(message(n) for n in (3, 4, 5, 6, 7)), message(0, P1))
    stage.turn(2)
    assert [(m.source, m.offset) for m in stage.running] == [(P0, 3), (P1, 0)]
    assert told(stage).again == {3: Again(2, alone=True)}

    stage.settle(3)
    stage.turn(2)
    assert [m.offset for m in stage.running if m.source == P0] == [4]
    stage.settle(4)
    stage.turn(2)
    stage.settle(5)
    stage.turn(2)

    assert [m.offset for m in stage.running if m.source == P0] == [6, 7]
    assert told(stage).again == {}


def test_a_start_is_committed_before_it_is_made() -> None:
    stage = left(Progress(3, 3, (), reach=6))
    stage.refusals = [RetriableError("busy")]
    stage.arrive(message(3), message(4))
    stage.step()
    while not stage.seen(CommitOffsets):
        stage.step()
    stage.turn()
    assert starts(stage) == []

    stage.turn(2)

    assert starts(stage) == [[3]]


def test_the_third_start_is_answered_and_the_partition_goes_on() -> None:
    stage = left(Progress(3, 3, (), 6, {4: Again(2, alone=True)}))
    stage.arrive(*(message(n) for n in (3, 4, 5, 6)))
    for offset in (3, 4, 5, 6):
        stage.turn(2)
        stage.settle(offset)
    stage.turn(2)

    assert stage.condemned == [4]
    assert stage.marks[P0].offset == 7


def test_who_was_not_alone_is_not_condemned_but_started_alone() -> None:
    before = {3: Again(2, alone=False), 4: Again(2, alone=False)}
    stage = left(Progress(3, 3, (), 6, before))
    stage.arrive(*(message(n) for n in (3, 4, 5)))
    stage.turn(2)
    stage.now += 10 * ALONE_S
    stage.turn(4)

    assert starts(stage) == [[3]]
    assert told(stage).again == {3: Again(3, alone=True), 4: Again(2, alone=False)}
    assert stage.condemned == []


def test_a_suspect_that_runs_on_lets_the_next_start_and_is_then_not_alone() -> None:
    stage = left(Progress(3, 3, (), reach=6))
    stage.arrive(*(message(n) for n in (3, 4, 5)))
    stage.turn(2)
    stage.now += 2 * ALONE_S
    stage.turn(2)

    assert starts(stage) == [[3], [4]]
    assert told(stage).again == {3: Again(2, alone=False), 4: Again(2, alone=False)}


def test_who_is_left_of_several_is_alone_from_the_next_commit_on() -> None:
    stage = left(Progress(3, 3, (), reach=5))
    stage.arrive(*(message(n) for n in (3, 4)))
    stage.turn(2)
    stage.now += 2 * ALONE_S
    stage.turn(2)
    assert told(stage).again[3] == (2, False)
    stage.settle(4)
    stage.turn(2)

    assert told(stage).again == {3: Again(2, alone=True)}


def test_an_orderly_end_between_two_crashes_keeps_the_count_but_adds_nothing() -> None:
    stage = left(Progress(3, 3, (), 6, {4: Again(2, alone=True)}))
    stage.arrive(*(message(n) for n in (3, 4, 5)))
    stage.turn(2)
    assert told(stage).again[3] == (2, True)
    stage.revoke(P0)

    assert told(stage).again == {4: Again(2, alone=True)}
    assert told(stage).starts(3) == (1, False)
    assert told(stage).starts(5) == (1, False)


def test_who_loses_a_partition_and_lives_accuses_nobody() -> None:
    """A session that ended, by a network that flaps, say, is no worker that died."""
    stage = left(Progress(3, 3, (), reach=4))
    for epoch in (2, 3, 4):
        stage.arrive(message(3, epoch=epoch - 1))
        stage.turn(2)
        stage.lose(P0)
        stage.turn(2)
        stage.regain(P0, epoch)
    stage.arrive(message(3, epoch=4))
    stage.turn(2)

    assert starts(stage) == [[3]] * 4
    assert stage.condemned == []


def test_many_suspects_start_in_few_groups() -> None:
    recovery, total = Recovery(), 5000
    for offset in range(total):
        recovery.suspect(message(offset), Again(1, alone=False))
    groups, now = 0, 0.0
    while recovery.waiting:
        group = recovery.due(now, 1000, 0)
        recovery.begin(group, now)
        groups += 1
        for suspect in group:
            recovery.settled(suspect.place)

    assert groups < 5 * GROUPS_MAX


# ---- histories


class Killer:
    """Plays lives of a worker whose poisonous tasks kill it when they start."""

    def __init__(self, poison: set[int], total: int, **config: Any) -> None:
        self.poison, self.total, self.config = poison, total, config
        self.began: dict[int, int] = dict.fromkeys(range(total), 0)
        self.done: set[int] = set()
        self.answered: set[int] = set()
        self.marks: dict[Any, OffsetAndMetadata] = {}

    def live(self, steps_max: int, settle: int) -> bool:
        """One life; whether it is all done at its end."""
        stage = Stage(**self.config)
        stage.marks = self.marks
        base = self.marks[P0].offset if P0 in self.marks else 0
        stage.arrive(*(message(n) for n in range(base, self.total)))
        for _ in range(steps_max):
            new = [m for m in stage.running if id(m) not in self.seen(stage)]
            for each in new:
                if self.begin(stage, each):
                    return False
            if stage.running and len(stage.log) % settle == 0:
                first = stage.running[0].offset
                stage.settle(first)
                self.done.add(first)
            stage.now += 0.01
            stage.step()
        return self.marks.get(P0, OffsetAndMetadata(0)).offset == self.total

    def begin(self, stage: Stage, each: Message) -> bool:
        self.seen(stage).add(id(each))
        if each.offset in stage.condemned:
            self.answered.add(each.offset)
            return False
        assert each.offset not in self.answered
        self.began[each.offset] += 1
        return each.offset in self.poison

    def seen(self, stage: Stage) -> set[int]:
        found: set[int] = stage.__dict__.setdefault("known", set())
        return found


@given(
    st.sets(st.integers(0, 11), max_size=3),
    st.lists(st.integers(1, 120), max_size=4),
    st.integers(1, 5),
    st.booleans(),
)
def test_whatever_kills_it_when_every_task_is_done_or_answered_and_only_poison_is_answered(
    poison: set[int], kills: list[int], settle: int, ordered: bool
) -> None:
    killer = Killer(poison, 12, in_flight_max=4, commit_interval_s=0.05, ordered=ordered)
    for steps in kills:  # from outside, at any yield
        killer.live(steps, settle)
    innocent = killer.answered - poison
    lives = 0
    while not killer.live(3000, settle):
        lives += 1
        assert lives < 4 * len(poison) + 2
    assert killer.done | killer.answered >= set(range(12))
    if not kills:
        assert killer.answered == poison
        assert not innocent
        assert all(killer.began[offset] in (1, 2) for offset in poison)
