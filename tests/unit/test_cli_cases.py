from __future__ import annotations

import pytest

from coordinator.case import apply
from events.broker import Record
from events.partitioner import partition_of
from schemas.commands import Cancel, Signal
from schemas.lean_case import Case, Items, Question, StepState
from tests.unit.command_line import (
    COUNTS,
    NOW,
    TOPICS,
    CommandLine,
    result_record,
    state_record,
)
from tests.unit.machine import diamond, event, opened, outcome

PLAN = diamond()


def grown(*steps: str, event_id: str = "e1") -> list[Case]:
    """The states of a case, one after each of these steps is done."""
    case = apply(None, opened(PLAN, event(event_id)), NOW, PLAN)[0]
    assert case is not None
    states = [case]
    for step in steps:
        case = apply(case, outcome(case, step), NOW, PLAN)[0]
        assert case is not None
        states.append(case)
    return states


@pytest.fixture
def command() -> CommandLine:
    made = CommandLine()
    made.make_topics()
    return made


def test_an_open_case_is_shown_with_its_steps(command: CommandLine) -> None:
    *_, case = grown("triage")
    command.produce(*map(state_record, grown("triage")))
    ran = command("case", "show", case.case_id)
    assert ran.code == 0
    assert f"case {case.case_id}: open" in ran.out
    rows = {line.split("│")[1].strip(): line for line in ran.out.splitlines() if "│" in line}
    assert "done" in rows["triage"]
    assert "sent" in rows["billing"]
    assert "waiting" in rows["reply"]


def test_a_closed_case_is_shown_from_its_result(command: CommandLine) -> None:
    states = grown("triage", "billing", "kb", "reply")
    command.produce(
        *map(state_record, states), result_record(states[0].event.model(), output={"a": 1})
    )
    ran = command("case", "show", states[0].case_id, "--json")
    [told] = ran.lines
    assert told["status"] == "completed"
    assert told["results"][0]["output"] == {"a": 1}
    assert told["results"][0]["steps"]["triage"]["attempts"] == 2
    assert "closed after 1.500 s" in command("case", "show", states[0].case_id).out


def test_a_case_whose_states_were_compacted_is_found_by_its_result(command: CommandLine) -> None:
    *_, last = grown("triage", "billing", "kb", "reply")
    command.produce(state_record(last), result_record(last.event.model()))
    [told] = command("case", "show", last.case_id, "--json").lines
    assert (told["status"], told["state"], len(told["results"])) == ("completed", None, 1)


def test_an_unknown_case_is_one_line(command: CommandLine) -> None:
    ran = command("case", "show", "nobody")
    assert ran.code == 3
    assert ran.err.startswith("error: no case nobody is known here")


def test_open_cases_are_listed_the_oldest_first(command: CommandLine) -> None:
    old, young, done = (grown(event_id=name)[0] for name in ("old", "young", "done"))
    closed = grown("triage", "billing", "kb", "reply", event_id="done")[-1]
    young = young.evolve(opened=NOW + 5)
    command.produce(*map(state_record, (young, done, old, closed)))
    told = command("case", "list", "--json").lines
    assert [each["event"]["id"] for each in told] == ["old", "young"]
    assert told[0]["waiting_for"] == ["triage"]
    assert "2 open, the oldest 1 shown" in command("case", "list", "--limit", "1").out


def test_what_stands_beside_the_cases_is_no_case(command: CommandLine) -> None:
    (case,) = grown()
    beside = [
        Record(TOPICS.cases, key, b'{"event": 1, "closed": 2}', (), 0)
        for key in (b"@6d1f", b"\0plan/ticket/1", f"{case.case_id}/check:1".encode())
    ]
    command.produce(state_record(case), *beside)
    assert [each["case_id"] for each in command("case", "list", "--json").lines] == [case.case_id]
    assert command("case", "show", case.case_id).code == 0


def test_cancel_writes_a_command_for_the_case(command: CommandLine) -> None:
    (case,) = grown()
    command.produce(state_record(case))
    ran = command("case", "cancel", case.case_id, "--reason", "customer left")
    (message,) = command.records(TOPICS.inbox)

    assert ran.code == 0
    assert message.partition == partition_of(case.case_id.encode(), COUNTS.inbox)
    assert message.key == case.case_id.encode()
    cancel = Cancel.from_json(message.value)
    assert (cancel.case_id, cancel.reason) == (case.case_id, "customer left")


def test_each_signal_has_an_id_of_its_own(command: CommandLine) -> None:
    (case,) = grown()
    command.produce(state_record(case))
    command("case", "signal", case.case_id, "ticket.replied", '{"body": "thanks"}')
    command("case", "signal", case.case_id, "ticket.replied")
    one, two = (Signal.from_json(message.value) for message in command.records(TOPICS.inbox))

    assert (one.name, one.data) == ("ticket.replied", {"body": "thanks"})
    assert two.data is None
    assert one.signal_id != two.signal_id


@pytest.mark.parametrize("args", [("cancel",), ("signal",)])
def test_a_case_that_ended_or_never_was_is_told_nothing(
    command: CommandLine, args: tuple[str, ...]
) -> None:
    states = grown("triage", "billing", "kb", "reply")
    command.produce(*map(state_record, states), result_record(states[0].event.model()))
    more = ("ticket.replied",) if args == ("signal",) else ()
    ran = command("case", *args, states[0].case_id, *more)

    assert (ran.code, ran.err) == (1, f"error: case {states[0].case_id} has ended: completed\n")
    assert "no case nobody is known" in command("case", *args, "nobody", *more).err
    assert command.records(TOPICS.inbox) == []


def test_a_case_that_waits_says_for_what(command: CommandLine) -> None:
    (case,) = grown()
    question = Question(approval_id=f"{case.case_id}:kb", action_hash="x")
    steps = {
        "triage": StepState(status="mapping", items=Items(total=40, done=12, failed=1)),
        "billing": StepState(status="listening", deadline=NOW + 60),
        "kb": StepState(status="asking", question=question),
        "reply": StepState(),
    }
    waiting = case.evolve(status="waiting", reason="billing waits for a reply", steps=steps)
    command.produce(state_record(waiting.evolve(undos={"reply": StepState(status="sent")})))
    [told] = command("case", "list", "--json").lines

    assert told["waiting_for"] == [
        "triage (mapping, 12 of 40 done, 1 failed)",
        "billing (listening)",
        "kb (asks a person)",
        "reply~undo",
    ]
    out = command("case", "show", case.case_id).out
    assert "billing waits for a reply" in out
    assert f"caseworks approvals decide {case.case_id}:kb" in out


def test_without_topics_it_says_what_to_do() -> None:
    ran = CommandLine()("case", "list")
    assert ran.code == 3
    assert "there is no topic cw.cases  hint: caseworks topics create" in ran.err
