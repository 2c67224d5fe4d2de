"""Workflows in Python: signatures are the DAG, and what does not fit is answered with its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from pydantic import BaseModel

from caseworks import App, Approval, Loop, Map, Step, Wait
from events.errors import DeclarationError
from schemas.workflow import ApprovalSpec, LoopSpec, MapSpec, StepSpec, WaitSpec, WorkflowSpec


class Order(BaseModel):
    total: float = 0


class Line(BaseModel):
    sku: str = ""


class Held(BaseModel):
    sku: str = ""


class Payment(BaseModel):
    amount: float = 0


class Letter(BaseModel):
    score: float = 0


async def triage(order: Order) -> Letter:
    raise NotImplementedError


async def hold(line: Line) -> Held:
    raise NotImplementedError


async def release(order: Order, hold: list[Held]) -> None:
    raise NotImplementedError


async def write(order: Order, triage: Letter, write: Letter | None) -> Letter:
    raise NotImplementedError


async def ship(order: Order, hold: list[Held], write: Letter, payment: Payment) -> str:
    raise NotImplementedError


async def scalar(sku: str) -> Held:
    raise NotImplementedError


async def spare(order: Order) -> Letter:
    raise NotImplementedError


def app_of(*functions: Callable[..., Any]) -> App:
    app = App("shop")
    for function in functions:
        app.agent()(function)
    return app


def declared(*nodes: Any, agents: tuple[Any, ...] = (), **fields: Any) -> WorkflowSpec:
    """The workflow of these nodes, whose functions are made agents here."""
    found = [node.function if isinstance(node, Step) else node for node in nodes]
    functions = [each for each in (*found, *agents) if not isinstance(each, (Wait, Approval))]
    app = app_of(*dict.fromkeys(functions))
    app.workflow("order", on={"order.placed": Order}, steps=nodes, **fields)
    assert app.plans
    return app.workflows[0]


def steps(spec: WorkflowSpec) -> dict[str, StepSpec]:
    return {step.name: step for step in spec.steps}


WHOLE = (
    triage,
    Step(hold, map=Map("data.lines", concurrency=4), undo=release),
    Step(write, loop=Loop("output.score > `0.8`", iterations_max=3), fallback=spare),
    Approval("confirm", of="write", when="data.total > `100`"),
    Wait("payment.received", Payment, name="payment", timeout_s=60, after=["confirm", hold]),
    Step(ship, after=["confirm"]),
)


def test_a_workflow_with_everything_is_data() -> None:
    spec = declared(*WHOLE, agents=(release, spare), version="7", undo_deadline_s=9)
    found = steps(spec)

    assert (spec.version, spec.undo_deadline_s) == ("7", 9)
    assert found["hold"].map == MapSpec(over="data.lines", concurrency=4)
    assert found["hold"].undo == "release"
    assert found["write"].loop == LoopSpec(until="output.score > `0.8`", iterations_max=3)
    assert found["write"].after == ("triage",)
    assert found["confirm"].approval == ApprovalSpec(of="write")
    assert found["confirm"].after == ("write",)
    assert found["payment"].wait == WaitSpec(event="payment.received", timeout_s=60)
    assert found["payment"].after == ("confirm", "hold")
    assert found["ship"].after == ("hold", "write", "payment", "confirm")
    assert set(spec.data_schemas) == {"order.placed", "payment.received"}


def test_defaults_of_nodes_are_those_of_the_data() -> None:
    plain = steps(declared(triage))["triage"]

    assert asdict(Map("x")) == MapSpec(over="x").model_dump()
    assert asdict(Loop("x")) == LoopSpec(until="x").model_dump()
    assert plain == StepSpec(name="triage", agent="triage")
    wait = steps(declared(Wait("a.b", timeout_s=1)))["a_b"]
    assert wait == StepSpec(name="a_b", wait=WaitSpec(event="a.b", timeout_s=1))
    asked = steps(declared(triage, Approval("ask", of="triage")))["ask"]
    assert asked == StepSpec(name="ask", after=("triage",), approval=ApprovalSpec(of="triage"))


def test_parameters_that_are_no_steps_are_inputs() -> None:
    async def price(order: Order, triage: Letter, score: float) -> float:
        return score

    found = steps(declared(triage, Step(price, inputs={"score": "triage.score"})))["price"]

    assert found.inputs == {"triage": "triage", "score": "triage.score"}
    assert found.after == ("triage",)


def test_a_step_may_come_after_one_that_it_does_not_read() -> None:
    for before in (triage, Step(triage), "triage"):
        assert steps(declared(triage, Step(spare, after=[before])))["spare"].after == ("triage",)


def test_an_item_may_be_of_any_type() -> None:
    assert steps(declared(Step(scalar, map=Map("data.skus"))))["scalar"].map is not None


async def reads_plain(order: Order, triage: Letter) -> str:
    raise NotImplementedError


async def reads_null(order: Order, triage: Letter | None) -> str:
    raise NotImplementedError


async def reads_any(order: Order, triage: Letter | None, spare: Letter | None) -> str:
    raise NotImplementedError


async def reads_race(order: Order, reads_any: str) -> str:
    raise NotImplementedError


async def reads_item(order: Order, hold: Held) -> str:
    raise NotImplementedError


async def reads_skipped(order: Order, hold: list[Held | None]) -> str:
    raise NotImplementedError


async def reads_list(order: Order, hold: list[Held]) -> str:
    raise NotImplementedError


async def reads_payment(order: Order, payment: Payment) -> str:
    raise NotImplementedError


async def reads_late_payment(order: Order, payment: Payment | None) -> str:
    raise NotImplementedError


async def reads_approved(order: Order, ask: Letter) -> str:
    raise NotImplementedError


async def reads_wrongly_approved(order: Order, ask: Held) -> str:
    raise NotImplementedError


async def reads_itself(order: Order, reads_itself: str | None) -> str:
    raise NotImplementedError


async def reads_itself_firmly(order: Order, reads_itself_firmly: str) -> str:
    raise NotImplementedError


async def wide(order: Order, triage: Letter) -> Letter:
    raise NotImplementedError


async def other(order: Order) -> Held:
    raise NotImplementedError


LATE = Wait("paid", Payment, name="payment", timeout_s=9, on_timeout="skip")


@pytest.mark.parametrize(
    "nodes",
    [
        (Step(triage, when="data.total"), reads_null),
        (Step(triage, optional=True), reads_null),
        (triage, Step(spare, optional=True), Step(reads_any, join="any"), reads_race),
        (Step(hold, map=Map("data.l")), reads_list),
        (Step(hold, map=Map("data.l", on_failure="skip")), reads_skipped),
        (Wait("paid", Payment, name="payment", timeout_s=9), reads_payment),
        (LATE, reads_late_payment),
        (triage, Approval("ask", of="triage"), reads_approved),
        (Step(reads_itself, loop=Loop("output == 'x'")),),
    ],
)
def test_what_a_step_gives_is_what_its_readers_declare(nodes: tuple[Any, ...]) -> None:
    assert declared(*nodes)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ((Step(triage, when="data.x"), reads_plain), "the step may be skipped: add `| None`"),
        ((Step(triage, optional=True), reads_plain), "the step is optional: add `| None`"),
        ((triage, reads_null), "the step is not optional: remove `| None`"),
        ((LATE, reads_payment), "the step may be skipped: add `| None`"),
        (
            (triage, Approval("ask", of="triage", on_reject="skip"), reads_approved),
            "the step may be skipped: add `| None`",
        ),
        (
            (triage, hold, Step(wide, join="any", after=[hold])),
            "the step need not have ended when another one is done: add `| None`",
        ),
        (
            (Step(triage, optional=True), Approval("ask", of="triage"), reads_approved),
            "the step approves 'triage', which is optional: add `| None`",
        ),
        (
            (
                Step(triage, when="data.a"),
                Step(spare, when="data.b"),
                Step(reads_any, join="any"),
                reads_race,
            ),
            "the step is skipped when all that it waits for are: add `| None`",
        ),
        ((reads_plain,), "reads 'triage', which is no step of this workflow: add the step"),
        ((reads_itself,), "reads 'reads_itself', its own output: give it a `loop`"),
        (
            (Step(reads_itself_firmly, loop=Loop("output")),),
            "the step has no output before its first round: add `| None`",
        ),
        (
            (Step(hold, map=Map("data.l")), reads_item),
            "is Held, but the step returns list[tests.unit.test_app_workflows.Held]",
        ),
        ((Step(hold, map=Map("data.l", on_failure="skip")), reads_list), "but the step returns"),
        (
            (triage, Approval("ask", of="triage"), reads_wrongly_approved),
            "parameter 'ask' of 'reads-wrongly-approved' is Held, but the step returns Letter",
        ),
        ((scalar,), "'scalar', the event's data, is str: use a pydantic model or dict, or give"),
        (
            (triage, Step(reads_plain, inputs={"x": "data.total"})),
            "'reads-plain' has no parameter 'x': add it, or remove it from `inputs`",
        ),
        ((triage, Step(other, after=["x"])), "step 'other' reads 'x', which is no step"),
    ],
)
def test_a_function_that_does_not_fit_its_step_is_refused(
    nodes: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        declared(*nodes)

    assert said in str(caught.value)


@pytest.mark.parametrize("role", ["fallback", "escalate_to"])
def test_who_stands_in_reads_what_the_step_has_and_returns_the_same(role: str) -> None:
    reads, returns = ({role: function} for function in (wide, other))
    free: Any = Step

    assert declared(triage, free(spare, after=[triage], **reads), agents=(wide,))
    with pytest.raises(DeclarationError, match="'wide' reads 'triage', which it need not wait for"):
        declared(triage, free(spare, **reads), agents=(wide,))
    with pytest.raises(DeclarationError, match="stands in for 'spare', returns Held, not Letter"):
        declared(free(spare, **returns), agents=(other,))


def test_a_step_without_an_output_is_refused() -> None:
    with pytest.raises(DeclarationError, match="'release' returns None, which is no output"):
        declared(Step(hold, map=Map("data.lines")), release)


async def undo_write(order: Order, triage: Letter, write: Letter) -> bool:
    raise NotImplementedError


async def undo_write_badly(order: Order, write: Held) -> bool:
    raise NotImplementedError


def test_an_undo_reads_what_it_undoes_and_what_that_read() -> None:
    loop = Loop("output.score")

    assert declared(triage, Step(write, loop=loop, undo=undo_write), agents=(undo_write,))
    with pytest.raises(DeclarationError, match="its undo 'undo-write' reads 'write'"):
        declared(triage, Step(wide, undo=undo_write), agents=(undo_write,))
    bad = Step(write, loop=loop, undo=undo_write_badly)
    with pytest.raises(DeclarationError, match="is Held, but the step returns Letter"):
        declared(triage, bad, agents=(undo_write_badly,))


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (Step(triage, attempts_max=0), "workflow 'order', step 'triage': attempts_max is 0"),
        (Step(triage, deadline_s=float("nan")), "deadline_s is nan"),
        (Wait("paid", timeout_s=-1), "workflow 'order', step 'paid': wait.timeout_s is -1"),
        (Step(hold, map=Map("data.l", concurrency=0)), "map.concurrency is 0"),
        (Approval("Ask Me", of="data"), "name is 'Ask Me'"),
        (Approval("ask", of="data."), "expression 'data.': column 6"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_place(node: Any, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declared(node)

    assert said in str(caught.value)


def test_steps_that_wait_for_one_event_agree_on_its_data() -> None:
    first, second = (
        Wait("paid", kind, name=kind.__name__.lower(), timeout_s=9) for kind in (Payment, Held)
    )

    with pytest.raises(DeclarationError, match="the data of 'paid' is Held here and Payment else"):
        declared(first, second)


def test_the_data_of_an_awaited_event_is_known_to_the_app() -> None:
    app = app_of(triage)
    app.workflow(
        "order", on={"order.placed": Order}, steps=[Wait("paid", Payment, timeout_s=9), triage]
    )

    assert app.data_types["paid"].validate_python({"amount": 1}) == Payment(amount=1)


def test_data_that_cannot_be_validated_is_refused() -> None:
    odd: Any = object()

    with pytest.raises(DeclarationError, match=r"the data of 'paid' is <object .*cannot validate"):
        declared(triage, Wait("paid", odd, timeout_s=9))
    with pytest.raises(DeclarationError, match=r"the data of 'odd' is .*Callable.*cannot validate"):
        app_of(triage).workflow("order", on={"odd": Callable[[], int]}, steps=[triage])


def test_one_event_type_opens_one_workflow() -> None:
    app = app_of(triage)
    app.workflow("order", on={"order.placed": Order}, steps=[triage])

    with pytest.raises(DeclarationError, match="opens two workflows"):
        app.workflow("again", on={"order.placed": Order}, steps=[triage])


def test_a_function_that_is_no_agent_is_refused() -> None:
    with pytest.raises(DeclarationError, match="other is no agent of app 'shop'"):
        declared(Step(triage, undo=other))
