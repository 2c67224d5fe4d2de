"""The structs that the coordinator works with hold what the models of the contract say."""

from __future__ import annotations

import msgspec
import pytest
from pydantic_core import PydanticUndefined

from schemas import case as contract
from schemas import lean_case as lean
from schemas.base import instant
from schemas.outcome import Failure
from schemas.usage import Usage
from tests.unit.machine import START, Machine, event

NAMES = ("Case", "StepState", "Items", "Question", "Delegated", "Heard", "Following", "Ending")


@pytest.mark.parametrize("name", NAMES)
def test_a_struct_has_the_fields_and_defaults_of_its_model(name: str) -> None:
    model, struct = getattr(contract, name), getattr(lean, name)
    fields = {field.name: field for field in msgspec.structs.fields(struct)}

    assert list(fields) == list(model.model_fields)
    for field, info in model.model_fields.items():
        ours = fields[field]
        if info.default_factory is not None:
            assert ours.default_factory is info.default_factory
        elif info.default is PydanticUndefined:
            assert ours.required
        else:
            assert ours.default == info.default


def full() -> lean.Case:
    """A case with something in every corner."""
    machine = Machine(business=event(subject="s", tenant="t", deadline=instant(START + 60)))
    machine.says("triage", usage=Usage(calls=1))
    machine.says("billing", "retry")
    step = machine.case.steps["kb"].evolve(
        error=Failure(kind="busy", retry_after_s=1.5),
        usage=Usage(tokens_in=3),
        items=lean.Items(total=3, next=2, again=(1,), bytes=7),
        question=lean.Question(approval_id="a", action={"x": [1, 2.5, None]}, action_hash="h"),
    )
    return machine.case.evolve(
        steps={**machine.case.steps, "kb": step},
        delegated={"kb.x": lean.Delegated(parent="kb", agent="spare", after=("kb.y",))},
        undos={"kb": lean.StepState(status="sent", attempt=1)},
        ending=lean.Ending(event="fail", reason="why"),
        heard=(lean.Heard(name="ticket.replied", data={"text": "ö\u2028"}),),
        signals=("one",),
        dead_letters=("dead",),
        replays=("dlq:0:1",),
    )


def test_a_case_read_back_is_the_same() -> None:
    case = full()
    again = lean.Case.from_json(case.to_compact_json())

    assert again == case
    assert again.to_compact_json() == lean.Case.from_json(again.to_compact_json()).to_compact_json()
    assert isinstance(again.event, lean.StoredEvent)


def test_the_model_reads_what_the_struct_wrote_and_the_other_way_round() -> None:
    case = full()
    model = contract.Case.from_json(case.to_compact_json())

    assert lean.Case.from_json(model.to_compact_json()) == case
    assert lean.Case.from_json(model.to_json()) == case


def test_fields_of_a_later_writer_are_passed_over() -> None:
    text = full().to_compact_json()[:-1] + b',"later":1}'

    assert lean.Case.from_json(text) == full()


def test_what_is_no_case_is_an_error() -> None:
    for text in (b"", b"[]", b"{}", b'{"case_id":1}', b'{"a":' * 3000):
        with pytest.raises((ValueError, RecursionError)):
            lean.Case.from_json(text)


def test_only_what_belongs_to_a_case_can_be_written() -> None:
    with pytest.raises(TypeError, match="no part of a case"):
        full().evolve(reason=object()).to_compact_json()
