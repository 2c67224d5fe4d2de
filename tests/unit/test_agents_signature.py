"""Signatures are the DAG: what a function reads and returns, and how a wrong one is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from agents.agent import Agent
from agents.context import Context
from agents.outcomes import Escalate
from agents.signature import StepInput, holds_data
from events.errors import DeclarationError
from schemas.usage import Budget
from tests.unit.workbench import Answer, Ticket

if TYPE_CHECKING:
    from decimal import Decimal as Hidden


async def look_up(ticket: Ticket, triage: Answer, account: Answer | None, ctx: Context) -> Answer:
    return triage


def test_names_types_and_optional_steps_are_read_from_the_signature() -> None:
    agent = Agent.from_function(look_up)

    assert agent.name == "look-up"
    assert agent.step_name == "look_up"
    assert agent.data_type is Ticket
    assert agent.inputs == (
        StepInput("triage", Answer, optional=False),
        StepInput("account", Answer, optional=True),
    )
    assert agent.output_type is Answer
    assert agent.context_at == 3
    assert agent.is_async


def test_a_plain_function_and_dict_data_will_do() -> None:
    def count(data: dict[str, Any]) -> int:
        return len(data)

    agent = Agent.from_function(count)

    assert not agent.is_async
    assert agent.spec.output_schema == {"type": "integer"}


def test_a_dataclass_may_be_the_event_s_data() -> None:
    @dataclass
    class Order:
        item: str

    def place(order: Order) -> str:
        return order.item

    assert Agent.from_function(place).data_type is Order


def test_classes_of_the_enclosing_function_are_found() -> None:
    class Local(BaseModel):
        x: int

    async def local(data: Local) -> Local:
        return data

    agent = Agent.from_function(local)

    assert agent.data_type is Local
    assert agent.output_type is Local


def test_an_explicit_outcome_in_the_return_annotation_is_no_output() -> None:
    async def careful(ticket: Ticket) -> Answer | Escalate:
        return Escalate("no")

    assert Agent.from_function(careful).output_type is Answer


def test_limits_go_into_the_spec() -> None:
    agent = Agent.from_function(
        look_up, version="7", timeout_s=3, tries_max=1, calls=("crm",), budget=Budget(calls=2)
    )

    assert agent.spec.version == "7"
    assert agent.spec.timeout_s == 3.0
    assert agent.spec.calls == ("crm",)
    assert agent.spec.budget.calls == 2


def test_the_version_changes_with_the_source() -> None:
    def make(body: str) -> Callable[..., Any]:
        names: dict[str, Any] = {}
        exec(f"def f(data: dict) -> int:\n    return {body}", names)  # noqa: S102 - no source file
        function: Callable[..., Any] = names["f"]
        return function

    one, same, other = (Agent.from_function(make(body)).spec.version for body in "112")

    assert one == same != other
    assert len(one) == 8


def test_an_undo_may_return_nothing_and_an_item_may_be_plain() -> None:
    def undo(sku: str) -> None:
        raise NotImplementedError

    agent = Agent.from_function(undo)

    assert agent.data_type is str
    assert agent.spec.output_schema == {"type": "null"}


@pytest.mark.parametrize(
    ("kind", "fits"),
    [
        (Ticket, True),
        (dict[str, Any], True),
        (Any, True),
        (Ticket | Answer, True),
        (Ticket | None, True),
        (str, False),
        (list[Ticket], False),
        (int | None, False),
    ],
)
def test_the_data_of_an_event_is_an_object(kind: Any, fits: bool) -> None:
    assert holds_data(kind) is fits


class Opaque:
    pass


def no_parameters() -> Answer:
    raise NotImplementedError


async def no_annotation(ticket) -> Answer:  # type: ignore[no-untyped-def]
    raise NotImplementedError


async def no_return(ticket: Ticket):  # type: ignore[no-untyped-def]
    raise NotImplementedError


async def only_escalates(ticket: Ticket) -> Escalate:
    raise NotImplementedError


async def any_number(ticket: Ticket, *steps: Answer) -> Answer:
    raise NotImplementedError


async def keyword_only(ticket: Ticket, *, triage: Answer) -> Answer:
    raise NotImplementedError


async def with_default(ticket: Ticket, triage: Answer | None = None) -> Answer:
    raise NotImplementedError


async def context_first(ctx: Context, ticket: Ticket) -> Answer:
    raise NotImplementedError


async def two_contexts(ticket: Ticket, a: Context, b: Context) -> Answer:
    raise NotImplementedError


async def none_data(ticket: None) -> Answer:
    raise NotImplementedError


async def none_step(ticket: Ticket, triage: None) -> Answer:
    raise NotImplementedError


async def hidden_type(ticket: Ticket, price: Hidden) -> Answer:
    raise NotImplementedError


async def no_json(ticket: Ticket) -> Callable[[], int]:
    raise NotImplementedError


async def no_schema(ticket: Ticket, lock: Opaque) -> Answer:
    raise NotImplementedError


async def yields(ticket: Ticket) -> AsyncIterator[int]:
    yield 1


async def Capital(ticket: Ticket) -> Answer:  # noqa: N802 - the mistake under test
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_parameters, "it has no parameters: the first one is the event's data"),
        (no_annotation, "parameter 'ticket' has no annotation: write `ticket: <its type>`"),
        (no_return, "it has no return annotation: write `-> <the output's type>`"),
        (only_escalates, "it returns Escalate, which is no output"),
        (any_number, "parameter 'steps' takes any number of values: name each step you read"),
        (keyword_only, "parameter 'triage' is keyword-only: remove the `*` before it"),
        (with_default, "parameter 'triage' has a default value: remove it"),
        (context_first, "parameter 'ctx' comes first and is a Context: put the event's data"),
        (two_contexts, "two parameters are a Context: keep one of them"),
        (none_data, "parameter 'ticket', the first, is None: write the type of the event's data"),
        (none_step, "parameter 'triage' is None: write the type that the step returns"),
        (hidden_type, "the annotation 'Hidden' cannot be found: define or import Hidden above it"),
        (no_json, "its output has no JSON Schema"),
        (no_schema, "parameter 'lock' is Opaque, which pydantic cannot validate"),
        (yields, "it yields: return one value"),
        (Capital, "'Capital' is no name for an agent: rename the function"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_function_is_refused_with_its_place_and_what_to_change(
    function: Callable[..., Any], says: str
) -> None:
    with pytest.raises(DeclarationError) as refused:
        Agent.from_function(function)

    assert says in str(refused.value)
    assert f"{function.__name__} (" in str(refused.value)
    assert f"test_agents_signature.py:{function.__code__.co_firstlineno})" in str(refused.value)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(DeclarationError, match="it is no function but ModelMetaclass"):
        Agent.from_function(Ticket)


def test_a_wrong_limit_is_refused_with_what_is_wrong() -> None:
    with pytest.raises(DeclarationError, match=r"timeout_s is -1: .*greater than 0"):
        Agent.from_function(look_up, timeout_s=-1)
    with pytest.raises(DeclarationError, match=r"unknown limit timeout: use timeout_s, tries_max"):
        Agent.from_function(look_up, timeout=1)  # type: ignore[call-arg]
