"""An agent that lets others work first: what leaves is checked for its shape."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agents.delegation import STEPS_MAX, Delegate, DelegateStep
from agents.signature import read_signature
from schemas.outcome import Delegate as AskedStep
from tests.unit.workbench import Answer, Ticket, Workbench

ASK = DelegateStep("lookup", agent="kb")


async def find_order(ticket: Ticket) -> Answer:
    return Answer(text=ticket.ticket_id)


def asks(delegate: Delegate) -> Workbench:
    async def answer(ticket: Ticket) -> Answer | Delegate:
        return delegate

    return Workbench(answer)


def test_an_agent_may_ask_for_steps_instead_of_answering() -> None:
    outcome = asks(
        Delegate(
            DelegateStep("lookup", agent=find_order, input=Ticket(ticket_id="A-1")),
            DelegateStep("write", agent="writer", after=["lookup"]),
            DelegateStep("check", agent="writer", input=[1, None], after="write"),
        )
    ).run_task()

    assert outcome.status == "delegate"
    assert outcome.delegates == (
        AskedStep(name="lookup", agent="find-order", input={"ticket_id": "A-1", "body": ""}),
        AskedStep(name="write", agent="writer", after=("lookup",)),
        AskedStep(name="check", agent="writer", input=[1, None], after=("write",)),
    )


def test_the_output_of_an_agent_that_may_delegate_is_its_answer() -> None:
    async def answer(ticket: Ticket) -> Answer | Delegate:
        return Answer(text="x")

    assert read_signature(answer).output_type is Answer
    assert Workbench(answer).run_task().status == "done"


def deep() -> Any:
    found: Any = 1
    for _ in range(150):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("delegate", "says"),
    [
        (Delegate(), "0 steps, 1 to 20 are allowed"),
        (
            Delegate(*(DelegateStep(f"s{n}", agent="kb") for n in range(STEPS_MAX + 1))),
            "21 steps, 1 to 20 are allowed",
        ),
        (Delegate(ASK, ASK), "two steps are named 'lookup'"),
        (Delegate(DelegateStep("write", agent="kb", after=["nobody"])), "'nobody', which is no"),
        (Delegate(DelegateStep("No Name", agent="kb")), "name is 'No Name'"),
        (Delegate(DelegateStep("lookup", agent="No Agent")), "agent is 'No Agent'"),
        (Delegate(DelegateStep("lookup", agent=lambda: None)), "agent is '<lambda>'"),
        (Delegate(DelegateStep("a", agent="kb", after=7)), "after is 7"),  # type: ignore[arg-type]
        (Delegate(DelegateStep("a", agent="kb", input=object())), "is no JSON"),
        (Delegate(DelegateStep("a", agent="kb", input=math.nan)), "is no JSON"),
        (Delegate(DelegateStep("a", agent="kb", input=deep())), "nested too deep"),
        (Delegate(DelegateStep("a", agent="kb", input="x" * 300_000)), "the limit is 262144"),
        (Delegate("lookup"), "str is no DelegateStep"),  # type: ignore[arg-type]
    ],
)
def test_steps_of_a_wrong_shape_fail_the_attempt(delegate: Delegate, says: str) -> None:
    outcome = asks(delegate).run_task()

    assert (outcome.status, outcome.delegates) == ("failed", ())
    assert outcome.error is not None
    assert outcome.error.kind == "invalid_delegation"
    assert says in outcome.error.message
