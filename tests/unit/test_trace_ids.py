from __future__ import annotations

import pytest

from events import trace_ids
from events.trace_ids import TraceParent, read_traceparent, trace_id_for, traceparent_of

TRACE, SPAN = "ab" * 16, "cd" * 8


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (f"00-{TRACE}-{SPAN}-01", TraceParent(TRACE, SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-00", TraceParent(TRACE, SPAN, sampled=False)),
        (f"cc-{TRACE}-{SPAN}-03-more", TraceParent(TRACE, SPAN, sampled=True)),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
        (None, None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(
    text: str | None, read: TraceParent | None
) -> None:
    assert read_traceparent(text) == read


def test_a_traceparent_that_was_written_is_read_again() -> None:
    assert read_traceparent(traceparent_of(TRACE, SPAN, sampled=False)) == (TRACE, SPAN, False)


def test_ids_are_the_same_in_every_process() -> None:
    assert trace_id_for("c1", None) == "39aa35b6249f04a8b33f4a573211726e"
    assert trace_ids.step_span("c1", "triage") == "ef7d85c934914ad8"


def test_no_two_spans_of_a_case_share_an_id() -> None:
    found = [
        trace_ids.publish_span("c1"),
        trace_ids.case_span("c1"),
        trace_ids.case_span("c1", 2),
        trace_ids.step_span("c1", "a"),
        trace_ids.step_span("c1", "a", 1),
        trace_ids.step_span("c1", "a~undo"),
        trace_ids.approval_span("c1", "a"),
        trace_ids.attempt_span("c1:a", 1),
        trace_ids.attempt_span("c1:a", 2),
        trace_ids.attempt_span("c1:a#1", 1),
        trace_ids.result_span("c1"),
    ]
    assert len(set(found)) == len(found)
