from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import structlog

from caseworks import Context, ModelError, TransientError
from examples.helpdesk import app, demo
from examples.helpdesk.demo import demo_events
from examples.helpdesk.inventory import PROPOSE_FROM
from examples.helpdesk.model_triage import ModelTriage
from examples.helpdesk.tickets import Ticket, Triage
from examples.helpdesk.triage import calibration, triage_by_examples
from examples.helpdesk.workflows import STEP_DEADLINE_S, triage

TICKET = Ticket(ticket_id="t", body="When will my new card arrive?")
BY_EXAMPLES = triage_by_examples(TICKET)[0]


@dataclass
class FakeModel:
    """A model that gives or raises what the test says."""

    answer: Callable[[], ModelTriage]
    available: bool = True
    asked: list[str] = field(default_factory=list)

    async def ask(self, kind: type[ModelTriage], *, prompt: str, system: str) -> ModelTriage:
        assert (kind, bool(system)) == (ModelTriage, True)
        self.asked.append(prompt)
        return self.answer()


@dataclass
class FakeContext:
    """What the triage uses of a context."""

    model: FakeModel
    log: Any = field(default_factory=structlog.get_logger)


def triaged(model: FakeModel) -> Triage:
    return asyncio.run(triage(TICKET, cast("Context", FakeContext(model))))


def says(intent: str, confidence: float) -> Callable[[], ModelTriage]:
    return lambda: ModelTriage(intent=intent, confidence=confidence)


def fails(error: Exception) -> Callable[[], ModelTriage]:
    def answer() -> ModelTriage:
        raise error

    return answer


def test_the_app_compiles_to_three_workflows_one_for_each_kind_of_event() -> None:
    on = {plan.spec.name: plan.spec.on for plan in app.plans}

    assert on == {
        "ticket": (demo.TICKET,),
        "inventory": (demo.STOCK,),
        "fraud": (demo.PAYMENT,),
    }
    assert {event.type for event in demo_events()} == set(app.data_types)


def test_knowledge_and_customer_wait_for_the_triage_alone_and_the_answer_for_all() -> None:
    steps = next(plan for plan in app.plans if plan.spec.name == "ticket").steps

    assert {name: set(step.after) for name, step in steps.items()} == {
        "triage": set(),
        "knowledge": {"triage"},
        "customer": {"triage"},
        "answer": {"triage", "knowledge", "customer"},
    }
    assert [name for name, step in steps.items() if step.optional] == ["customer"]


def test_a_step_that_never_ends_ends_in_time() -> None:
    deadlines = {step.deadline_s for plan in app.plans for step in plan.steps.values()}

    assert deadlines == {STEP_DEADLINE_S}


def test_a_person_is_asked_below_the_measured_thresholds() -> None:
    thresholds = {
        name: step.escalate_below
        for plan in app.plans
        for name, step in plan.steps.items()
        if step.escalate_below is not None
    }

    assert thresholds == {
        "answer": calibration().threshold,
        "order": PROPOSE_FROM,
        "decide": 0.5,
    }


def test_without_a_model_the_examples_triage_and_nobody_is_asked() -> None:
    model = FakeModel(says("card_arrival", 1.0), available=False)

    assert triaged(model) == BY_EXAMPLES
    assert model.asked == []


def test_a_model_that_agrees_makes_the_triage_surer() -> None:
    model = FakeModel(says(BY_EXAMPLES.intent, 0.999))

    assert (triaged(model).intent, triaged(model).confidence) == (BY_EXAMPLES.intent, 0.999)
    assert "When will my new card arrive?" in model.asked[0]


@pytest.mark.parametrize(
    "error", [ModelError("refused"), TransientError("busy"), TimeoutError("too slow")]
)
def test_a_model_that_fails_leaves_the_triage_to_the_examples(error: Exception) -> None:
    assert triaged(FakeModel(fails(error))) == BY_EXAMPLES


def test_a_mistake_of_the_program_is_not_taken_for_a_failing_model() -> None:
    with pytest.raises(KeyError):
        triaged(FakeModel(fails(KeyError("bug"))))
