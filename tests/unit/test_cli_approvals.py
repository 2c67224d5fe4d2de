from __future__ import annotations

from typing import Any

import pytest

from caseworks.approvals import follow, from_now
from events.broker import Record
from events.envelope import record_of
from events.memory import MemoryBroker
from events.memory.producers import MemoryProducer
from events.settings import Settings
from schemas.approval import ApprovalEnded, ApprovalEnding, ApprovalRequested, action_hash_of
from schemas.base import instant
from schemas.commands import Decision
from tests.unit.command_line import NOW, TOPICS, CommandLine
from tests.unit.machine import event

CASE_ID = event().case_id
APPROVAL = f"{CASE_ID}:refund"
ACTION = {"refund_usd": 40}


def asked(approval_id: str = APPROVAL, **fields: Any) -> Record:
    request = ApprovalRequested(
        **{
            "approval_id": approval_id,
            "case_id": approval_id.partition(":")[0],
            "workflow": "ticket",
            "step": "refund",
            "action": ACTION,
            "action_hash": action_hash_of(ACTION),
            "confidence": 0.4,
            "why": "refund: confidence 0.40 is below 0.80",
            "event": event().ref(),
            "asked_at": instant(NOW - 60),
            "expires_at": instant(NOW + 60),
            "on_expiry": "escalate",
            **fields,
        }
    )
    return written(request, request.case_id)


def ended(ending: ApprovalEnding = "approve", by: str = "ann") -> Record:
    said = ApprovalEnded(
        approval_id=APPROVAL, case_id=CASE_ID, ending=ending, by=by, ended_at=instant(NOW)
    )
    return written(said, CASE_ID)


def written(message: ApprovalRequested | ApprovalEnded, case_id: str) -> Record:
    return record_of(
        message,
        message.ce_type,
        topic=TOPICS.approvals,
        key=case_id,
        ce_id="x",
        source="caseworks/cw",
        now=NOW,
    )


@pytest.fixture
def command() -> CommandLine:
    made = CommandLine()
    made.make_topics()
    return made


def decisions(command: CommandLine) -> list[Decision]:
    return [Decision.from_json(message.value) for message in command.records(TOPICS.inbox)]


def decide(command: CommandLine, *args: str) -> Any:
    return command("approvals", "decide", APPROVAL, *args, "--timeout-s", "0")


def test_open_questions_are_listed_the_oldest_first(command: CommandLine) -> None:
    other = event("other").case_id
    command.produce(
        asked(),
        asked(f"{other}:refund", asked_at=instant(NOW - 600)),
        asked(f"{event('gone').case_id}:refund", expires_at=instant(NOW - 1)),
    )
    told = command("approvals", "list", "--json").lines

    assert [each["case_id"] for each in told] == [other, CASE_ID]
    assert told[1]["action"] == ACTION
    ran = command("approvals", "list")
    assert APPROVAL in ran.out
    assert '{"refund_usd": 40}' in ran.out
    assert "2 open" in ran.out


def test_an_answered_question_is_not_listed_until_it_is_asked_again(command: CommandLine) -> None:
    command.produce(asked(), ended())
    assert command("approvals", "list", "--json").lines == []

    command.produce(asked())
    assert len(command("approvals", "list", "--json").lines) == 1


def test_a_decision_is_bound_to_the_action_that_was_shown(command: CommandLine) -> None:
    command.produce(asked())
    ran = decide(command, "approve", "--by", "ann")

    assert ran.code == 0
    assert '"refund_usd": 40' in ran.out
    assert action_hash_of(ACTION) in ran.out
    (sent,) = command.records(TOPICS.inbox)
    assert sent.key == CASE_ID.encode()
    (decision,) = decisions(command)
    assert decision == Decision(
        case_id=CASE_ID,
        approval_id=APPROVAL,
        verdict="approve",
        action_hash=action_hash_of(ACTION),
        by="ann",
    )
    assert "no effect seen yet" in ran.err


def test_a_correction_says_what_to_do_instead(command: CommandLine) -> None:
    command.produce(asked())
    assert decide(command, "correct", "--with", '{"refund_usd": 10}').code == 0
    assert decisions(command)[0].correction == {"refund_usd": 10}


@pytest.mark.parametrize(
    "args",
    [("correct",), ("approve", "--with", "{}"), ("correct", "--with", "{nope"), ("perhaps",)],
)
def test_an_answer_that_makes_no_sense_is_not_sent(
    command: CommandLine, args: tuple[str, ...]
) -> None:
    command.produce(asked())
    ran = decide(command, *args)

    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert decisions(command) == []


def test_a_question_that_nobody_asked_is_one_line(command: CommandLine) -> None:
    ran = decide(command, "approve")
    assert ran.code == 3
    assert ran.err == f"error: nobody asked {APPROVAL}  hint: caseworks approvals list\n"


def test_a_question_that_has_ended_tells_how(command: CommandLine) -> None:
    command.produce(asked(), ended("reject", by="bob"))
    ran = decide(command, "approve")

    assert ran.code == 1
    assert f"{APPROVAL} was rejected by bob at" in ran.err
    assert decisions(command) == []


def test_a_question_that_expired_tells_when(command: CommandLine) -> None:
    command.produce(asked(expires_at=instant(NOW - 1)))
    ran = decide(command, "approve")

    assert ran.code == 1
    assert "expired at 1970-01-12 13:46:39Z: its case goes on by `escalate`" in ran.err
    assert decisions(command) == []


class Answering(MemoryBroker):
    """A broker with a coordinator behind it that answers at once: with these records."""

    def __init__(self, *answers: Record) -> None:
        super().__init__()
        self.answers = answers

    def producer(self, *, ordered: bool = True) -> MemoryProducer:
        for record in self.answers:
            made = super().producer()
            made.produce(record)
            made.flush(1)
        return super().producer(ordered=ordered)


def answered(*answers: Record) -> CommandLine:
    broker = Answering()
    command = CommandLine(broker)
    command.make_topics()
    command.produce(asked())
    broker.answers = answers
    return command


def test_a_decision_tells_its_effect() -> None:
    ran = decide(answered(ended("approve", by="ann")), "approve", "--by", "ann")

    assert ran.code == 0
    assert "approved by ann at 1970-01-12 13:46:40Z" in ran.out


def test_a_decision_that_came_second_tells_whose_came_first() -> None:
    ran = decide(answered(ended("reject", by="bob")), "approve", "--by", "ann")

    assert ran.code == 1
    assert "rejected by bob" in ran.out
    assert "another end came first" in ran.err


def test_questions_and_answers_are_followed_without_a_gap(command: CommandLine) -> None:
    settings = Settings()
    starts = from_now(command.broker, settings)
    command.produce(asked(), ended())
    told = follow(command.broker, settings, starts)

    assert [type(next(told)), type(next(told))] == [ApprovalRequested, ApprovalEnded]


def test_records_that_are_no_questions_are_passed_over(command: CommandLine) -> None:
    junk = Record(TOPICS.approvals, b"k", b"{", (("ce_type", b"caseworks.approval.requested"),))
    command.produce(junk, Record(TOPICS.approvals, None, None), asked())

    assert len(command("approvals", "list", "--json").lines) == 1
