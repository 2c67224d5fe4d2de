"""Results, decisions and ratings become facts: each once, and none stops the rest."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from caseworks.insight.facts import FactWriter, UnreadableError, fact_of, reads
from events.broker import Message, Record
from events.envelope import record_of
from events.topics import Topics
from schemas.approval import ApprovalEnded, ApprovalRequested
from schemas.base import Message as Model
from schemas.base import instant
from schemas.event import EventRef
from schemas.fact import MS_MAX, CaseFact, DecisionFact, Fact, FeedbackFact
from schemas.feedback import Feedback
from schemas.result import Degraded, Result, StepReport
from schemas.usage import Usage
from tests.unit.insight_world import NOW, closed

TOPICS = Topics("cw")
RESULTS = TOPICS.results("ticket")


def result(**more: Any) -> Result:
    fields = {
        "case_id": "c",
        "workflow": "ticket",
        "workflow_version": "3",
        "status": "completed",
        "steps": {"triage": StepReport(status="done", agent="triage", agent_version="2", ms=7)},
        "event": EventRef(id="1", source="/s", type="ticket.created", time=instant(NOW)),
        "opened_at": instant(NOW),
        "closed_at": instant(NOW + 1.5),
    }
    return Result(**{**fields, **more})


def message(model: Model, topic: str = RESULTS, ce_type: str = "x", offset: int = 0) -> Message:
    record = record_of(
        model,
        ce_type,
        topic=topic,
        key="k",
        ce_id="c:1",
        source="/s",
        now=NOW,
        travelling=(("ce_tenant", b"acme"),),
    )
    return Message(topic, 0, offset, 0, record.key, record.value, record.headers)


def fact(model: Model, topic: str = RESULTS, ce_type: str = "x") -> Fact | None:
    return fact_of(message(model, topic, ce_type), TOPICS)


def facts_in(records: list[Record]) -> list[CaseFact]:
    return [CaseFact.from_json(record.value or b"") for record in records]


def test_a_result_says_who_did_what_at_what_price() -> None:
    found = fact(result(usage=Usage(usd=Decimal("0.25"), calls=2), confidence=0.8))
    assert isinstance(found, CaseFact)
    assert (found.result_id, found.tenant, found.ms) == ("c:1", "acme", 1500)
    assert (found.usage.usd, found.usage.calls, found.confidence) == (Decimal("0.25"), 2, 0.8)
    [step] = found.steps
    assert (step.agent, step.version, step.status, step.ms) == ("triage", "2", "done", 7)


def test_a_degraded_step_degrades_its_case() -> None:
    found = fact(result(degraded={"triage": Degraded(link="cache")}))
    assert isinstance(found, CaseFact)
    assert found.degraded
    assert found.steps[0].degraded


def test_a_step_that_nobody_worked_on_is_no_step_of_an_agent() -> None:
    found = fact(result(steps={"wait": StepReport(status="skipped")}))
    assert isinstance(found, CaseFact)
    assert found.steps == ()


def test_absurd_values_of_a_result_are_brought_within_bounds() -> None:
    found = fact(
        result(
            opened_at=instant(NOW + 10),
            confidence=7.5,
            steps={"a": StepReport(status="done" * 200, agent="a", ms=MS_MAX * 9, confidence=-3)},
            usage=Usage(usd=Decimal("1e30")),
        )
    )
    assert isinstance(found, CaseFact)
    assert (found.ms, found.confidence, found.usage.usd) == (0, 1.0, Decimal(1_000_000))
    assert (found.steps[0].ms, found.steps[0].confidence) == (MS_MAX, 0.0)
    assert len(found.steps[0].status) == 256


def test_only_the_end_of_a_question_is_a_decision() -> None:
    asked = ApprovalRequested(
        approval_id="c:a",
        case_id="c",
        workflow="ticket",
        step="a",
        action_hash="h",
        event=EventRef(id="1", source="/s", type="t", time=instant(NOW)),
        asked_at=instant(NOW),
        expires_at=instant(NOW),
        on_expiry="escalate",
    )
    ended = ApprovalEnded(
        approval_id="c:a", case_id="c", workflow="ticket", ending="correct", ended_at=instant(NOW)
    )
    assert fact(asked, TOPICS.approvals, asked.ce_type) is None
    found = fact(ended, TOPICS.approvals, ended.ce_type)
    assert isinstance(found, DecisionFact)
    assert found.overridden
    assert found.tenant == "acme"


def test_a_decision_of_an_earlier_coordinator_is_counted_as_unread() -> None:
    ended = ApprovalEnded(approval_id="c:a", case_id="c", ending="approve", ended_at=instant(NOW))
    with pytest.raises(UnreadableError, match="no_workflow"):
        fact(ended, TOPICS.approvals, ended.ce_type)


def test_a_rating_is_a_fact_without_its_words() -> None:
    told = Feedback(
        feedback_id="f",
        case_id="c",
        workflow="ticket",
        tenant="acme",
        rating=2,
        correction="secret",
        note="secret",
        at=instant(NOW),
    )
    found = fact(told, TOPICS.feedback, told.ce_type)
    assert isinstance(found, FeedbackFact)
    assert (found.rating, found.corrected) == (2, True)
    assert b"secret" not in found.to_json()


def test_what_cannot_be_read_is_counted_and_the_rest_goes_on() -> None:
    broken = message(result(), offset=1)._replace(value=b"{")
    empty = message(result(), offset=2)._replace(value=None)
    turn = FactWriter(TOPICS, "w").plan([message(result()), broken, empty], {}, NOW)
    assert turn is not None
    assert len(turn.records) == 1
    assert turn.positions == {broken.source: 3}
    unread = {dict(labels).get("reason") for (name, labels) in turn.counts if "unread" in name}
    assert unread == {"invalid", "null_value"}


def test_a_fact_is_keyed_by_its_workflow_under_the_id_of_its_result() -> None:
    turn = FactWriter(TOPICS, "w").plan([message(result(amends="c:0"))], {}, NOW)
    assert turn is not None
    [record] = turn.records
    headers = dict(record.headers)
    assert (record.topic, record.key, headers["ce_id"]) == ("cw.facts", b"ticket", b"c:1")
    assert facts_in(turn.records)[0].amends == "c:0"


def test_facts_are_made_of_results_decisions_and_ratings() -> None:
    assert reads(TOPICS, ["b", "a"]) == (
        "cw.results.a",
        "cw.results.b",
        "cw.approvals",
        "cw.feedback",
    )


@pytest.mark.parametrize(
    "more",
    [{"v": 2}, {"confidence": 1.5}, {"ms": -1}, {"usage": {"usd": "-1"}}, {"guards": {"a": -1}}],
)
def test_a_fact_of_another_version_or_with_absurd_values_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        closed(**more)
