"""Coalescing: identical events are one execution that answers each, whatever becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from coordinator.flock import FOLLOWERS_MAX, Counted, Tell, apply, flock_of, next_due, tick
from coordinator.intake import Intake
from coordinator.workflow import Plan, compile_workflow
from coordinator.workflow_problems import problems_of
from events.broker import Message
from events.envelope import event_record
from events.topics import Topics
from schemas.base import instant
from schemas.case import Answer, Flock
from schemas.commands import Cancel, Join, Leave, Opened, Replay
from schemas.event import Event
from schemas.lean_case import Case
from schemas.outcome import Failure
from schemas.result import Result
from schemas.task import task_id_of
from schemas.workflow import StepSpec, WorkflowSpec
from tests.unit.machine import AGENTS, START, event, outcome
from tests.unit.test_waits_turn import Talk

WELL = Answer(status="completed", output="the answer")
WINDOW_S = 60.0


def told(effects: list[Any]) -> list[Tell]:
    return [effect for effect in effects if isinstance(effect, Tell)]


class Birds:
    """One flock, written and read again between commands."""

    def __init__(self) -> None:
        self.flock: Flock | None = None
        self.now = START

    def joins(self, member: str, until_s: float = 600.0) -> list[Tell]:
        until = instant(self.now + until_s)
        return self._do(Join(case_id="f", member=member, until=until, window_s=WINDOW_S))

    def leaves(self, member: str, answer: Answer | None = None) -> list[Tell]:
        return self._do(Leave(case_id="f", member=member, answer=answer))

    def passes(self, seconds: float) -> list[Tell]:
        self.now += seconds
        if self.flock is None:
            return []
        self.flock, effects = tick(self.flock, self.now)
        return told(effects)

    def _do(self, command: Join | Leave) -> list[Tell]:
        self.flock, effects = apply(self.flock, command, self.now)
        if self.flock is not None:
            self.flock = Flock.from_json(self.flock.to_compact_json())
        return told(effects)


# --- a flock


def test_the_first_leads_and_its_end_is_that_of_all_who_follow() -> None:
    birds = Birds()

    assert birds.joins("a") == [Tell("a", "a")]
    assert birds.joins("b") == [Tell("b", "a")]
    assert birds.joins("c") == [Tell("c", "a")]
    assert birds.leaves("a", WELL) == [Tell("b", "a", WELL), Tell("c", "a", WELL)]


def test_who_comes_within_the_window_is_answered_at_once_and_then_a_new_one_leads() -> None:
    birds = Birds()
    birds.joins("a")
    birds.leaves("a", WELL)
    birds.passes(WINDOW_S - 1)

    assert birds.joins("b") == [Tell("b", "a", WELL)]
    birds.passes(1)
    assert birds.flock is None
    assert birds.joins("c") == [Tell("c", "c")]


def test_a_leader_that_outlasts_its_window_still_answers_who_came_in_time() -> None:
    birds = Birds()
    birds.joins("a")
    birds.joins("b")
    birds.passes(WINDOW_S)

    assert birds.joins("c") == [Tell("c", "c")]
    assert birds.leaves("a", WELL) == [Tell("b", "a", WELL)]
    assert birds.leaves("c", WELL) == []


def test_the_next_one_leads_after_a_leader_without_an_answer() -> None:
    birds = Birds()
    for member in ("a", "b", "c"):
        birds.joins(member)

    assert birds.leaves("a") == [Tell("b", "b")]
    assert birds.leaves("b") == [Tell("c", "c")]
    assert birds.leaves("c") == []
    assert birds.flock is None


def test_a_follower_that_ended_by_itself_neither_leads_nor_is_answered() -> None:
    birds = Birds()
    for member in ("a", "b", "c"):
        birds.joins(member)
    birds.leaves("b")

    assert birds.leaves("a") == [Tell("c", "c")]


def test_a_follower_whose_time_is_over_does_not_lead_and_is_forgotten() -> None:
    birds = Birds()
    birds.joins("a")
    birds.joins("b", until_s=100.0)
    birds.passes(100)

    assert birds.leaves("a") == []
    assert birds.flock is None


def test_a_replayed_leader_that_ends_again_tells_nobody() -> None:
    birds = Birds()
    birds.joins("a")
    birds.joins("b")
    birds.leaves("a")

    assert birds.leaves("a", WELL) == []
    assert birds.leaves("b", WELL) == []


def test_joining_twice_is_joining_once() -> None:
    birds = Birds()
    birds.joins("a")
    birds.joins("b")
    before = birds.flock

    assert birds.joins("a") == [Tell("a", "a")]
    assert birds.joins("b") == [Tell("b", "a")]
    assert birds.flock == before


def test_so_many_follow_one_leader_and_they_are_answered_in_slices() -> None:
    birds = Birds()
    birds.joins("leader")
    for number in range(FOLLOWERS_MAX):
        birds.joins(f"f{number}")
    assert birds.joins("more") == [Tell("more", "more")]

    answered = birds.leaves("leader", WELL)
    while birds.flock is not None and next_due(birds.flock) <= birds.now:
        answered += birds.passes(0)
    assert [tell.case_id for tell in answered] == [f"f{n}" for n in range(FOLLOWERS_MAX)]


def test_a_flock_has_so_many_groups_and_then_a_case_leads_nobody() -> None:
    birds = Birds()
    for number in range(100):
        birds.joins(f"l{number}", 1e6)
        birds.joins(f"f{number}", 1e6)
        birds.passes(WINDOW_S)
    assert birds.joins("one") == [Tell("one", "one")]
    assert birds.joins("two") == [Tell("two", "two")]


def test_answers_that_are_large_go_few_at_a_time_and_are_not_kept() -> None:
    birds = Birds()
    large = Answer(status="completed", output="x" * 3_000_000)
    for member in ("a", "b", "c"):
        birds.joins(member)

    assert [tell.case_id for tell in birds.leaves("a", large)] == ["b"]
    assert [tell.case_id for tell in birds.passes(0)] == ["c"]
    assert birds.joins("d") == [Tell("d", "d")]


# --- which events are identical


def plan_of(by: str | None = "data.q", **fields: Any) -> Plan:
    given: dict[str, Any] = {
        "name": "ticket",
        "on": ("ticket.created",),
        "steps": (StepSpec(name="kb", agent="kb"),),
        "coalesce_by": by,
        "coalesce_window_s": WINDOW_S,
    }
    return compile_workflow(WorkflowSpec(**(given | fields)), AGENTS)


def asked(number: int = 1, q: Any = "same", **fields: Any) -> Event:
    return event(f"e{number}", **fields).model_copy(update={"data": {"q": q}})


def test_events_are_identical_within_tenant_workflow_and_version() -> None:
    plan, same = plan_of(), flock_of(asked(1), plan_of())

    assert same == flock_of(asked(2, priority="urgent"), plan)
    others = (
        flock_of(asked(3, "other"), plan),
        flock_of(asked(4, tenant="acme"), plan),
        flock_of(asked(5), plan_of(name="other")),
        flock_of(asked(6), plan_of(version="2")),
    )
    assert len({same, *others}) == 5


@pytest.mark.parametrize(("by", "q"), [("data.nothing", 1), ("length(data.q)", 7), (None, 1)])
def test_an_event_without_a_value_to_compare_runs_on_its_own(by: str | None, q: Any) -> None:
    assert flock_of(asked(1, q), plan_of(by)) is None


WRONG = (
    ({"coalesce_by": "data.["}, "`coalesce_by`: "),
    ({"coalesce_by": "kb.text"}, "`coalesce_by` reads 'kb'"),
    ({"coalesce_by": "`1`"}, "all events would be one"),
)


@pytest.mark.parametrize(("fields", "problem"), WRONG)
def test_an_expression_that_cannot_tell_events_is_refused(
    fields: dict[str, Any], problem: str
) -> None:
    spec = plan_of().spec.evolve(**fields)

    assert any(problem in said for said in problems_of(spec, AGENTS))


def test_intake_names_the_flock_of_an_event() -> None:
    plan = plan_of()
    intake = Intake(Topics("cw"), [plan], {"ticket.created": TypeAdapter(dict[str, Any])}, 10_000)
    record = event_record(asked(), "cw.events", b'{"q": "same"}')
    message = Message("cw.events", 0, 0, 0, record.key, record.value, record.headers)
    turn = intake.plan([message], {}, START)

    assert turn is not None
    (written,) = turn.records
    assert Opened.from_json(written.value or b"").flock == flock_of(asked(), plan)


# --- and their cases


class Shop(Talk):
    """A desk where identical questions are answered together."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.plan = plan_of()
        self.it = self.restarted()

    def asks(self, number: int, **fields: Any) -> str:
        business = asked(number, **fields)
        self.tell(
            Opened(
                case_id=business.case_id,
                workflow=self.plan.name,
                workflow_version=self.plan.spec.version,
                event=business,
                accepted_at=instant(self.now),
                flock=flock_of(business, self.plan),
            )
        )
        self.deliver()
        return business.case_id

    def open(self, case_id: str) -> Case:
        case = self.case(case_id)
        assert case is not None
        return case

    def ends(self, case_id: str, status: Any = "done", **fields: Any) -> None:
        self.tell(outcome(self.open(case_id), "kb", status, **fields))
        self.deliver()

    def results(self) -> list[Result]:
        return [Result.from_json(r.value or b"") for r in self.to("cw.results.ticket")]


def test_three_identical_events_are_one_task_and_three_results() -> None:
    shop = Shop()
    first, second, third = (shop.asks(number) for number in (1, 2, 3))
    assert shop.open(second).reason == f"waits for the result of an identical event, case {first}"
    shop.ends(first, output="forty-two", confidence=0.9)

    assert len(shop.to("cw.tasks.kb")) == 1
    said = {result.case_id: result for result in shop.results()}
    assert {r.output for r in said.values()} == {"forty-two"}
    assert {r.confidence for r in said.values()} == {0.9}
    assert [said[c].coalesced_with for c in (first, second, third)] == [None, first, first]
    assert said[second].usage.calls == 0


def test_a_duplicate_of_an_event_is_one_member() -> None:
    shop = Shop()
    first = shop.asks(1)
    shop.asks(1)
    shop.asks(2)
    shop.asks(2)
    shop.ends(first)

    assert len(shop.results()) == 2


def test_a_cancelled_leader_is_followed_by_the_next_and_says_nothing_of_the_others() -> None:
    shop = Shop()
    first, second, third = (shop.asks(number) for number in (1, 2, 3))
    shop.tell(Cancel(case_id=first))
    shop.deliver()
    assert len(shop.to("cw.tasks.kb")) == 2
    shop.ends(second)

    said = {result.case_id: result for result in shop.results()}
    assert (said[first].status, said[third].status) == ("cancelled", "completed")
    assert said[third].coalesced_with == second


def test_a_dead_leader_is_followed_by_the_next_and_its_replay_is_about_itself() -> None:
    shop = Shop()
    first, second = shop.asks(1), shop.asks(2)
    shop.ends(first, "failed", error=Failure(kind="permanent"))
    assert [r.status for r in shop.results()] == ["escalated"]
    shop.ends(second)
    shop.tell(Replay(case_id=first, task_id=task_id_of(first, "kb"), command_id="dlq:0:1"))
    shop.deliver()
    shop.tell(outcome(shop.open(first), "kb", output="at last"))
    shop.deliver()

    said = [(r.case_id, r.status, r.amends is not None) for r in shop.results()]
    assert said == [
        (first, "escalated", False),
        (second, "completed", False),
        (first, "completed", True),
    ]


def test_an_escalated_leader_escalates_who_follows() -> None:
    shop = Shop()
    first, _ = shop.asks(1), shop.asks(2)
    shop.ends(first, "escalate", error=Failure(kind="escalated", message="beyond me"))

    assert [r.status for r in shop.results()] == ["escalated", "escalated"]


def test_a_follower_is_cancelled_and_expires_like_any_case() -> None:
    shop = Shop()
    first, second = shop.asks(1), shop.asks(2)
    third = shop.asks(3, deadline=instant(START + 30))
    shop.tell(Cancel(case_id=second))
    shop.deliver()
    shop.now += 31
    shop.turn()
    shop.deliver()
    shop.ends(first)

    assert [(r.case_id, r.status) for r in shop.results()] == [
        (second, "cancelled"),
        (third, "expired"),
        (first, "completed"),
    ]


def test_who_waits_and_what_is_known_survives_a_restart() -> None:
    shop = Shop()
    first, _ = shop.asks(1), shop.asks(2)
    shop.it = shop.restarted()
    shop.ends(first)
    shop.it = shop.restarted()
    shop.asks(3)

    assert [r.coalesced_with for r in shop.results()] == [None, first, first]


def test_tenants_do_not_meet() -> None:
    shop = Shop()
    shop.asks(1, tenant="acme")
    shop.asks(2, tenant="other")

    assert len(shop.to("cw.tasks.kb")) == 2


def test_what_is_counted_says_how_it_went() -> None:
    until = instant(START + 600)
    flock, effects = apply(None, Join(case_id="f", member="a", until=until, window_s=1), START)

    assert effects == [Tell("a", "a"), Counted("leads")]
    assert flock is not None
