"""Outcomes put together by hand are those that the model would have written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.job import Run
from agents.outcomes import Done
from schemas.base import instant
from schemas.outcome import Delivery, Outcome
from schemas.usage import NOTHING, Usage
from tests.unit.workbench import INBOX, START, Answer, Ticket, Workbench, a_message, a_task


async def answer(ticket: Ticket) -> Answer:
    return Answer(text=ticket.ticket_id)


bench = Workbench(answer, {"version": 'v"7'})


def written(output: Any, confidence: float = 1.0, usage: Usage = NOTHING, **task: Any) -> Outcome:
    """What the desk writes for this output, read back; checked against the model."""
    message = a_message(a_task(**task), offset=41, partition=5)
    call = bench.desk.open(message, lambda: 0.0)
    call.usage = usage
    done = Done(output, confidence, json.dumps(output).encode())
    run = Run(message)
    run.started, run.ended = START - 1.25, START
    record = bench.desk.answer(run, call, done)
    by_model = Outcome(
        task_id=call.task.task_id,
        case_id=call.task.case_id,
        agent="answer",
        attempt=call.task.attempt,
        status="done",
        output=output,
        confidence=confidence,
        usage=usage,
        agent_version='v"7',
        worker="w-1",
        delivery=Delivery(topic=message.topic, partition=5, offset=41, timestamp=instant(START)),
        started_at=instant(START - 1.25),
        finished_at=instant(START),
    )
    read = Outcome.from_json(record.value or b"")
    assert read == by_model
    assert record.partition == INBOX.partition
    return read


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values.filter(lambda value: "inf" not in repr(value)))
def test_any_output_is_written_as_the_model_would(output: Any) -> None:
    assert written(output).output == output


@given(st.floats(0, 1))
def test_any_confidence_is_written_as_it_is(confidence: float) -> None:
    assert written("x", confidence).confidence == confidence


@pytest.mark.parametrize("text", ['a"b', "a\\b", "ü\u2028", "\n", "%b %d"])
def test_names_that_json_must_escape_are_escaped(text: str) -> None:
    assert written("x", task_id=text, case_id=text).case_id == text


def test_what_an_attempt_cost_is_in_its_outcome() -> None:
    assert written("x", usage=Usage(tokens_in=7, iterations=2)).usage.tokens_in == 7
