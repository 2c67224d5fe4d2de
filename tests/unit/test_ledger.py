"""I8: a commit never passes an unfinished offset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from events.ledger import Ledger

OFFSETS = st.lists(st.integers(0, 200), unique=True, min_size=1).map(sorted)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Offsets of a log with gaps, each observed in order and finished at any time after."""
    seen = draw(OFFSETS)
    waiting: list[int] = []
    steps: list[tuple[str, int]] = []
    while seen or waiting:
        if seen and (not waiting or draw(st.booleans())):
            waiting.append(seen.pop(0))
            steps.append(("observe", waiting[-1]))
        else:
            steps.append(("finish", waiting.pop(draw(st.integers(0, len(waiting) - 1)))))
        if draw(st.integers(0, 9)) == 0:
            break
    return steps


@given(histories())
def test_i8_the_watermark_never_passes_an_unfinished_offset(steps: list[tuple[str, int]]) -> None:
    ledger, unfinished, highest = Ledger(), set[int](), -1
    for step, offset in steps:
        if step == "observe":
            assert ledger.observe(offset)
            unfinished.add(offset)
            highest = offset
        else:
            assert ledger.finish(offset)
            unfinished.remove(offset)

        assert ledger.watermark == min(unfinished, default=highest + 1)
        assert ledger.unfinished == len(unfinished)
        assert ledger.span == (highest + 1 - min(unfinished) if unfinished else 0)


@given(histories())
def test_the_watermark_never_goes_back(steps: list[tuple[str, int]]) -> None:
    ledger, last = Ledger(), -1
    for step, offset in steps:
        (ledger.observe if step == "observe" else ledger.finish)(offset)
        mark = ledger.watermark
        assert mark is not None
        assert mark >= last
        last = mark


def test_gaps_left_by_markers_and_compaction_do_not_hold_the_watermark() -> None:
    ledger = Ledger()
    for offset in (500, 502, 503, 507):
        ledger.observe(offset)
    for offset in (507, 500, 503, 502):
        ledger.finish(offset)

    assert ledger.watermark == 508


def test_an_offset_delivered_twice_counts_once() -> None:
    ledger = Ledger()
    assert ledger.observe(4)
    assert not ledger.observe(4)
    assert ledger.finish(4)
    assert not ledger.finish(4)
    assert not ledger.observe(3)
    assert ledger.watermark == 5


def test_what_is_unfinished_below_the_highest_finished_is_listed_with_the_age_of_its_head() -> None:
    ledger = Ledger()
    for offset in (3, 5, 6, 9, 11):
        ledger.observe(offset, 1000 + offset)
    assert ledger.gaps() == ()
    ledger.finish(9)
    ledger.finish(5)

    assert ledger.gaps() == (3, 6)
    assert (ledger.done, ledger.finished, ledger.head_ms) == (10, 2, 1003)

    for offset in (3, 6, 11):
        ledger.finish(offset)
    assert (ledger.gaps(), ledger.watermark, ledger.head_ms) == ((), 12, 0)
