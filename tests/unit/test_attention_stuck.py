"""What the report of the lag says to a person."""

from __future__ import annotations

import pytest

from caseworks.attention import Inputs, look
from caseworks.lag.views import State
from tests.unit.attending import NOW, group, lag, one, partition, typed


@pytest.mark.parametrize("state", ["STOP", "STALL", "REWIND"])
def test_partitions_that_stand_are_one_line_for_each_group_and_state(state: State) -> None:
    found = one(lag=lag(group(partition(state), partition(state, partition=4, oldest_age_s=9.0))))

    assert (found.kind, found.severity, found.agent) == ("stuck", "critical", "triage")
    assert found.what.endswith("cw.tasks.triage:3 and 1 more, 16 records")
    assert (found.since, found.why) == ("2026-09-21T14:11:20Z", "nothing was committed")
    assert typed(found) == ["lag", "--watch", "--partitions"]


def test_a_group_that_falls_behind_wants_more_workers() -> None:
    found = one(lag=lag(group(partition("WARN"))))

    assert (found.kind, found.severity) == ("behind", "warning")
    assert typed(found) == ["worker", "triage"]


def test_where_no_state_is_known_what_has_waited_for_long_is_told() -> None:
    found = one(lag=lag(group(partition(None, oldest_age_s=900.0))))

    assert (found.kind, "wait for 15 min" in found.what) == ("behind", True)
    assert look(Inputs(lag=lag(group(partition(None, oldest_age_s=30.0)))), NOW).items == []


def test_groups_without_members_are_told_and_those_of_a_coordinator_in_one_line() -> None:
    loops = [group(group=f"cw.{name}", agent=None, members=0) for name in ("intake", "controller")]
    idle = group(group="cw.worker.reply", agent="reply", members=0)
    report = lag(*loops, group(partition("STOP"), members=0), idle)
    worker, coordinator, unused = look(Inputs(lag=report), NOW).items

    assert (coordinator.kind, coordinator.severity) == ("nobody", "critical")
    assert coordinator.about == "cw.intake, cw.controller"
    assert typed(coordinator) == ["coordinator"]
    assert (worker.severity, worker.what) == (
        "critical",
        "no worker of triage is at work; 8 tasks wait",
    )
    assert typed(worker) == ["worker", "triage"]
    assert unused.severity == "info"


def test_a_group_that_is_held_or_whose_members_nobody_knows_is_not_called_empty() -> None:
    held = group(partition("STOP"), held="pause: ann", members=0)

    assert look(Inputs(lag=lag(held, group(members=None))), NOW).items == []
