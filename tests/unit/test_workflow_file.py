"""Workflow files: what they hold, and every wrong one answered with its line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from caseworks import App
from caseworks.plain_yaml import DEPTH_MAX, VALUES_MAX, parse
from caseworks.workflow_file import (
    FILE_BYTES_MAX,
    WorkflowFileError,
    parse_workflow,
    read_workflow,
)
from events.errors import DeclarationError
from schemas.agent import AgentSpec
from schemas.workflow import MapSpec, StepSpec, WaitSpec

GOOD = """\
name: order
on:
  order.placed: tests.unit.test_workflow_file:Order
deadline_s: 1e3
steps:
  price:
    agent: price
    map: {over: data.lines, concurrency: 3}
  paid:
    after: [price]
    wait:
      event: payment.received
      data: tests.unit.test_workflow_file:Payment
      timeout_s: 60
"""


class Order(BaseModel):
    total: float = 0


class Payment(BaseModel):
    amount: float = 0


def refused(text: str) -> tuple[str, ...]:
    with pytest.raises(WorkflowFileError) as caught:
        parse_workflow(text, "f.yaml")
    return caught.value.problems


def test_a_file_is_a_workflow() -> None:
    found = parse_workflow(GOOD)

    assert found.spec.steps == (
        StepSpec(name="price", agent="price", map=MapSpec(over="data.lines", concurrency=3)),
        StepSpec(
            name="paid", after=("price",), wait=WaitSpec(event="payment.received", timeout_s=60)
        ),
    )
    assert found.spec.on == ("order.placed",)
    assert found.spec.deadline_s == 1000
    assert found.on == {"order.placed": "tests.unit.test_workflow_file:Order"}
    assert found.awaited == {"payment.received": "tests.unit.test_workflow_file:Payment"}


def test_steps_may_be_a_list_as_on_the_wire() -> None:
    text = '{"name": "w", "on": {"e": null}, "steps": [{"name": "a", "agent": "x"}]}'

    assert parse_workflow(text).spec.steps == (StepSpec(name="a", agent="x"),)


@pytest.mark.parametrize(
    ("change", "to", "said"),
    [
        (GOOD, "", "f.yaml: it is empty"),
        (GOOD, "# nothing\n", "f.yaml: it is empty"),
        (GOOD, "- order\n", "f.yaml:1: it is a list, not a mapping"),
        (GOOD, "order\n", "f.yaml:1: it is a str, not a mapping"),
        ("deadline_s: 1e3", "name: again", "f.yaml:4: key 'name' stands twice, before in line 1"),
        ("  paid:", "  price:", "f.yaml:9: key 'price' stands twice, before in line 6"),
        (
            "    agent",
            "\tagent",
            "f.yaml:7: column 1: found character that cannot start any token: indent with spaces",
        ),
        ("deadline_s", "deadlines", "f.yaml:4: deadlines: unknown key: did you mean 'deadline_s'?"),
        ("agent:", "agnet:", "f.yaml:7: steps.price.agnet: unknown key: did you mean 'agent'?"),
        ("concurrency", "concurency", "f.yaml:8: steps.price.map.concurency: unknown key: did"),
        ("timeout_s", "timeout", "f.yaml:14: steps.paid.wait.timeout: unknown key"),
        ("1e3", ".nan", "f.yaml:4: deadline_s is NaN: Input should be a finite number"),
        ("1e3", "-.inf", "f.yaml:4: deadline_s is -Infinity"),
        ("1e3", "1e999", "f.yaml:4: deadline_s is Infinity"),
        ("1e3", "'1000'", 'f.yaml:4: deadline_s is "1000": Input should be a valid number'),
        ("1e3", "true", "f.yaml:4: deadline_s is true"),
        ("1e3", "12:30", 'f.yaml:4: deadline_s is "12:30"'),
        ("1e3", "2027-01-01", 'f.yaml:4: deadline_s is "2027-01-01"'),
        ("concurrency: 3", "concurrency: 0", "f.yaml:8: steps.price.map.concurrency is 0"),
        ("[price]", "price", 'f.yaml:10: steps.paid.after is "price": Input should be a valid arr'),
        ("name: order", "name: Order", 'f.yaml:1: name is "Order": String should match'),
        ("name: order", "", "f.yaml:2: name is missing"),
        ("  order.placed: tests", "  order.placed: [x]\n  o: tests", "on.order.placed: write mod"),
        ("on:\n  order", "on: [a]\nb:\n  order", "f.yaml:2: on: write a mapping of event types"),
        ("data: tests", "data: 7 #", "steps.paid.wait.data is 7: write module:Model"),
        ("name: order", "name: &x order", "f.yaml:1: anchors and aliases are not taken"),
        ("name: order", "name: !!python/name:os.system", "f.yaml:1: the tag"),
        ("name: order", "name: \x07", "f.yaml:1: a character that is no text"),
        ("name: order", "name: order\n---", "second document begins"),
        ("name: order", "[a]: order", "f.yaml:1: a key that is no plain text"),
        ("name: order", 'name: order\n"\\e[2J": x', r"f.yaml:2: \x1b[2J: unknown key"),
        ("name: order", "name: [order", "f.yaml:2: column 3: did not find expected ',' or ']'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(change: str, to: str, said: str) -> None:
    assert change in GOOD
    told = "\n".join(refused(GOOD.replace(change, to, 1)))

    assert said in told


def test_two_waits_for_one_event_agree_on_its_data() -> None:
    again = "  more:\n    wait: {event: payment.received, data: a:B, timeout_s: 9}\n"

    [problem] = refused(GOOD + again)

    assert problem.startswith('f.yaml:16: steps.more.wait.data is "a:B": another step says')


def test_every_problem_of_a_file_is_told_in_its_order() -> None:
    wrong = GOOD.replace("agent:", "agnet:").replace("1e3", "-1").replace("timeout_s", "timeout")

    assert [problem.partition(": ")[0] for problem in refused(wrong)] == [
        "f.yaml:4",
        "f.yaml:7",
        "f.yaml:11",
        "f.yaml:14",
    ]


def test_a_billion_laughs_are_refused_before_they_are_told() -> None:
    laughs = ["a0: &a0 [ha, ha]"]
    laughs += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]

    assert refused("\n".join(laughs)) == (
        "f.yaml:1: anchors and aliases are not taken: write it out",
    )


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused(opening: str) -> None:
    [problem] = refused(opening * 100_000)

    assert problem == f"f.yaml:1: nested more than {DEPTH_MAX} deep"


def test_more_values_than_a_workflow_has_are_refused() -> None:
    assert refused(f"name: [{'a,' * VALUES_MAX}]") == (f"f.yaml:1: more than {VALUES_MAX} values",)


def test_ten_thousand_steps_are_refused() -> None:
    steps = "".join(f"  s{n}: {{agent: x}}\n" for n in range(10_000))
    found = parse_workflow(f"name: w\non: {{e: }}\nsteps:\n{steps}", "f.yaml")

    assert found.problems(None) == (
        "f.yaml:1: 10000 steps, at most 200 are allowed: split the workflow",
    )


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("a: {agent: x, after: [b]}\n  b: {agent: x, after: [a]}", "f.yaml:1: a cycle among the"),
        ("a: {agent: y}", "f.yaml:4: step 'a': unknown agent 'y' (known: x)"),
        ("a: {agent: x}\n  b: {agent: x, when: a.}", "f.yaml:5: step 'b': `when`: expression"),
        ("a:", "f.yaml:4: step 'a': nobody works there"),
    ],
)
def test_problems_of_the_graph_have_lines_too(steps: str, said: str) -> None:
    found = parse_workflow(f"name: w\non: {{e: }}\nsteps:\n  {steps}\n", "f.yaml")

    assert said in "\n".join(found.problems({"x": AgentSpec(name="x")}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: on", "on"),
        ("a: yes", "yes"),
        ("a: 0o17", "0o17"),
        ("a: 1_000", "1_000"),
        ("a: ~", None),
        ("a: 'null'", "null"),
        ("a: False", False),
        ("a: -7", -7),
        ("a: 0.5", 0.5),
        ("a: 7e-1", 0.7),
        ("a: '7'", "7"),
        ("a: |\n  text\n", "text\n"),
    ],
)
def test_scalars_are_what_they_look_like(text: str, value: Any) -> None:
    found, lines = parse(text)

    assert found == {"a": value}
    assert type(found["a"]) is type(value)
    assert lines[("a",)] == 1


def test_a_file_is_bounded_and_must_be_text(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    for body, said in (
        (b"\x7fELF\xff\xfe", "no text in UTF-8"),
        (b"\x00" * 10, "a character that is no text"),
        (b"#" * (FILE_BYTES_MAX + 1), "larger than 1048576 bytes"),
        (b"\xef\xbb\xbf" + b"name: w", "on is missing"),
    ):
        path.write_bytes(body)
        with pytest.raises(WorkflowFileError, match=said):
            read_workflow(path)
    with pytest.raises(WorkflowFileError, match="cannot be read"):
        read_workflow(tmp_path)


def load(tmp_path: Path, text: str) -> App:
    app = App("shop")

    @app.agent(timeout_s=7)
    async def price(order: Order) -> float:
        return order.total

    path = tmp_path / "order.yaml"
    path.write_text(text, encoding="utf-8")
    app.load_workflow(path)
    return app


def test_an_app_takes_a_workflow_from_a_file(tmp_path: Path) -> None:
    [plan] = load(tmp_path, GOOD).plans

    assert plan.steps["price"].timeout_s == 7
    assert set(plan.spec.data_schemas) == {"order.placed", "payment.received"}


def test_functions_are_compared_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="unknown agent 'prise'"):
        _ = load(tmp_path, GOOD.replace("agent: price", "agent: prise")).plans


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("Order", "is no model: write module:Model"),
        ("tests.unit.nowhere:Order", "cannot be imported: No module named"),
        ("tests.unit.test_workflow_file:Nobody", "cannot be imported"),
        ("tests.unit.test_workflow_file:GOOD", "is no model"),
    ],
)
def test_a_model_that_is_not_there_is_refused(tmp_path: Path, target: str, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load(tmp_path, GOOD.replace("tests.unit.test_workflow_file:Order", target))

    assert f"order.yaml:3: {target!r}" in str(caught.value)
    assert said in str(caught.value)


def test_reading_a_file_imports_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(GOOD.replace("tests.unit.test_workflow_file", "this"), encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from caseworks.workflow_file import read_workflow;"
        f"read_workflow(Path({str(path)!r})); sys.exit('this' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
