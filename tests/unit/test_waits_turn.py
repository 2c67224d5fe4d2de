"""Waits and approvals in the orchestrator's transactions: what is written, and what must fit."""

from __future__ import annotations

from typing import Any

from caseworks.approvals import fold
from coordinator.workflow import Plan, compile_workflow
from coordinator.world import OrchestratorLimits
from events.broker import Message
from events.partitioner import partition_of
from schemas.approval import ApprovalEnded, ApprovalRequested, action_hash_of
from schemas.base import instant
from schemas.commands import Cancel, Correlated, Decision, Listen, Signal, correlation_id_of
from schemas.event import Event
from schemas.lean_case import Case
from schemas.workflow import ApprovalSpec, StepSpec, WaitSpec, WorkflowSpec
from tests.unit.machine import AGENTS, START, event, opened
from tests.unit.test_correlation import TYPE
from tests.unit.test_orchestrator import PARTITIONS, Desk


def plan_of(**fields: Any) -> Plan:
    """Waits for a reply, then asks a person about it."""
    ask = ApprovalSpec(of="answer", timeout_s=600)
    steps = (
        StepSpec(name="answer", wait=WaitSpec(event=TYPE, timeout_s=300)),
        StepSpec(name="approve", after=("answer",), approval=ask),
    )
    given = {"name": "ticket", "on": ("ticket.created",), "steps": steps, "deadline_s": 600}
    return compile_workflow(WorkflowSpec(**{**given, **fields}), AGENTS)


class Talk(Desk):
    """A desk whose commands to other correlations and cases reach the inbox at once."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.plan = plan_of()
        self.it = self.restarted()

    def deliver(self) -> None:
        """Feed what earlier turns wrote to the inbox, until nothing new comes."""
        done = 0
        while (inbox := self.to("cw.inbox")[done:]) != []:
            done += len(inbox)
            for record in inbox:
                assert record.partition is not None
                offset = self.inbox[record.partition]
                self.inbox[record.partition] += 1
                where = ("cw.inbox", record.partition, offset)
                self.turn(Message(*where, 0, record.key, record.value, record.headers))
        self.records = [record for record in self.records if record.topic != "cw.inbox"]

    def opens(self, business: Event | None = None) -> str:
        command = opened(self.plan, business or event(subject="T-1"))
        self.tell(command)
        self.deliver()
        return command.case_id

    def happens(self, name: str = "r1", data: Any = "thanks") -> None:
        reply = Event(
            id=name, source="/mail", type=TYPE, subject="T-1", time=instant(self.now), data=data
        )
        self.tell(Correlated(case_id=correlation_id_of(TYPE, "T-1"), event=reply))
        self.deliver()

    def there(self, case_id: str) -> Case:
        found = self.case(case_id)
        assert found is not None
        return found

    def approvals(self) -> list[Message]:
        return [
            Message(r.topic, 0, at, 0, r.key, r.value, r.headers)
            for at, r in enumerate(self.to("cw.approvals"))
        ]


def decision(request: ApprovalRequested, **fields: Any) -> Decision:
    given: dict[str, Any] = {
        "case_id": request.case_id,
        "approval_id": request.approval_id,
        "verdict": "approve",
        "action_hash": request.action_hash,
        "by": "ann",
    }
    return Decision(**(given | fields))


def asked(desk: Talk) -> ApprovalRequested:
    (found,) = fold(desk.approvals()).values()
    return found.request


def test_a_conversation_from_event_to_decision() -> None:
    desk = Talk()
    case_id = desk.opens()
    assert desk.there(case_id).status == "waiting"
    desk.happens()
    request = asked(desk)
    assert (request.action, request.action_hash) == ("thanks", action_hash_of("thanks"))
    assert (request.case_id, request.step, request.workflow) == (case_id, "approve", "ticket")
    assert request.event.id == "e1"
    assert request.expires_at == instant(START + 600)
    assert request.on_expiry == "escalate"
    desk.tell(decision(request))
    desk.deliver()

    assert desk.case(case_id) is None
    assert b'"output":"thanks"' in (desk.to("cw.results.ticket")[0].value or b"")
    ended = fold(desk.approvals())[request.approval_id].ended
    assert ended == ApprovalEnded(
        approval_id=request.approval_id,
        case_id=case_id,
        workflow="ticket",
        step="approve",
        ending="approve",
        by="ann",
        ended_at=instant(START),
    )


def test_an_event_that_came_before_its_case_is_not_lost() -> None:
    desk = Talk()
    desk.happens()
    case_id = desk.opens()

    assert desk.there(case_id).steps["answer"].output == "thanks"


def test_a_case_that_ended_does_not_listen_any_more() -> None:
    desk = Talk()
    case_id = desk.opens()
    desk.tell(Cancel(case_id=case_id))
    desk.deliver()
    desk.happens()
    desk.now = START + 2 * 86_400
    desk.turn()

    (letter,) = desk.to("cw.events.dlq")
    assert dict(letter.headers)["cw_dlq_reason"] == b"no_waiter"


def test_a_case_listens_in_the_home_of_its_correlation_and_only_with_a_subject() -> None:
    desk = Talk()
    turn = desk.tell(opened(desk.plan, event(subject="T-1")))
    assert turn is not None
    (record,) = [r for r in turn.records if r.topic == "cw.inbox"]
    listen = Listen.from_json(record.value or b"")
    assert listen.case_id == correlation_id_of(TYPE, "T-1")
    assert record.partition == partition_of(listen.case_id.encode(), PARTITIONS)
    assert (listen.since, listen.until) == (instant(START), instant(START + 600))

    silent = desk.tell(opened(desk.plan, event("e2", subject=None)))
    assert silent is not None
    assert [r for r in silent.records if r.topic == "cw.inbox"] == []


def test_an_event_of_a_wrong_clock_listens_from_its_opening_at_the_latest() -> None:
    desk = Talk()
    case_id = desk.opens(event(subject="T-1").evolve(time=instant(START + 1e9)))
    desk.happens()

    assert desk.there(case_id).steps["answer"].output == "thanks"


def test_questions_survive_a_restart_and_are_withdrawn_with_their_case() -> None:
    desk = Talk()
    case_id = desk.opens()
    desk.happens()
    desk.it = desk.restarted()
    desk.now = START + 601
    desk.turn()

    found = fold(desk.approvals())[asked(desk).approval_id]
    assert found.ended is not None
    assert found.ended.ending == "withdrawn"
    assert desk.case(case_id) is None


def test_all_that_is_asked_of_the_world_is_counted() -> None:
    desk = Talk()
    desk.opens()
    desk.happens()
    request = asked(desk)
    turn = desk.tell(decision(request, action_hash="0" * 64), decision(request))

    assert turn is not None
    ending = (("workflow", "ticket"), ("ending", "approve"))
    assert turn.counts["caseworks_approvals_ended_total", ending] == 1
    assert turn.counts["caseworks_outcomes_ignored_total", (("why", "wrong_hash"),)] == 1


def test_commands_for_a_case_that_never_was_are_counted() -> None:
    desk = Talk()
    nobody = "a" * 36
    turn = desk.tell(
        Signal(case_id=nobody, name=TYPE),
        Decision(
            case_id=nobody, approval_id=f"{nobody}:x", verdict="approve", action_hash="", by="ann"
        ),
        Cancel(case_id=nobody),
    )

    assert turn is not None
    assert turn.counts["caseworks_outcomes_ignored_total", (("why", "unknown_case"),)] == 3


def test_a_signal_that_its_case_cannot_hold_is_set_aside() -> None:
    desk = Talk(case_bytes_max=5000)
    case_id = desk.opens()
    before = desk.there(case_id)
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    turn = desk.tell(
        Signal(case_id=case_id, name=TYPE, data="x" * 6000),
        Signal(case_id=case_id, name=TYPE, data=deep),
    )

    assert turn is not None
    reasons = [dict(r.headers)["cw_dlq_reason"] for r in turn.records if r.topic == "cw.inbox.dlq"]
    assert reasons == [b"case_too_large", b"not_json"]
    assert desk.there(case_id) == before


def test_signals_of_one_turn_do_not_add_up_to_too_much() -> None:
    desk = Talk(case_bytes_max=5000)
    case_id = desk.opens()
    said = [Signal(case_id=case_id, name=TYPE, data="x" * 2000) for _ in range(4)]
    turn = desk.tell(*said)

    assert turn is not None
    assert [r.topic for r in turn.records].count("cw.inbox.dlq") == 2


def test_signals_that_change_nothing_weigh_nothing() -> None:
    desk = Talk(case_bytes_max=5000)
    case_id = desk.opens()
    desk.tell(Signal(case_id=case_id, name=TYPE, data="thanks", signal_id="s"))
    again = [Signal(case_id=case_id, name=TYPE, data="x" * 500, signal_id="s")] * 50
    turn = desk.tell(*again)

    assert turn is not None
    assert turn.counts["caseworks_outcomes_ignored_total", (("why", "signalled_already"),)] == 50


def test_words_that_are_too_many_are_set_aside() -> None:
    desk = Talk()
    case_id = desk.opens()
    desk.happens()
    before = desk.there(case_id)
    turn = desk.tell(
        Cancel(case_id=case_id, reason="x" * 20_000),
        decision(asked(desk), verdict="reject", by="x" * 20_000),
    )

    assert turn is not None
    reasons = [dict(r.headers)["cw_dlq_reason"] for r in turn.records if r.topic == "cw.inbox.dlq"]
    assert reasons == [b"too_large"] * 2
    assert desk.there(case_id) == before


def test_a_case_that_is_full_can_still_be_decided_and_cancelled() -> None:
    desk = Talk()
    case_id = desk.opens()
    desk.happens()
    desk.limits = OrchestratorLimits(case_bytes_max=1)
    desk.it = desk.restarted()
    turn = desk.tell(decision(asked(desk)))

    assert turn is not None
    assert desk.case(case_id) is None
    assert desk.to("cw.inbox.dlq") == []


def test_a_correction_that_its_case_cannot_hold_is_set_aside() -> None:
    desk = Talk(case_bytes_max=5000)
    desk.opens()
    desk.happens()
    turn = desk.tell(decision(asked(desk), verdict="correct", correction="x" * 6000))

    assert turn is not None
    assert [r.topic for r in turn.records].count("cw.inbox.dlq") == 1
    assert fold(desk.approvals())[asked(desk).approval_id].ended is None
