from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseworks.client import new_event
from caseworks.demo.material import again, load_material
from caseworks.demo.play import name_of
from caseworks.demo.tally import (
    Came,
    Count,
    Judged,
    Measured,
    judge_phase,
    mean,
    percentile,
    report,
)
from events.broker import Message, Record
from events.errors import DeclarationError
from tests.unit.command_line import published, result_record


@dataclass(frozen=True)
class Sample:
    id: str
    label: str | None = None
    type: str = "ticket.created"
    source: str = "/test"
    subject: str = "s"
    data: Mapping[str, Any] = field(default_factory=dict)


def right(label: str, output: Any) -> bool:
    return bool(label == output)


def came(output: Any = None, status: str = "completed", at: float = 1.0) -> Came:
    return Came(f"ticket.{status}", status, output, 0.9, at)


def test_answers_are_judged_against_labels_and_out_of_scope_apart() -> None:
    phase = Measured()
    answers = {
        "right": ("card", came("card")),
        "wrong": ("card", came("pin")),
        "to a person": ("card", came("card", "escalated")),
        "kept": ("oos", came(None, "escalated")),
        "answered though nobody knows": ("oos", came("card")),
        "unlabelled": (None, came("card")),
        "still open": ("card", None),
    }
    for name, (label, answer) in answers.items():
        phase.publish(Sample(name, label), 0.0)
        if answer is not None:
            phase.result(("/test", name), answer)
    judged = judge_phase(phase, "ticket.created", right)
    assert judged == Judged(
        labelled=4,
        right=1,
        wrong=1,
        escalated=1,
        resolved_out_of_scope=1,
        escalated_out_of_scope=1,
    )
    assert judged.resolved == 2
    assert judge_phase(phase, "other", right) == Judged()


def test_only_the_first_answer_to_what_was_published_counts() -> None:
    phase = Measured()
    phase.publish(Sample("a"), 1.0)
    phase.result(("/test", "a"), came("first", at=1.5))
    phase.result(("/test", "a"), came("second", at=9.0))
    phase.result(("/test", "stranger"), came("x"))
    assert phase.complete
    assert phase.latencies_ms() == [500.0]
    assert list(phase.came) == [("/test", "a")]


def test_a_refused_event_is_an_end_too() -> None:
    phase = Measured()
    phase.publish(Sample("a"), 0.0)
    assert not phase.complete
    phase.dead_letter(("/test", "a"))
    assert phase.complete


ENDS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), max_size=6)


@given(ENDS)
def test_lost_and_doubled_are_counted_from_what_was_found(ends: list[tuple[int, int, int]]) -> None:
    """For each event: how often it stands on the topic, its results, its dead letters."""
    count, names = Count(), [("/test", str(n)) for n in range(len(ends))]
    for name, (events, results, dead) in zip(names, ends, strict=True):
        count.events[name] += events
        count.dead[name] += dead
        for _ in range(results):
            count.result(name, "ticket.completed", "completed")
    lost = [n for n, (events, r, d) in zip(names, ends, strict=True) if not events or r + d == 0]
    assert count.lost(names) == lost
    assert count.doubled(names) == sum(max(0, r + d - 1) for _, r, d in ends)


def test_a_result_that_amends_another_is_no_second_answer() -> None:
    count = Count()
    count.events["/test", "a"] += 1
    count.result(("/test", "a"), "ticket.escalated", "escalated")
    count.result(("/test", "a"), "ticket.completed", "completed", amends=True)
    assert count.doubled([("/test", "a")]) == 0


def test_the_report_is_what_scripts_rely_on() -> None:
    phase, count = Measured(), Count()
    for name, answer in {"a": came("card", at=0.1), "b": came("pin", at=0.3)}.items():
        phase.publish(Sample(name, "card"), 0.0)
        phase.result(("/test", name), answer)
        count.events["/test", name] += 1
        count.result(("/test", name), answer.type, answer.status)
    assert report(count, list(phase.sent), 2, phase, right) == {
        "published": 2,
        "results": {"ticket.completed": {"completed": 2}},
        "dead_letters": 0,
        "killed": 2,
        "lost": 0,
        "doubled": 0,
        "tickets": 2,
        "auto_resolved": 2,
        "right": 1,
        "wrong": 1,
        "auto_resolved_out_of_scope": 0,
        "escalated_out_of_scope": 0,
        "p50_ms": 100.0,
        "p99_ms": 300.0,
    }


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([], 50) == 0
    assert percentile([1, 2, 3, 4], 50) == 2
    assert percentile([1, 2, 3, 4], 99) == 4
    assert mean([]) is None
    assert mean([1, 2]) == 1.5


def test_events_can_be_published_again_under_new_names() -> None:
    made = list(again([Sample("a", "card"), Sample("b")], 5))
    assert len({event.id for event in made}) == 5
    assert [event.label for event in made] == ["card", None, "card", None, "card"]


def test_an_app_without_a_demo_is_one_clear_error() -> None:
    with pytest.raises(DeclarationError, match=r"tests\.unit\.shop_app has no demo"):
        load_material("tests.unit.shop_app:app")


def test_the_helpdesk_brings_events_and_a_judge() -> None:
    material = load_material("examples.helpdesk:app")
    labelled = next(e for e in material.events if e.type == "ticket.created" and e.label)
    assert material.judge(str(labelled.label), {"intent": labelled.label})
    assert not material.judge(str(labelled.label), {"intent": "something else"})


def as_message(record: Record) -> Message:
    return Message(record.topic, 0, 0, 0, record.key, record.value, record.headers)


def test_a_record_tells_which_event_it_is_about() -> None:
    event = new_event("ticket.created", {}, id="e1", source="/me")
    [sent] = published([event])
    assert name_of(as_message(sent)) == ("/me", "e1")
    assert name_of(as_message(result_record(event))) == ("/me", "e1")
    assert name_of(as_message(Record("cw.results.x", b"", b"nonsense"))) is None
    assert name_of(as_message(Record("cw.events.dlq", b"", b"nonsense"))) is None
