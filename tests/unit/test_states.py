"""The tables: closed under themselves, and drawn in the docs as they are."""

from __future__ import annotations

from pathlib import Path

from coordinator.states import CASE, ENDED, ENDED_WELL, STEP, mermaid

README = Path(__file__).parents[2] / "coordinator" / "README.md"


def test_every_move_leads_to_a_state_of_the_table() -> None:
    for table in (STEP, CASE):
        for moves in table.values():
            assert set(moves.values()) <= set(table)


def test_a_step_that_ended_takes_no_outcome() -> None:
    for state in ENDED:
        assert not {"done", "retry", "defer", "fail", "skip"} & set(STEP[state])
    assert ENDED_WELL < ENDED


def test_the_diagrams_in_the_readme_are_those_of_the_tables() -> None:
    text = README.read_text(encoding="utf-8")

    assert mermaid(STEP, "waiting") in text
    assert mermaid(CASE, "open") in text
