"""What starts next: by lane, tenant and key; and what is held back, at each bound."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from agents.backlog import Backlog, Bounds
from events.broker import Message, TopicPartition
from events.settings import Settings
from tests.unit.worker_stage import P0, P1, URGENT, message, offsets

README = Path(__file__).parents[2] / "agents" / "README.md"


def backlog(*, ordered: bool = False, **bounds: float) -> Backlog:
    return Backlog(Bounds(**bounds), URGENT.topic, ordered=ordered)  # type: ignore[arg-type]


def of(tenant: str, offset: int, source: TopicPartition = P0, **fields: object) -> Message:
    return message(offset, source, headers=(("ce_tenant", tenant.encode()),), **fields)


def read(tasks: Backlog, each: Message) -> None:
    tasks.put(each.source, each)


def begin(tasks: Backlog, n: int) -> list[Message]:
    return [each for _, each in tasks.start(n)]


def place(each: Message) -> tuple[TopicPartition, int]:
    return each.source, each.offset


def flooded(tasks: Backlog, n: int, source: TopicPartition) -> list[int]:
    """How many of each lane run whenever one ends, with a flood and *n* slots."""
    running = begin(tasks, n)
    normal = []
    for offset in range(10_000, 10_500):
        tasks.end(place(running.pop(0)))
        read(tasks, message(offset, source))
        running += begin(tasks, n)
        normal.append(sum(each.source != URGENT for each in running))
    return normal


# --- lanes


def test_urgent_goes_first() -> None:
    tasks = backlog(in_flight_max=1)
    for offset in range(20_000):
        read(tasks, message(offset))
    read(tasks, message(0, URGENT))

    assert [each.source for each in begin(tasks, 1)] == [URGENT]


@pytest.mark.parametrize(("slots", "kept"), [(10, 2), (64, 13), (4, 1), (2, 1)])
def test_a_flood_of_urgent_tasks_leaves_normal_ones_their_share(slots: int, kept: int) -> None:
    tasks = backlog(in_flight_max=slots)
    for offset in range(5000):
        read(tasks, message(offset))
        read(tasks, message(offset, URGENT))

    assert set(flooded(tasks, slots, URGENT)[slots:]) == {kept}


def test_without_the_rule_they_would_starve() -> None:
    tasks = backlog(in_flight_max=10)
    tasks._kept = 0
    for offset in range(5000):
        read(tasks, message(offset))
        read(tasks, message(offset, URGENT))

    assert set(flooded(tasks, 10, URGENT)[10:]) == {0}


def test_with_a_single_slot_normal_tasks_have_their_share_of_the_starts() -> None:
    tasks = backlog(in_flight_max=1)
    for offset in range(100):
        read(tasks, message(offset))
        read(tasks, message(offset, URGENT))
    started: Counter[str] = Counter()
    for _ in range(50):
        [each] = begin(tasks, 1)
        started[each.topic] += 1
        tasks.end(place(each))

    assert started == {P0.topic: 10, URGENT.topic: 40}


def test_urgent_tasks_use_every_slot_while_nothing_else_waits() -> None:
    tasks = backlog(in_flight_max=10)
    for offset in range(20):
        read(tasks, message(offset, URGENT))
    assert len(begin(tasks, 10)) == 10


def test_normal_tasks_use_every_slot_and_give_each_that_ends_to_urgent_ones() -> None:
    tasks = backlog(in_flight_max=10)
    for offset in range(20):
        read(tasks, message(offset))
    running = begin(tasks, 10)
    assert len(running) == 10
    for offset in range(5):
        read(tasks, message(offset, URGENT))
    for each in running[:5]:
        tasks.end(place(each))

    assert [each.source for each in begin(tasks, 10)] == [URGENT] * 5


def test_a_full_lane_does_not_hold_back_the_other() -> None:
    tasks = backlog(in_flight_max=1, read_ahead_max=3)
    for offset in range(4):
        read(tasks, message(offset))
    begin(tasks, 1)

    assert tasks.holds(P0)
    assert not tasks.holds(URGENT)
    assert tasks.room == 3


# --- tenants


def test_tenants_share_what_runs_and_the_header_says_who_they_are() -> None:
    tasks = backlog(in_flight_max=4)
    for offset in range(10):
        read(tasks, of("a", offset))
    for offset in range(10, 12):
        read(tasks, of("b", offset))
    read(tasks, message(12))  # of nobody: that is a tenant, too

    assert offsets(begin(tasks, 4)) == [0, 10, 12, 1]


def test_a_tenant_behind_ten_thousand_tasks_of_another_is_next() -> None:
    tasks = backlog(in_flight_max=8)
    for offset in range(10_000):
        read(tasks, of("a", offset))
    assert not tasks.holds(P0), "a flood of 10,000 is read as a whole"
    running = begin(tasks, 8)
    read(tasks, of("b", 10_000))
    tasks.end(place(running[0]))

    assert offsets(begin(tasks, 8)) == [10_000]


# --- keys


def test_one_key_runs_one_at_a_time_across_lanes_and_urgent_comes_before_what_waits() -> None:
    tasks = backlog(ordered=True, in_flight_max=10)
    for offset in range(3):
        read(tasks, message(offset))
    [first] = begin(tasks, 10)
    read(tasks, message(0, URGENT))
    read(tasks, message(1, URGENT))
    assert begin(tasks, 10) == []

    order = []
    while tasks.running:
        tasks.end(place(first))
        for each in begin(tasks, 10):
            first = each
            order.append(place(each))
    assert order == [(URGENT, 0), (URGENT, 1), (P0, 1), (P0, 2)]
    assert tasks.waiting == 0


def test_tasks_of_one_key_keep_their_order_whatever_their_tenants() -> None:
    tasks = backlog(ordered=True, in_flight_max=10)
    for offset in range(8):
        read(tasks, of("ab"[offset % 2], offset))
    order = []
    while started := begin(tasks, 10):
        [each] = started
        order.append(each.offset)
        tasks.end(place(each))

    assert order == list(range(8))


def test_what_waits_of_partitions_that_went_is_forgotten_and_the_rest_goes_on() -> None:
    tasks = backlog(ordered=True, in_flight_max=1)
    for offset in range(4):
        for source in (P0, P1, URGENT):
            read(tasks, message(offset, source, key=b"k%d" % (offset % 2)))
    [first] = begin(tasks, 1)
    tasks.drop({P0})
    tasks.drop({first.source} & {P0})

    rest = []
    tasks.end(place(first))
    while started := begin(tasks, 1):
        rest.append(place(started[0]))
        tasks.end(rest[-1])
    expected = {(source, offset) for source in (P1, URGENT) for offset in range(4)}
    assert set(rest) == expected - {place(first)}
    assert (tasks.waiting, tasks.normal.waiting_bytes, tasks.urgent.waiting_bytes) == (0, 0, 0)


# --- bounds


def test_bytes_that_run_are_bounded() -> None:
    tasks = backlog(in_flight_max=100, in_flight_bytes_max=1000)
    for offset in range(20):
        read(tasks, message(offset, value=b"x" * 300))

    assert offsets(begin(tasks, 100)) == [0, 1, 2, 3]  # the one that crosses the bound included
    tasks.end((P0, 1))
    assert offsets(begin(tasks, 100)) == [4]


def test_a_lane_is_held_at_its_count_and_let_go_at_half_of_it() -> None:
    tasks = backlog(in_flight_max=1, read_ahead_max=10)
    for offset in range(10):
        read(tasks, message(offset))
    [running] = begin(tasks, 1)
    assert (tasks.room, tasks.holds(P0)) == (1, False)
    read(tasks, message(10))
    assert begin(tasks, 1) == []
    assert tasks.holds(P0)
    for _ in range(5):
        assert tasks.holds(P0)
        tasks.end(place(running))
        [running] = begin(tasks, 1)

    assert tasks.waiting == 5
    assert not tasks.holds(P0)


def test_a_lane_is_held_at_its_bytes_and_reads_fewer_of_what_is_large() -> None:
    tasks = backlog(in_flight_max=1, read_ahead_bytes_max=1000)
    read(tasks, message(0, value=b"x" * 200))
    read(tasks, message(1, value=b"x" * 200))
    begin(tasks, 1)
    assert (tasks.room, tasks.holds(P0)) == (4, False)
    for offset in range(2, 6):
        read(tasks, message(offset, value=b"x" * 200))
    begin(tasks, 1)

    assert tasks.holds(P0)
    assert not tasks.holds(URGENT)


def test_a_key_that_is_too_deep_holds_its_partition_until_half_of_it_is_done() -> None:
    tasks = backlog(ordered=True, in_flight_max=2, key_depth_max=4)
    for offset in range(4):
        read(tasks, message(offset))
    read(tasks, message(0, P1, key=b"other"))
    [running, _] = begin(tasks, 2)
    assert not tasks.holds(P0)
    read(tasks, message(4))
    assert tasks.holds(P0)
    assert not tasks.holds(P1)
    tasks.end(place(running))
    [running] = begin(tasks, 2)
    assert tasks.holds(P0)
    tasks.end(place(running))
    begin(tasks, 2)

    assert not tasks.holds(P0)


def test_a_deep_key_lets_go_of_a_partition_that_went() -> None:
    tasks = backlog(ordered=True, in_flight_max=1, key_depth_max=2)
    for offset in range(4):
        read(tasks, message(offset))
    assert tasks.holds(P0)
    tasks.drop({P0})
    assert not tasks.holds(P0)
    assert tasks.waiting == 0


def test_the_readme_gives_every_bound_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)`[^|]*\| ([^|]+) \|", README.read_text("utf-8"), re.MULTILINE)
    said = {name.lower(): text for name, text in rows}
    names = {bound.name for bound in fields(Bounds)} | {"span_max"}
    assert names <= said.keys()
    settings = Settings()
    for name in names:
        number, *unit = said[name].removesuffix(", 64").replace(",", "").split()
        found = float(number) * (1024**2 if unit == ["MiB"] else 1)
        assert found == getattr(settings, name), name
