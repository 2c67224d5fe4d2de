"""Retry budgets, and what the orchestrator knows of outages."""

from __future__ import annotations

from coordinator.outages import Fleet, Outages
from coordinator.retries import POSTPONE_MAX_S, WINDOW_S, RetryBudgets, RetryLimits
from events.broker import Message, TopicPartition
from schemas.agent import AgentSpec
from schemas.base import instant
from schemas.control import Breaker, BreakerState
from tests.unit.machine import START, event, opened, outcome
from tests.unit.test_orchestrator import Desk

LIMITS = RetryLimits(share=0.2, floor_per_s=1.0)


def dues(budgets: RetryBudgets, many: int, now: float = START) -> list[float]:
    return [budgets.retry_at("kb", now, now) - now for _ in range(many)]


def test_retries_within_the_floor_go_when_they_are_due() -> None:
    budgets = RetryBudgets(LIMITS)

    assert dues(budgets, int(WINDOW_S)) == [0.0] * int(WINDOW_S)


def test_beyond_it_each_gets_the_next_slot() -> None:
    budgets = RetryBudgets(LIMITS)

    late = dues(budgets, 100)[10:]
    assert [round(each) for each in late] == list(range(1, 91))


def test_first_attempts_earn_retries() -> None:
    budgets = RetryBudgets(LIMITS)
    for _ in range(1_000):
        budgets.first("kb", START)

    allowed = [each for each in dues(budgets, 1_000, START + 5) if each == 0.0]
    assert len(allowed) == (1.0 + 0.2 * 1_000 / WINDOW_S) * WINDOW_S


def test_what_was_earned_is_forgotten_after_two_windows() -> None:
    budgets = RetryBudgets(LIMITS)
    for _ in range(1_000):
        budgets.first("kb", START)

    allowed = [each for each in dues(budgets, 100, START + 2 * WINDOW_S) if each == 0.0]
    assert len(allowed) == WINDOW_S


def test_an_outage_of_retries_keeps_to_its_rate() -> None:
    budgets, sent = RetryBudgets(LIMITS), [0] * 600
    for second in range(100):
        for _ in range(5):
            sent[int(budgets.retry_at("kb", START + second, START + second) - START)] += 1

    assert sum(sent[:100]) <= WINDOW_S + 100
    assert max(sent[20:]) <= 2


def test_no_retry_waits_for_ever_and_a_clock_that_was_ahead_holds_nobody_back() -> None:
    budgets = RetryBudgets(RetryLimits(share=0.0, floor_per_s=0.1))

    assert max(dues(budgets, 1_000)) == POSTPONE_MAX_S
    assert max(dues(budgets, 10, START - 100_000)) <= POSTPONE_MAX_S


def test_agents_have_budgets_of_their_own() -> None:
    budgets = RetryBudgets(LIMITS)
    dues(budgets, 100)

    assert budgets.retry_at("reply", START, START) == START


def test_a_retry_that_is_postponed_is_counted_and_burns_one_attempt_only() -> None:
    desk = Desk(retries=RetryLimits(share=0.0, floor_per_s=0.1))
    late = 0
    for number in range(5):
        command = opened(desk.plan, event(f"e{number}"))
        desk.tell(command)
        case = desk.case(command.case_id)
        assert case is not None
        turn = desk.tell(outcome(case, "triage", "retry"))
        assert turn is not None
        late += int(turn.counts.get(_POSTPONED, 0))
        case = desk.case(command.case_id)
        assert case is not None
        assert case.steps["triage"].burnt == 1
    assert late == 4


def test_what_is_taken_back_was_never_charged_and_what_is_kept_stays() -> None:
    budgets = RetryBudgets(LIMITS)
    dues(budgets, 7)
    budgets.keep()
    budgets.first("kb", START)
    dues(budgets, 100)
    budgets.retry_at("reply", START, START)
    budgets.take_back()

    assert dues(budgets, 4)[2:] == [0.0, 1.0]
    assert dues(budgets, 1) == [2.0]


def failing(desk: Desk, event_id: str) -> Message:
    """A case is opened; what its first attempt says."""
    command = opened(desk.plan, event(event_id))
    desk.tell(command)
    case = desk.case(command.case_id)
    assert case is not None
    return desk.message(outcome(case, "triage", "retry"))


def test_a_turn_that_is_planned_again_is_charged_once() -> None:
    desk = Desk(retries=RetryLimits(share=0.0, floor_per_s=0.1))
    message = failing(desk, "e1")
    for _ in range(5):
        turn = desk.turn(message, promote=False)
        assert turn is not None
        assert _POSTPONED not in turn.counts

    desk.turn(message)
    other = desk.turn(failing(desk, "e2"))
    assert other is not None
    assert other.counts[_POSTPONED] == 1


def test_a_retry_that_is_set_aside_is_not_charged() -> None:
    desk = Desk(retries=RetryLimits(share=0.0, floor_per_s=0.1))
    message = failing(desk, "e1")
    desk.turn(message, promote=False)
    desk.it.promote(desk.it.reject(message, desk.now, "it cannot be committed"))

    other = desk.turn(failing(desk, "e2"))
    assert other is not None
    assert _POSTPONED not in other.counts


def test_a_first_attempt_that_was_not_sent_earns_no_retries() -> None:
    desk = Desk(retries=RetryLimits(share=1.0, floor_per_s=0.1))
    for number in range(100):
        desk.turn(desk.message(opened(desk.plan, event(f"never{number}"))), promote=False)
    late = 0
    for number in range(4):
        turn = desk.turn(failing(desk, f"e{number}"))
        assert turn is not None
        late += int(turn.counts.get(_POSTPONED, 0))

    assert late == 2


_POSTPONED = ("caseworks_retries_postponed_total", (("agent", "triage"),))


# --- outages


def said(state: BreakerState, at: float, v: int = 1) -> Message:
    breaker = Breaker(v=v, dependency="crm", state=state, at=instant(at))
    headers = (("ce_type", Breaker.ce_type.encode()),)
    return Message("cw.control", 0, 0, 0, b"breaker:crm", breaker.to_json(), headers)


def fleet(*messages: Message) -> Fleet:
    outages = Outages(TopicPartition("cw.control", 0))
    assert not outages.learn(messages)
    agents = {"kb": AgentSpec(name="kb", calls=("crm",)), "rules": AgentSpec(name="rules")}
    return Fleet(agents, outages, RetryBudgets())


def test_an_agent_is_away_since_the_breaker_of_what_it_calls_left_closed() -> None:
    it = fleet(said("open", START), said("half_open", START + 10), said("open", START + 11))

    assert it.away("kb") == START
    assert it.away("rules") is None
    assert it.away("nobody") is None
    assert fleet(said("open", START), said("closed", START + 9)).away("kb") is None


def test_decisions_that_cannot_be_read_or_are_later_versions_change_nothing() -> None:
    broken = said("open", START)._replace(value=b"{")
    alien = said("open", START)._replace(headers=())

    assert fleet(broken, alien, said("open", START, v=2)).away("kb") is None
