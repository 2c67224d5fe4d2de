"""What all messages share."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from coordinator.records import Writer
from events.topics import Topics
from schemas.event import case_id_of
from schemas.result import Result
from schemas.stored_event import StoredEvent
from schemas.task import Task, task_id_of
from schemas.usage import NOTHING, Usage
from tests.unit.machine import START, Machine, event, work_of


def test_a_trusted_task_is_what_validation_would_have_made() -> None:
    machine = Machine()
    made = Writer(Topics("cw")).build_task(
        machine.case, machine.plan, work_of(machine, "triage"), 3
    )

    assert Task.from_json(made.to_json()) == made


def test_a_trusted_result_is_what_validation_would_have_made() -> None:
    machine = Machine()
    machine.at(START + 3600)
    result: Result = machine.effects[-1].result

    assert Result.from_json(result.to_json()) == result


def test_an_evolved_message_differs_in_what_was_named() -> None:
    business = event(subject="s")

    assert business.evolve(subject="t") == business.model_copy(update={"subject": "t"})
    assert business.subject == "s"


def test_messages_are_frozen_and_ignore_what_they_do_not_know() -> None:
    usage = Usage.from_json(b'{"calls": 1, "new": true}')

    assert usage == Usage(calls=1)
    with pytest.raises(ValidationError):
        usage.calls = 2


def test_usage_adds_up() -> None:
    one = Usage.from_json(b'{"tokens_in": 3, "usd": "0.1", "calls": 1}')

    assert (one + NOTHING, NOTHING + one) == (one, one)
    assert str((one + one).usd) == "0.2"


def test_names_on_the_wire_are_stable() -> None:
    case_id = case_id_of("/test", "e1")

    assert case_id == case_id_of("/test", "e1") != case_id_of("/test", "e2")
    assert task_id_of(case_id, "kb", 2) == f"{case_id}:kb#2"


def test_a_task_written_around_shared_parts_is_the_one_that_was_built() -> None:
    machine = Machine()
    machine.says("triage", output={"text": 'ü"\u2028', "parts": [1, None, 1.5, {}]})
    machine.says("billing")
    machine.says("kb", "failed")
    machine.says("kb")
    writer = Writer(Topics("cw"))
    for business in (event(), event(subject="ü", tenant="acme", priority="urgent")):
        case = machine.case.evolve(event=StoredEvent.of(business))
        for given in (None, {"a": ["%b", 0]}, "x"):
            for step in ("triage", "billing", "kb", "reply"):
                work = work_of(machine, step)._replace(input=given)
                built = writer.build_task(case, machine.plan, work, 3)
                record = writer.task(case, machine.plan, work, 3, START)

                assert Task.from_json(record.value or b"") == built
                assert dict(record.headers)["ce_id"] == f"{built.task_id}:{built.attempt}".encode()
                lane = ".urgent" if business.priority == "urgent" else ""
                assert record.topic == f"cw.tasks.{built.agent}{lane}"


def test_kept_json_is_not_that_of_another_value() -> None:
    business = event(subject="s")
    assert business.kept_json() == business.to_json() == business.kept_json()

    other = business.evolve(subject="t")

    assert other.kept_json() == other.to_json()
    assert business == event(subject="s")
