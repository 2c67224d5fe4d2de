"""Pictures of workflows."""

from __future__ import annotations

from coordinator.graph import dot, mermaid
from schemas.workflow import ApprovalSpec, LoopSpec, MapSpec, StepSpec, WaitSpec, WorkflowSpec

SPEC = WorkflowSpec(
    name="w",
    on=("order.placed",),
    steps=(
        StepSpec(name="end", agent="x", undo="release", map=MapSpec(over="data.lines")),
        StepSpec(name="write", agent="y", loop=LoopSpec(until='output.a > `0.8` || b["c"]')),
        StepSpec(name="ask", after=("end",), when="end", approval=ApprovalSpec(of="end")),
        StepSpec(name="paid", after=("ask",), wait=WaitSpec(event="paid", timeout_s=7200)),
        StepSpec(name="ship", agent="z", after=("paid", "write"), join="any", fallback="f"),
    ),
)


def test_a_workflow_is_drawn_in_mermaid() -> None:
    assert (
        mermaid(SPEC)
        == """\
flowchart TD
    start(["order.placed"])
    s_end["end<br/>for each of data.lines, 10 at a time"]
    s_write["write"]
    s_ask[/"ask<br/>when end<br/>ask a person: end"/]
    s_paid{{"paid<br/>wait for paid, 2 h"}}
    s_ship["ship<br/>else f"]
    start --> s_end
    u_end["release"]
    s_end -.->|"undo"| u_end
    start --> s_write
    s_write -->|"until output.a > `0.8` #124;#124; b[#34;c#34;], 5 times"| s_write
    s_end --> s_ask
    s_ask --> s_paid
    s_paid -->|"any"| s_ship
    s_write -->|"any"| s_ship"""
    )


def test_a_workflow_is_drawn_in_dot() -> None:
    assert (
        dot(SPEC)
        == """\
digraph "w" {
    node [shape=box];
    start [shape=oval, label="order.placed"];
    s_end [shape=box, label="end\\nfor each of data.lines, 10 at a time"];
    s_write [shape=box, label="write"];
    s_ask [shape=parallelogram, label="ask\\nwhen end\\nask a person: end"];
    s_paid [shape=hexagon, label="paid\\nwait for paid, 2 h"];
    s_ship [shape=box, label="ship\\nelse f"];
    start -> s_end;
    u_end [label="release"];
    s_end -> u_end [style=dashed, label=undo];
    start -> s_write;
    s_write -> s_write [label="until output.a > `0.8` || b[\\"c\\"], 5 times"];
    s_end -> s_ask;
    s_ask -> s_paid;
    s_paid -> s_ship [label=any];
    s_write -> s_ship [label=any];
}"""
    )


def test_what_is_made_of_events_and_who_stands_in_is_drawn() -> None:
    chain = StepSpec(name="a", agent="x", fallback=("y", "cache", "escalate"), degrade_after_s=90)
    spec = WorkflowSpec(
        name="w",
        on=("e",),
        steps=(chain,),
        coalesce_by="data.q",
        off_peak="22:00-06:00",
        off_peak_zone="Europe/Berlin",
    )

    drawn = mermaid(spec)
    assert 'start(["e<br/>one for each data.q in 60 s<br/>deferred: 22:00-06:00 Eu' in drawn
    assert 's_a["a<br/>else y, cache, escalate, after 90 s"]' in drawn
    assert "one for each data.q in 60 s\\ndeferred" in dot(spec)


def test_a_long_expression_is_cut() -> None:
    step = StepSpec(name="a", agent="x", when="data." + "x" * 500)
    drawn = mermaid(SPEC.model_copy(update={"steps": (step,)}))

    assert f"when data.{'x' * 52}..." in drawn
