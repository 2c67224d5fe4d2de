from __future__ import annotations

from caseworks.bars import Bar, bars_of, drawn, span_of
from coordinator.case import apply
from schemas.lean_case import Case
from tests.unit.command_line import NOW, CommandLine, result_record, state_record
from tests.unit.machine import diamond, event, opened, outcome

PLAN = diamond()


def lived() -> list[tuple[Case, float]]:
    """A case whose triage fails once, ends at 3 s, and whose billing is under way."""
    found: list[tuple[Case, float]] = []
    case = apply(None, opened(PLAN, event("e1")), NOW, PLAN)[0]
    assert case is not None
    found.append((case, NOW))
    triage = case.steps["triage"]
    again = triage.evolve(status="retrying")
    found.append((case.evolve(steps={**case.steps, "triage": again}), NOW + 1))
    second = triage.evolve(attempt=2)
    case = case.evolve(steps={**case.steps, "triage": second})
    found.append((case, NOW + 2))
    case = apply(case, outcome(case, "triage", attempt=2), NOW + 3, PLAN)[0]
    assert case is not None
    found.append((case, NOW + 3))
    return found


def test_each_attempt_is_a_bar_of_its_own() -> None:
    bars = [
        (bar.label, bar.start - NOW, bar.end and bar.end - NOW, bar.outcome)
        for bar in bars_of(lived(), None)
    ]
    assert bars == [
        ("triage", 0, 1, "retry"),
        ("triage #2", 2, 3, "done"),
        ("billing", 3, None, "running"),
        ("kb", 3, None, "running"),
    ]


def test_of_a_case_whose_earlier_states_are_gone_a_bar_reaches_back() -> None:
    bars = bars_of(lived()[-1:], None)
    assert (bars[0].label, bars[0].start, bars[0].end) == ("triage #2", NOW, NOW + 3)


def test_bars_lie_where_they_were_and_need_no_colour() -> None:
    bars = [
        Bar("a", "a", "work", 0.0, 5.0, "done"),
        Bar("b", "b", "wait", 5.0, 10.0, "done"),
        Bar("c", "c #2", "work", 5.0, None),
        Bar("d", "d", "work", 9.999, 10.0, "failed", "no"),
    ]
    head, lines = drawn(bars, 0.0, 10.0, 60)
    cells = len(lines[0].axis)
    half = cells // 2
    assert [line.axis.rstrip() for line in lines] == [
        "━" * round(cells / 2),
        " " * half + "┄" * (cells - half),
        " " * half + "━" * (cells - half - 1) + ">",
        " " * (cells - 1) + "━",
    ]
    assert lines[3].note == "1 ms  failed: no"
    assert head.endswith("10 s")


def test_no_line_is_wider_than_the_terminal() -> None:
    bars = [Bar("s", "a_step_with_a_long_name", "work", 0.0, 1.0, "failed", "why " * 50)]
    for width in (40, 80, 160):
        head, [line] = drawn(bars, 0.0, 2.0, width)
        assert len(f"{line.label}  {line.axis}  {line.note}") <= width
        assert len(head) <= width


def test_spans_of_time_are_told_in_their_unit() -> None:
    spans = [0.0421, 1.5, 90, 600, 10_000, 400_000]
    assert [span_of(each) for each in spans] == [
        "42 ms",
        "1.5 s",
        "90 s",
        "10 min",
        "2.78 h",
        "4.63 d",
    ]


def test_a_case_is_drawn_in_the_terminal() -> None:
    command = CommandLine()
    command.make_topics()
    states = [case for case, _ in lived()]
    command.produce(*map(state_record, states))
    ran = command("case", "show", states[0].case_id)
    assert ran.code == 0
    drawing = [line for line in ran.out.splitlines() if "│" not in line]
    assert any(line.startswith("triage #2 ") and "done" in line for line in drawing)
    assert any(
        line.startswith("billing ") and "> " in line and "running" in line for line in drawing
    )


def test_a_closed_case_without_states_has_no_drawing() -> None:
    command = CommandLine()
    command.make_topics()
    command.produce(result_record(event("e1")))
    ran = command("case", "show", event("e1").case_id)
    assert ran.out.splitlines()[-1] == "ticket.completed (completed)"
    assert "0 " not in [line[:2] for line in ran.out.splitlines()]
