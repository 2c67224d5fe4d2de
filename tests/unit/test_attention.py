"""What needs a person: every rule, the rank, the bounds, and that every hint can be typed."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseworks import attention
from caseworks.attention import Inputs, Limits, look
from caseworks.attention.hints import command
from caseworks.attention.views import (
    SEVERITIES,
    ApprovalFact,
    BehindFact,
    CaseFact,
    EffectFact,
    Kind,
    LetterFact,
)
from schemas.alert import AlertRule
from schemas.base import instant
from schemas.control import Breaker, Pause
from tests.unit.attending import (
    CASE,
    NOW,
    USAGE_ERROR,
    alert,
    group,
    lag,
    one,
    parse,
    partition,
    typed,
)

HOSTILE = "\x1b[2J'; rm -rf ~; $(id) `id` --yes \u202e\n"
WHY = "--why=its cause is mended"


def question(approval_id: str = "a1", *, asked_s: float = 60, left_s: float = 60) -> ApprovalFact:
    asked, expires = NOW - asked_s, NOW + left_s
    return ApprovalFact(approval_id, CASE, "ticket", "reply", asked, expires, "escalate")


# ---- what is told


def test_where_nothing_is_wrong_nothing_is_told() -> None:
    seen = Inputs(
        decisions=(Breaker(dependency="crm"), Pause(agent="triage", paused=False)),
        lag=lag(group(partition("OK"))),
        behind=BehindFact(0, 0.1, NOW, ready=True),
        usd_today=Decimal(10_000),
        approvals=(question(left_s=3600),),
        parked=(CaseFact(CASE, "ticket", NOW - 5),),
    )

    assert look(seen, NOW).items == []


def test_an_escalated_case_is_told_with_the_command_that_shows_it() -> None:
    found = one(escalated=(CaseFact(CASE, "ticket", NOW - 60),))

    assert (found.kind, found.severity, found.case_id) == ("escalated", "warning", CASE)
    assert found.since == "2026-09-21T14:12:20Z"
    assert typed(found) == ["case", "show", CASE]


def test_a_parked_case_is_told_once_it_has_stood_for_a_while() -> None:
    found = one(parked=(CaseFact(CASE, "ticket", NOW - 61),))

    assert (found.kind, found.severity) == ("parked", "warning")
    assert typed(found) == ["dlq", "replay", "--dry-run", f"--case={CASE}", WHY]
    assert look(Inputs(parked=(CaseFact(CASE, "ticket", NOW - 59),)), NOW).items == []


def test_undoing_that_failed_cannot_wait_and_names_what_stayed() -> None:
    found = one(undo_failed=(CaseFact(CASE, "ticket", NOW - 60, "charge, ship"),))

    assert (found.kind, found.severity) == ("undo", "critical")
    assert "charge, ship could not be undone" in found.what
    assert typed(found) == ["case", "show", CASE]


@pytest.mark.parametrize(
    ("asked_s", "left_s", "severity", "says"),
    [
        (60, 899, "critical", "expires in 15 min"),
        (4 * 3600, 90_000, "warning", "has waited for 4 h"),
    ],
)
def test_a_question_is_told_when_it_expires_or_has_waited(
    asked_s: float, left_s: float, severity: str, says: str
) -> None:
    found = one(approvals=(question(asked_s=asked_s, left_s=left_s),))

    assert (found.kind, found.severity, found.approval_id) == ("approval", severity, "a1")
    assert says in found.what
    assert typed(found) == ["approvals", "list"]
    parse(["approvals", "decide", "a1", "approve"])


@pytest.mark.parametrize(("asked_s", "left_s"), [(60, 901), (3 * 3600, 901), (60, -1)])
def test_a_question_that_has_time_or_has_ended_is_not_told(asked_s: float, left_s: float) -> None:
    assert look(Inputs(approvals=(question(asked_s=asked_s, left_s=left_s),)), NOW).items == []


def test_dead_letters_are_one_line_for_each_agent_and_reason() -> None:
    topic, events = "cw.tasks.triage.dlq", "cw.events.dlq"
    letters = (
        LetterFact(topic, "triage", "poison", NOW - 5),
        *(LetterFact(topic, "triage", "poison", NOW - 50 - n) for n in range(9)),
        LetterFact(topic, "triage", "timeout", NOW - 5),
        LetterFact(events, None, "schema", NOW - 7),
    )
    many, schema, timeout = look(Inputs(letters=letters), NOW).items

    assert (many.what, many.severity) == ("10 dead letters of triage: poison", "critical")
    assert many.since == "2026-09-21T14:12:22Z"
    assert typed(many) == ["dlq", "replay", "--dry-run", "--agent=triage", "--reason=poison", WHY]
    assert (timeout.what, timeout.severity) == ("a dead letter of triage: timeout", "warning")
    assert typed(schema) == [
        "dlq",
        "replay",
        "--dry-run",
        f"--topic={events}",
        "--reason=schema",
        WHY,
    ]


@pytest.mark.parametrize(
    ("breaker", "severity", "mends"),
    [
        (Breaker(dependency="crm", state="open", at=instant(NOW)), "critical", "close"),
        (Breaker(dependency="crm", state="half_open"), "warning", "close"),
        (Breaker(dependency="crm", state="open", held=True), "critical", "release"),
        (Breaker(dependency="crm", state="closed", held=True), "info", "release"),
    ],
)
def test_a_breaker_that_is_not_closed_or_held_is_told(
    breaker: Breaker, severity: str, mends: str
) -> None:
    found = one(decisions=(breaker,))

    assert (found.kind, found.severity, found.about) == ("breaker", severity, "crm")
    assert typed(found) == ["breaker", mends, "crm"]


def test_an_agent_that_paused_itself_weighs_more_than_one_that_a_person_paused() -> None:
    by_itself = Pause(agent="triage", paused=True, agent_version="3", by="cw-fleet-triage-0")
    by_ann = Pause(agent="triage", paused=True, by="ann", reason="its prompt is new")
    itself = one(decisions=(by_itself,), worker_prefix="cw-fleet-")
    ann = one(decisions=(by_ann,), worker_prefix="cw-fleet-")

    assert (itself.kind, itself.severity, ann.severity) == ("paused", "critical", "info")
    assert "triage (version 3) was paused by itself" in itself.what
    assert ("by ann" in ann.what, ann.why) == (True, "its prompt is new")
    assert typed(itself) == typed(ann) == ["agent", "resume", "triage"]


@pytest.mark.parametrize(
    ("rule", "severity"), [("drift", "warning"), ("confidence", "warning"), ("errors", "critical")]
)
def test_an_alert_of_insight_is_told(rule: AlertRule, severity: str) -> None:
    found = one(alerts=(alert(rule),))

    assert (found.kind, found.severity, found.agent) == ("alert", severity, "triage")
    assert found.what == "agent triage@3: confidence has moved"
    assert typed(found) == ["insight", "show"]
    assert found.why.endswith("caseworks agent pause --version=3 triage")
    parse(shlex.split(found.why.partition("caseworks ")[2]))


def test_an_alert_of_a_tenant_names_no_agent() -> None:
    found = one(alerts=(alert(scope="tenant:a@b"),))

    assert (found.about, found.agent, found.why) == ("tenant:a@b", None, "")


@pytest.mark.parametrize(
    ("behind", "severity", "says", "mends"),
    [
        (BehindFact(5, 45.0, NOW, ready=True), "warning", "45 s behind, 5 records", "doctor"),
        (BehindFact(5, 1.0, NOW - 90, ready=False), "critical", "not been written", "projection"),
        (BehindFact(9, 1.0, NOW, ready=False), "info", "is being made", "doctor"),
    ],
)
def test_a_projection_that_is_late_silent_or_not_ready_is_told(
    behind: BehindFact, severity: str, says: str, mends: str
) -> None:
    found = one(behind=behind)

    assert (found.kind, found.severity, says in found.what) == ("projection", severity, True)
    assert typed(found) == [mends]


@pytest.mark.parametrize(
    ("spent", "severity"), [("7.99", None), ("8", "warning"), ("10", "critical")]
)
def test_spend_is_told_near_what_a_person_allowed(spent: str, severity: str | None) -> None:
    items = look(Inputs(usd_today=Decimal(spent), usd_per_day=Decimal(10)), NOW).items

    assert [each.severity for each in items] == ([severity] if severity else [])
    for each in items:
        assert typed(each) == ["insight", "show", "--window=day"]


def test_an_effect_of_which_nobody_knows_asks_for_what_was_found_out() -> None:
    found = one(effects=(EffectFact(f"{CASE}:refund/pay", NOW - 9, "TimeoutError"),))

    assert (found.kind, found.severity, found.case_id) == ("effect", "critical", CASE)
    assert "TimeoutError" in found.why
    assert typed(found) == ["effect", "resolve", f"{CASE}:refund/pay"]


def test_a_broker_that_does_not_answer_is_told() -> None:
    found = one(broker_error="no broker at localhost:1")

    assert (found.kind, found.severity) == ("kafka", "critical")
    assert typed(found) == ["doctor"]


# ---- rank and bounds


def test_what_cannot_wait_comes_first_and_then_the_oldest() -> None:
    seen = Inputs(
        escalated=tuple(CaseFact(f"e{n}", "ticket", NOW - n) for n in (5, 99)),
        effects=(EffectFact("c:s/k", NOW),),
        decisions=(Pause(agent="triage", paused=True, by="ann"),),
    )

    assert [each.about for each in look(seen, NOW).items] == ["c:s/k", "e99", "e5", "triage"]


def test_a_flood_of_one_kind_hides_no_other_and_is_counted() -> None:
    seen = Inputs(
        escalated=tuple(CaseFact(f"e{n:03}", "ticket", NOW - n) for n in range(500)),
        parked=(CaseFact(CASE, "ticket", NOW - 100),),
    )
    found = look(seen, NOW)

    assert found.left_out == {"escalated": 475}
    assert [each.kind for each in found.items].count("escalated") == 25
    assert CASE in {each.about for each in found.items}


def test_the_whole_list_is_bounded_and_what_is_left_out_is_what_can_wait() -> None:
    cases = tuple(CaseFact(f"c{n:03}", "ticket", NOW - 100 - n) for n in range(60))
    seen = Inputs(escalated=cases, parked=cases, undo_failed=cases)
    found = look(seen, NOW, Limits(kind_max=50))

    assert len(found.items) == Limits().items_max == 100
    assert sum(found.left_out.values()) == 80
    assert found.left_out["undo"] == 10


def test_what_could_not_be_looked_at_is_named_and_long_text_is_cut() -> None:
    found = look(Inputs(missing=("lag: " + "x" * 1_000,)), NOW)

    assert (len(found.missing), len(found.missing[0])) == (1, 200)


# ---- commands


def test_an_id_that_cannot_be_typed_is_not_put_into_a_command() -> None:
    assert command("case", "show", of=HOSTILE) == "caseworks case show --help"
    assert command("dlq", "replay", agent="triage", reason=HOSTILE) == (
        "caseworks dlq replay --agent=triage"
    )


@given(st.text(max_size=30))
def test_whatever_an_id_holds_its_command_is_one_command(text: str) -> None:
    letters = (LetterFact("cw.events.dlq", None, text, NOW),)
    seen = Inputs(escalated=(CaseFact(text, text, NOW),), letters=letters)
    for each in look(seen, NOW).items:
        words = shlex.split(each.command)
        assert each.command.isprintable()
        if each.kind == "escalated" and text and text.isprintable():
            assert words[-1] == text
            assert words[3:-1] == (["--"] if text.startswith("-") else [])
        elif each.kind == "dead letters" and text and text.isprintable():
            assert words[4:] == ["--topic=cw.events.dlq", f"--reason={text}", WHY]


def test_an_order_to_look_does_not_depend_on_the_order_of_what_was_seen() -> None:
    cases = tuple(CaseFact(f"c{n}", "ticket", NOW - 100) for n in range(5))
    seen = Inputs(parked=cases)

    assert look(seen, NOW) == look(replace(seen, parked=cases[::-1]), NOW)


def test_every_kind_and_severity_stands_in_the_readme() -> None:
    text = Path(attention.__file__).with_name("README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z ]+)` \| ([a-z; ]+) \|", text, re.MULTILINE)

    assert sorted(kind for kind, _ in rows) == sorted(get_args(Kind))
    assert {word for _, severities in rows for word in severities.split("; ")} == set(SEVERITIES)


def test_what_is_no_command_of_ours_does_not_parse() -> None:
    for words in (["dlq", "mend"], ["dlq", "replay", "--nope"], ["case", "show"], ["attend"]):
        with pytest.raises(USAGE_ERROR):
            parse(words)
