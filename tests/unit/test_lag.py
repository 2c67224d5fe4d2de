"""The parts of measuring lag: the rules, the costs, the metrics and the command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseworks.lag import LagMonitor, LagReport, State, Surveyor, behind, survey, tell, worst
from caseworks.lag.costs import Attempt, Cost, read_attempt
from caseworks.lag.counting import Facts, Found, Scan, count
from caseworks.lag.holds import held_by
from caseworks.lag.states import Sample, Window
from events.broker import GroupLag, OffsetAndMetadata, TopicPartition
from events.metrics import Prometheus
from events.progress import Progress, encode
from schemas.control import Breaker
from tests.unit.command_line import CommandLine
from tests.unit.lag_world import (
    GROUP,
    SPEC,
    START,
    TASKS,
    URGENT,
    LagWorld,
    partitions,
    put,
    put_outcome,
)

# ---- the rules


def judged(*samples: tuple[int, str, int], seconds: float = 20, every: float = 10) -> State | None:
    window = Window(seconds)
    for number, sample in enumerate(samples):
        window.add(Sample(number * every, *sample))
    return window.judge()


@pytest.mark.parametrize(
    ("samples", "state"),
    [
        ([(5, "", 0)], "OK"),
        ([(5, "", 3)], None),
        ([(5, "", 3), (5, "", 3)], None),
        ([(5, "", 3), (5, "", 3), (5, "", 3)], "STOP"),
        ([(5, "a", 3), (5, "b", 3), (5, "b", 3)], "STALL"),
        ([(5, "", 3), (6, "", 3), (7, "", 4)], "WARN"),
        ([(5, "", 3), (6, "", 2), (7, "", 4)], "OK"),
        ([(5, "", 0), (5, "", 3), (5, "", 3)], "OK"),
        ([(5, "", 0), (5, "", 3), (5, "", 3), (5, "", 3)], "STOP"),
        ([(5, "", 0), (4, "", 1)], "REWIND"),
        ([(5, "", 3), (4, "", 4), (4, "", 4), (4, "", 4), (4, "", 4)], "STOP"),
    ],
)
def test_a_window_is_judged_by_the_rules(
    samples: Sequence[tuple[int, str, int]], state: State | None
) -> None:
    assert judged(*samples) == state


@given(st.lists(st.integers(1, 9), min_size=4, max_size=40))
def test_a_group_that_commits_what_it_was_given_is_never_stopped_or_rewound(
    steps: list[int],
) -> None:
    window, position = Window(30), 0
    for number, step in enumerate(steps):
        position += step
        window.add(Sample(number * 10, position, "", step))
        assert window.judge() in ("OK", "WARN", None)


def test_the_worst_state_counts_and_an_unknown_one_is_no_good_one() -> None:
    assert worst(["OK", "STALL", None, "WARN"]) == "STALL"
    assert worst(["OK", None]) is None
    assert worst(["OK", "OK"]) == "OK"
    assert worst([]) == "OK"


# ---- counting


@st.composite
def logs(draw: st.DrawFn) -> tuple[Facts, list[Found], Progress]:
    """A log with gaps, a committed offset in it and what was told beside that."""
    offsets = sorted(draw(st.sets(st.integers(0, 60), min_size=1, max_size=40)))
    found = [Found(offset, 1000 + offset) for offset in offsets]
    at = draw(st.integers(0, len(offsets) - 1))
    behind_it = offsets[at:]
    done = draw(st.sets(st.sampled_from(behind_it))) - {behind_it[0]}
    end = max(done, default=behind_it[0] - 1) + 1
    unfinished = tuple(each for each in behind_it if each not in done and each < end)
    head_ms = 1000 + behind_it[0] if unfinished else 0
    progress = Progress(behind_it[0], max(end, behind_it[0]), unfinished, head_ms=head_ms)
    committed = OffsetAndMetadata(behind_it[0], encode(progress))
    return Facts(TASKS, committed, 0, 61, 61), found, progress


@given(logs())
def test_what_is_counted_is_what_a_reader_would_be_given(
    log: tuple[Facts, list[Found], Progress],
) -> None:
    facts, records, progress = log
    scan = Scan([each for each in records if each.offset >= facts.start], facts.stable)

    found = count(facts, scan)

    left = [each for each in scan.found if not progress.finished(each.offset)]
    assert found.lag == len(left)
    assert found.committed_lag == len(scan.found)
    assert found.in_flight + found.undelivered == found.lag
    assert found.oldest_ms == (left[0].timestamp_ms if left else None)
    assert found.exact


def test_offsets_that_were_passed_are_not_behind() -> None:
    assert behind(GroupLag(TASKS, None, 7)) == 7
    assert behind(GroupLag(TASKS, 5, 7)) == 2
    assert behind(GroupLag(TASKS, 9, 7)) == 0


# ---- costs


def attempt(seconds: float, tokens: int = 0, usd: str = "0") -> Attempt:
    began = datetime.fromtimestamp(START, UTC).isoformat()
    ended = (datetime.fromtimestamp(START, UTC) + timedelta(seconds=seconds)).isoformat()
    usage = {"tokens_in": tokens, "usd": usd}
    said = {"agent": "a", "status": "done", "started_at": began, "finished_at": ended}
    found = read_attempt(json.dumps({**said, "usage": usage}).encode())
    assert found is not None
    return found


def test_the_first_attempts_weigh_alike_and_later_ones_move_the_mean_slowly() -> None:
    cost = Cost()
    for seconds in (1.0, 2.0, 3.0):
        cost = cost.learn(attempt(seconds, tokens=100, usd="0.5"))
    assert (cost.seconds, cost.tokens, cost.usd) == pytest.approx((2.0, 100.0, 0.5))

    for _ in range(500):
        cost = cost.learn(attempt(2.0))
    before = cost.seconds
    cost = cost.learn(attempt(102.0))
    assert cost.seconds - before == pytest.approx(2.0, rel=0.01)
    for _ in range(500):
        cost = cost.learn(attempt(10.0))
    assert cost.seconds == pytest.approx(10.0, rel=0.01)


def test_nothing_is_said_of_costs_before_one_was_learned() -> None:
    assert (Cost().of(5).seconds, Cost().of(5).records) == (None, 5)
    assert Cost().of(0).seconds == 0
    assert Cost().learn(attempt(2.0, usd="0.25")).of(4).usd == 1.0


@pytest.mark.parametrize("data", [b"", b"[]", b'{"agent": "a"}', b"\xff"])
def test_what_is_no_outcome_teaches_nothing(data: bytes) -> None:
    assert read_attempt(data) is None


def test_costs_are_learned_from_outcomes_that_were_tried() -> None:
    world = LagWorld()
    world.outcome(seconds=2, tokens=300, usd="0.03")
    world.outcome(seconds=4, tokens=100, usd="0.01")
    world.outcome(seconds=900, status="deferred")
    world.put(10)

    [work] = world.look().agents

    assert (work.now.seconds, work.now.tokens, work.now.usd) == (30.0, 2000.0, 0.2)
    assert work.learned_from == 2
    world.outcome(seconds=3)
    assert world.look().agents[0].learned_from == 3


# ---- what holds


def test_a_breaker_holds_those_who_call_what_it_guards() -> None:
    opened = Breaker(dependency="model", state="half_open", epoch=1)
    other = SPEC.model_copy(update={"calls": ("crm",)})

    assert held_by("triage", [opened], {"triage": SPEC}) == "breaker: model is half open"
    assert held_by("triage", [opened], {"triage": other}) == ""
    assert held_by("triage", [opened], {}) == ""


# ---- as metrics


@pytest.fixture
def world() -> Iterator[LagWorld]:
    made = LagWorld()
    yield made
    made.surveyor.close()


def test_the_report_becomes_metrics(world: LagWorld) -> None:
    member = world.member()
    world.outcome(seconds=2)
    world.put(6)
    world.commit(member, 1, unfinished=[1], end=3, seen=4)
    world.now += 30
    telemetry = Prometheus()

    tell(world.look(), telemetry)

    place: dict[str, object] = {"group": GROUP, "topic": TASKS.topic}
    partition = {**place, "partition": 0}
    told: dict[str, tuple[dict[str, object], float]] = {
        "consumer_lag": (partition, 4),
        "consumer_committed_lag": (partition, 5),
        "consumer_undelivered": (partition, 2),
        "consumer_oldest_age_seconds": (partition, 30),
        "consumer_state": (partition, 0),
        "consumer_in_flight": (place, 2),
        "consumer_done_ahead": (place, 1),
        "consumer_hidden": (place, 0),
        "consumer_held": ({"group": GROUP}, 0),
        "consumer_members": ({"group": GROUP}, 1),
        "consumer_unowned": ({"group": GROUP}, 0),
        "work_behind_seconds": ({"agent": "triage", "held": "no"}, 8),
        "lag_measured_timestamp_seconds": ({}, START + 30),
    }
    assert {
        name: telemetry.value(f"caseworks_{name}", **labels) for name, (labels, _) in told.items()
    } == {name: value for name, (_, value) in told.items()}


def test_costs_that_nobody_knows_are_not_told_as_nothing(world: LagWorld) -> None:
    world.put(6)
    telemetry = Prometheus()

    tell(world.look(), telemetry)

    labels = {"agent": "triage", "held": "no"}
    assert telemetry.value("caseworks_work_behind_seconds", **labels) is None


def test_a_monitor_measures_until_it_is_closed() -> None:
    command = CommandLine()
    command.make_topics()
    put(command.broker, 2, TASKS)
    telemetry = Prometheus()
    surveyor = Surveyor(command.broker, LagWorld().settings)

    def value() -> float | None:
        place = {"group": GROUP, "topic": TASKS.topic, "partition": 0}
        return telemetry.value("caseworks_consumer_lag", **place)

    with closing(LagMonitor(surveyor, telemetry, 0.01)):
        deadline = time.monotonic() + 5
        while value() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert value() == 2


def test_a_monitor_goes_on_after_any_error() -> None:
    looked = Event()

    class Odd(Surveyor):
        tries = 0

        def look(self) -> LagReport:
            self.tries += 1
            if self.tries == 1:
                raise RuntimeError("nobody thought of it")
            looked.set()
            return super().look()

    with closing(LagMonitor(Odd(CommandLine().broker, LagWorld().settings), Prometheus(), 0.01)):
        assert looked.wait(5)


def test_a_survey_of_a_namespace_without_topics_finds_nothing() -> None:
    command = CommandLine()
    report = survey(command.broker, LagWorld().settings)
    assert [(group.group, group.lag, group.partitions) for group in report.groups] == [
        ("cw.intake", 0, ()),
        ("cw.orchestrator", 0, ()),
        ("cw.controller", 0, ()),
    ]
    assert report.as_json()["agents"] == []


def test_topics_that_appear_later_are_seen_by_the_next_look() -> None:
    command = CommandLine()
    with closing(Surveyor(command.broker, LagWorld().settings)) as surveyor:
        assert surveyor.look().agents == ()
        command.make_topics()
        put(command.broker, 1, URGENT)
        assert partitions(surveyor.look())[GROUP, URGENT].lag == 1


# ---- the command


def shop() -> CommandLine:
    command = CommandLine()
    command.make_topics()
    put(command.broker, 3, TASKS)
    put(command.broker, 2, TopicPartition(URGENT.topic, 1))
    return command


def test_lag_is_what_a_group_has_not_done() -> None:
    command = shop()
    rows = command("lag", "--json").lines
    mine = [row for row in rows if row["group"] == GROUP and "topic" in row]
    assert sum(row["lag"] for row in mine) == 5
    assert {row["members"] for row in mine} == {0}
    [work] = [row for row in rows if "agent" in row and "topic" not in row]
    assert (work["agent"], work["now"]["records"], work["now"]["seconds"]) == ("triage", 5, None)

    shown = [line.split() for line in command("lag").out.splitlines() if GROUP in line]
    assert [(line[5], line[7]) for line in shown] == [(TASKS.topic, "3"), (URGENT.topic, "2")]
    assert command("lag", "--partitions").out.count(GROUP) == len(mine)
    assert "no member has it" in command("lag").err


def test_watching_looks_again_and_says_what_work_costs() -> None:
    command = shop()
    put_outcome(command.broker, seconds=1.5)

    ran = command("lag", "--watch", "--times", "2", "--every", "0.1")

    lines = [
        line.split() for line in ran.out.splitlines() if "triage" in line and GROUP not in line
    ]
    assert [line[1::2][:3] for line in lines] == [["triage", "5", "7.5"]] * 2
    assert ran.code == 0


def test_a_breaker_that_is_open_is_told_where_nobody_knows_whom_it_holds() -> None:
    world = LagWorld()
    world.decide("breaker:model", Breaker(dependency="model", state="open", epoch=1))

    ran = CommandLine(world.broker)("lag")

    assert "not closed: the breaker of model; --app says whose tasks it holds" in ran.err
    assert "the breaker of" not in CommandLine(LagWorld().broker)("lag").err


def test_the_app_says_whose_tasks_a_breaker_holds() -> None:
    ran = shop()("lag", "--json", "--app", "tests.unit.shop_app:app")
    assert ran.code == 0
    assert ran.lines
    assert shop()("lag", "--app", "tests.unit.nowhere:app").code == 2
