"""Deferred work: the hours of a workflow, and the cases that are held for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from coordinator.case import next_due
from coordinator.off_peak import SPREAD_S_MAX, off_peak_of
from coordinator.workflow import Plan, compile_workflow
from coordinator.workflow_problems import problems_of
from events.errors import DeclarationError
from schemas.base import instant
from schemas.commands import Cancel
from schemas.workflow import StepSpec, WorkflowSpec
from tests.unit.machine import AGENTS, START, Machine, event, sent
from tests.unit.test_flock import Shop

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: Any = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def begins(hours: str, zone: str, now: float) -> float | None:
    return off_peak_of(hours, zone).start_for("case", now)


def test_within_the_hours_a_case_begins_at_once() -> None:
    for now in ("2026-06-01T22:00", "2026-06-01T23:59", "2026-06-02T05:59"):
        assert begins("22:00-06:00", "Europe/Berlin", at(now, BERLIN)) is None
    assert begins("09:00-17:00", "UTC", at("2026-06-01T12:00")) is None


def test_outside_of_them_it_is_held_until_they_begin_and_spread_a_little() -> None:
    opens = at("2026-06-01T22:00", BERLIN)
    for now in ("2026-06-01T06:00", "2026-06-01T21:59"):
        start = begins("22:00-06:00", "Europe/Berlin", at(now, BERLIN))
        assert start is not None
        assert opens <= start < opens + SPREAD_S_MAX
    window = off_peak_of("22:00-22:10", "UTC")
    starts = [window.start_for(f"case {n}", at("2026-06-01T12:00")) or 0.0 for n in range(200)]
    begin = at("2026-06-01T22:00")
    assert all(begin <= start < begin + 150 for start in starts)
    assert len({int(start - begin) // 15 for start in starts}) == 10


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-03-28T12:00", "2026-03-28T22:00"),  # the night of the change to summer time
        ("2026-03-29T12:00", "2026-03-29T22:00"),
        ("2026-10-24T12:00", "2026-10-24T22:00"),  # and of the change back
        ("2026-10-25T12:00", "2026-10-25T22:00"),
    ],
)
def test_the_hours_are_those_of_the_wall_clock(now: str, opens: str) -> None:
    start = begins("22:00-06:00", "Europe/Berlin", at(now, BERLIN))

    assert start is not None
    assert 0 <= start - at(opens, BERLIN) < SPREAD_S_MAX


def test_an_hour_that_does_not_exist_and_one_that_comes_twice() -> None:
    spring = begins("02:10-02:50", "Europe/Berlin", at("2026-03-29T00:30", BERLIN))
    autumn = off_peak_of("02:00-03:00", "Europe/Berlin")

    assert spring is not None
    assert at("2026-03-29T01:10") <= spring < at("2026-03-29T01:50")  # 03:10 in summer time
    assert autumn.start_for("case", at("2026-10-25T00:30")) is None
    assert autumn.start_for("case", at("2026-10-25T01:30")) is None
    assert autumn.start_for("case", at("2026-10-25T02:00")) is not None


@pytest.mark.parametrize(
    ("hours", "zone", "problem"),
    [
        ("22-6", "UTC", "write hours, as in 22:00-06:00"),
        ("22:00-24:00", "UTC", "write hours"),
        ("22:00-22:00", "UTC", "empty or a whole day"),
        ("22:00-06:00", "Mars/Base", "this machine does not know"),
        ("22:00-06:00", "../etc", "this machine does not know"),
        ("", "Europe/Berlin", "`off_peak_zone` without `off_peak`"),
    ],
)
def test_hours_that_make_no_sense_are_refused(hours: str, zone: str, problem: str) -> None:
    spec = spec_of(off_peak=hours, off_peak_zone=zone)

    assert any(problem in said for said in problems_of(spec, AGENTS))
    if hours:
        with pytest.raises(DeclarationError):
            off_peak_of(hours, zone)


# --- cases; they open on 1970-01-12 at 13:46:40


def spec_of(**fields: Any) -> WorkflowSpec:
    given = {"off_peak": "22:00-06:00"} | fields
    steps = (StepSpec(name="kb", agent="kb"),)
    return WorkflowSpec(name="ticket", on=("e",), steps=steps, deadline_s=3_600.0, **given)


def plan(**fields: Any) -> Plan:
    return compile_workflow(spec_of(**fields), AGENTS)


def deferred(plan_: Plan | None = None, **fields: Any) -> Machine:
    return Machine(plan_ or plan(), business=event(**({"priority": "deferred"} | fields)))


def test_a_deferred_case_is_held_visibly_and_its_time_counts_from_then() -> None:
    it = deferred()
    held = it.case.held

    assert held is not None
    assert (it.case.status, sent(it.effects)) == ("waiting", [])
    assert it.case.reason is not None
    assert it.case.reason.startswith("held for its off-peak window until 1970-01-12 22:0")
    assert (next_due(it.case, 0), it.case.deadline) == (held, held + 3_600.0)
    assert sent(it.at(held)) == ["kb"]
    assert it.state("kb").status == "sent"
    assert it.case.held is None
    assert it.case.reason is None


def test_others_are_not_held() -> None:
    assert sent(deferred(priority="normal").effects) == ["kb"]
    assert sent(deferred(plan(off_peak="")).effects) == ["kb"]
    assert sent(deferred(deadline=instant(START + 600)).effects) == ["kb"]


def test_a_held_case_is_cancelled_like_any_other() -> None:
    it = deferred()
    it.do(Cancel(case_id=it.case.case_id))

    assert it.case.status == "cancelled"


def test_what_is_held_and_coalesced_asks_its_flock_when_its_hours_come() -> None:
    shop = Shop()
    spec = shop.plan.spec.evolve(version="", off_peak="22:00-06:00")
    shop.plan = compile_workflow(spec, AGENTS)
    shop.it = shop.restarted()
    first, second = (shop.asks(number, priority="deferred") for number in (1, 2))
    assert shop.to("cw.tasks.kb") == []
    shop.now = max(shop.open(case).held or 0.0 for case in (first, second)) + 1
    shop.it = shop.restarted()
    shop.turn()
    shop.deliver()

    assert len(shop.to("cw.tasks.kb")) == 1
