"""What the hot paths read is what the models say."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from schemas.event import Event
from schemas.lean import LeanBudget, LeanEvent, LeanReplyTo, LeanTask, read_task
from schemas.task import ReplyTo, Task
from schemas.usage import Budget
from tests.unit.workbench import a_task

PAIRS = [(LeanTask, Task), (LeanEvent, Event), (LeanBudget, Budget), (LeanReplyTo, ReplyTo)]


@pytest.mark.parametrize(("lean", "model"), PAIRS)
def test_a_lean_message_has_the_fields_and_defaults_of_its_model(
    lean: type[msgspec.Struct], model: type[BaseModel]
) -> None:
    fields = {each.name: each for each in msgspec.structs.fields(lean)}

    assert set(fields) == set(model.model_fields)
    for name, field in model.model_fields.items():
        assert fields[name].required == field.is_required(), name
        if field.default is not PydanticUndefined and not isinstance(field.default, BaseModel):
            assert fields[name].default == field.default, name


def as_json(task: LeanTask) -> Any:
    return Task.from_json(msgspec.json.encode(task))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": {"a": [1, None, 1.5, "ü"]}, "results": {"triage": {"text": "x"}, "kb": None}},
        {"budget": Budget(tokens=5, usd="0.10", calls=0), "trust": "trusted", "attempt": 3},  # type: ignore[arg-type]
        {"event": {"tenant": "acme", "priority": "urgent", "dataclass": "pii"}},
        {"data": {"big": 2**70, "small": -0.0, "\U0001f600": "\u2028\x00"}},
    ],
)
def test_a_task_is_read_as_its_model_reads_it(fields: dict[str, Any]) -> None:
    task = a_task(**fields)
    assert as_json(read_task(task.to_json())) == task


def changed(**fields: str) -> bytes:
    """A task's JSON with these fields as given, and `data` for the event's data."""
    task = json.loads(a_task().to_json())
    data = fields.pop("data", "{}")
    task["event"]["data"] = "@data@"
    task |= {name: f"@{name}@" for name in fields}
    text: str = json.dumps(task).replace('"@data@"', data)
    for name, value in fields.items():
        text = text.replace(f'"@{name}@"', value)
    return text.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "fields",
    [
        {"attempt": '"2"'},
        {"attempt": "1.0"},
        {"timeout_s": '"3"'},
        {"deadline": "1800000000"},
        {"deadline": '"2027-01-01 00:00:00Z"'},
        {"budget": '{"usd": 1.5}'},
        {"extra": "1"},
    ],
)
def test_odd_but_valid_spellings_are_understood(fields: dict[str, str]) -> None:
    value = changed(**fields)
    assert as_json(read_task(value)) == Task.from_json(value)


@pytest.mark.parametrize(
    "fields",
    [
        {"data": '"\\ud800"'},
        {"data": '{"\\ud800": 1}'},
        {"data": '"\udcff"'},
        {"data": '"\x01"'},
        {"data": "01"},
        {"data": "[" * 100_000 + "]" * 100_000},
        {"data": "9" * 6000},
        {"extra": "[" * 100_000 + "]" * 100_000},
        {"attempt": "0"},
        {"attempt": "1e400"},
        {"timeout_s": "NaN"},
        {"timeout_s": "0"},
        {"deadline": '"2027-01-01T00:00:00"'},
        {"budget": "null"},
        {"budget": '{"usd": "NaN"}'},
        {"results": "[]"},
        {"trust": '"maybe"'},
        {"agent": "5"},
        {"reply_to": '{"topic": "x", "partition": -1}'},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_what_the_model_refuses_is_refused_in_its_words(fields: dict[str, str]) -> None:
    value = changed(**fields)
    with pytest.raises(ValidationError) as by_model:
        Task.from_json(value)
    with pytest.raises(ValidationError) as refused:
        read_task(value)
    assert str(refused.value) == str(by_model.value)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
def test_what_is_no_number_in_json_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        read_task(changed(data=number))


def test_every_lean_message_is_compared_here() -> None:
    import schemas.lean

    lean = {
        each
        for each in vars(schemas.lean).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and get_args(each) == ()
    }
    assert lean - {msgspec.Struct, schemas.lean.Lean} == {lean for lean, _ in PAIRS}
