from __future__ import annotations

from datetime import timedelta
from typing import Any

from caseworks.tracing.book import Book
from caseworks.tracing.spans import Asked, Span, Told, spans_of
from coordinator.case import apply
from coordinator.partition import encode_case
from coordinator.versions import note_key, note_of
from events.broker import Message
from events.trace_ids import case_span, step_span
from schemas.base import instant
from schemas.lean_case import Case, ClosedCase
from schemas.result import Result, StepReport, UndoReport
from tests.unit.command_line import NOW
from tests.unit.machine import diamond, event, opened

PLAN = diamond()
CASE_ID = event("e1").case_id
NS = 1_000_000_000


def result(**fields: Any) -> Result:
    """Of a case that was open for two seconds."""
    given: dict[str, Any] = {
        "case_id": CASE_ID,
        "workflow": "ticket",
        "workflow_version": "1",
        "status": "completed",
        "steps": {"triage": StepReport(status="done", attempts=2, ms=700)},
        "event": event("e1").ref().evolve(time=instant(NOW - 1)),
        "opened_at": instant(NOW),
        "closed_at": instant(NOW + 2),
    }
    return Result(**(given | fields))


def state(**triage: Any) -> Case:
    """The case with its first step so."""
    case = apply(None, opened(PLAN, event("e1")), NOW, PLAN)[0]
    assert case is not None
    first = case.steps["triage"].evolve(**{"first_sent": NOW + 0.5, **triage})
    return case.evolve(steps={**case.steps, "triage": first})


def told(span: Span) -> tuple[str, float, float]:
    """Its name and its times, in seconds since the case was opened."""
    opened_ns = round(NOW) * NS
    return span.name, (span.start_ns - opened_ns) / NS, (span.end_ns - opened_ns) / NS


def test_a_step_ends_so_long_after_its_first_sending_as_its_report_says() -> None:
    spans = spans_of(Told(result(), case=state()))
    assert [told(span) for span in spans] == [
        ("publish ticket.created", -1, 0),
        ("case ticket", 0, 2),
        ("step triage", 0.5, 1.2),
        ("result completed", 1.2, 2),
    ]
    assert "caseworks.times_estimated" not in spans[2].attributes


def test_without_a_state_the_times_of_steps_are_guesses_that_say_so() -> None:
    step = spans_of(Told(result()))[2]
    assert told(step) == ("step triage", 1.3, 2)
    assert step.attributes["caseworks.times_estimated"] is True


def test_an_event_of_long_ago_was_not_published_then() -> None:
    old = event("e1").ref().evolve(time=instant(NOW) - timedelta(days=30))
    assert told(spans_of(Told(result(event=old)))[0]) == ("publish ticket.created", 0, 0)


def test_a_step_that_never_began_has_no_span_and_no_link() -> None:
    steps = {
        "triage": StepReport(status="skipped"),
        "billing": StepReport(status="done", attempts=1, ms=100),
    }
    spans = spans_of(Told(result(steps=steps), plan=PLAN))
    assert [(s.name, s.links) for s in spans[2:]] == [
        ("step billing", ()),
        ("result completed", ()),  # whoever would have read billing is not there, but might have
    ]


def test_what_failed_is_an_error_of_its_step_and_its_case() -> None:
    steps = {"triage": StepReport(status="failed", attempts=1, error="boom: it broke")}
    spans = spans_of(Told(result(status="failed", reason="triage: boom", steps=steps)))
    assert [(s.name, s.error) for s in spans if s.error] == [
        ("case ticket", "triage: boom"),
        ("step triage", "boom: it broke"),
    ]


def test_undoing_is_a_step_of_its_own() -> None:
    case = state()
    case = case.evolve(undos={"triage": case.steps["triage"].evolve(first_sent=NOW + 1.5)})
    undone = {"triage": UndoReport(status="done", attempts=1)}
    found = {s.name: s for s in spans_of(Told(result(undone=undone), case=case))}
    assert told(found["step triage~undo"])[1:] == (1.5, 1.5)
    assert found["step triage~undo"].span_id == step_span(CASE_ID, "triage~undo")


def test_an_amended_result_is_a_case_span_below_the_first() -> None:
    case = state(replay=1, first_sent=NOW + 1)
    spans = spans_of(Told(result(amends=f"{CASE_ID}:1"), case=case))
    assert [span.name for span in spans] == ["case ticket again", "step triage", "result completed"]
    assert (spans[0].parent_id, spans[0].span_id) == (case_span(CASE_ID), case_span(CASE_ID, 2))
    assert spans[1].parent_id == case_span(CASE_ID, 2)


def test_asking_people_is_a_span_within_its_step() -> None:
    asked = {"triage": Asked(NOW + 0.7, NOW + 99)}
    spans = spans_of(Told(result(), case=state(), asked=asked))
    assert told(spans[3]) == ("approval triage", 0.7, 1.2)
    assert spans[3].parent_id == spans[2].span_id


# --- what is remembered


def message(key: str, value: bytes | None, at: float = NOW) -> Message:
    return Message("cw.cases", 0, 0, round(at * 1000), key.encode(), value, ())


def answered(**fields: Any) -> Message:
    value = result(**fields).to_json()
    return Message("cw.results.ticket", 0, 0, 0, b"k", value, (("ce_tenant", b"acme"),))


def test_the_last_whole_state_stays_until_the_result_was_told() -> None:
    book = Book(10)
    book.add(message(f"\0{note_key('ticket', '1')}", note_of(PLAN)))
    book.add(message(CASE_ID, encode_case(state())))
    book.add(message(CASE_ID, ClosedCase(closed=NOW + 2, status="completed").to_json()))
    found = book.told(answered())
    assert found.case == state()
    assert found.plan
    assert (found.plan.spec, found.tenant) == (PLAN.spec, "acme")
    book.done(CASE_ID)
    assert (len(book), book.told(answered()).case) == (0, None)


def test_it_keeps_since_when_people_were_asked() -> None:
    book = Book(10)
    for at, status in ((1, "sent"), (2, "asking"), (3, "asking"), (4, "done"), (5, "done")):
        book.add(message(CASE_ID, encode_case(state(status=status)), NOW + at))
    assert book.told(answered()).asked == {"triage": Asked(NOW + 2, NOW + 4)}


def test_beyond_its_bound_the_case_that_was_quiet_for_longest_goes() -> None:
    book = Book(2)
    for name in ("a", "b", "a", "c"):
        book.add(message(name, encode_case(state())))
    assert (len(book), book.forgotten) == (2, 1)
    book.add(message("b", None))
    assert len(book) == 2
    book.add(message("a", None))
    assert len(book) == 1


def test_parts_and_entities_beside_a_case_are_no_case() -> None:
    book = Book(10)
    for key in ("@entity", f"{CASE_ID}/check:1", "\0position"):
        book.add(message(key, encode_case(state())))
    assert len(book) == 0
