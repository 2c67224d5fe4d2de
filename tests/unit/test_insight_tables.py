"""Facts into windows: each once, in its own windows, whatever is read again."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from caseworks.insight.cells import Cell, decode, encode, merged
from caseworks.insight.tables import Tables
from caseworks.insight.windows import ALL, OTHER, Read, Subject
from schemas.base import instant
from schemas.fact import DecisionFact, FeedbackFact
from tests.unit.insight_world import NOW, DictShelf, closed, read, shelves, step, tables


def cell(found: Tables, subject: Subject, table: str = "day") -> Cell:
    return merged(
        entry.cell for entry in found.entries(table, lambda _: True) if entry.subject == subject
    )


def names(found: Tables, kind: str) -> set[str]:
    return {e.subject.name for e in found.entries("day", lambda _: True) if e.subject.kind == kind}


def test_a_fact_is_counted_for_all_its_workflow_its_tenant_and_its_agents() -> None:
    found = tables()
    found.feed([read(closed(tenant="acme", steps=(step("triage"), step("answer", version="2"))))])
    for table in ("minute", "hour", "day"):
        for subject in (
            ALL,
            Subject("workflow", "ticket"),
            Subject("tenant", "acme"),
            Subject("agent", "triage@1"),
            Subject("agent", "answer@2"),
        ):
            assert cell(found, subject, table).n == 1


def test_two_steps_of_one_agent_in_one_case_both_count() -> None:
    found = tables()
    found.feed([read(closed(steps=(step(ms=10), step(ms=20))))])
    assert cell(found, Subject("agent", "triage@1")).ms_sum == 30


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=20),
    st.lists(st.integers(0, 20), max_size=6),
)
def test_what_is_read_again_from_any_offset_changes_nothing(
    facts: Sequence[tuple[int, int]], again: Sequence[int]
) -> None:
    offsets = {0: 0, 1: 0}
    log: list[Read] = []
    for partition, tenant in facts:
        fact = closed(tenant=f"t{tenant}", workflow=f"w{partition}")
        log.append(read(fact, offsets[partition], partition))
        offsets[partition] += 1
    once, often = tables(), tables()
    once.feed(log)
    often.feed(log)
    for start in again:
        often.feed(log[start:])
    assert list(once.entries("day", lambda _: True)) == list(often.entries("day", lambda _: True))


def test_without_the_position_in_the_cell_what_is_read_again_counts_twice() -> None:
    """The control: it is the position that keeps the count, not luck."""
    kept = shelves()
    found = Tables(kept, 100)
    log = [read(closed(), offset) for offset in range(5)]
    found.feed(log)
    for shelf in kept.values():
        for row in shelf.rows():
            value = decode(shelf.data[row])
            value.position = -1
            shelf.data[row] = encode(value)
    found.feed(log)
    assert cell(found, ALL).n == 10


def test_a_crash_between_two_rows_of_a_changelog_loses_and_doubles_nothing() -> None:
    log = [read(closed(tenant=f"t{at % 3}", steps=(step(),)), at) for at in range(9)]
    whole = tables()
    whole.feed(log)
    wanted = list(whole.entries("hour", lambda _: True))
    kept = shelves()
    Tables(kept, 100).feed(log)
    for cut in range(len(kept["hour"].written) + 1):
        after: dict[str, DictShelf] = shelves()
        for row, value in kept["hour"].written[:cut]:
            after["hour"].data[row] = value
        restarted = Tables(after, 100)
        restarted.learn()
        restarted.feed(log)
        found = sorted(
            restarted.entries("hour", lambda _: True), key=lambda e: (e.subject, e.start)
        )
        assert found == sorted(wanted, key=lambda e: (e.subject, e.start))


def test_facts_of_two_partitions_have_cells_of_their_own_and_are_read_as_one() -> None:
    found = tables()
    found.feed([read(closed(tenant="acme"), 5, 0), read(closed(tenant="acme"), 2, 1)])
    entries = [e for e in found.entries("day", lambda _: True) if e.subject == ALL]
    assert [entry.cell.n for entry in entries] == [1, 1]
    assert found.positions() == {0: 6, 1: 3}


def test_a_fact_falls_into_the_window_of_the_time_it_closed() -> None:
    found = tables()
    found.feed([read(closed(NOW - 61)), read(closed(NOW), 1)])
    starts = [e.start for e in found.entries("minute", lambda _: True) if e.subject == ALL]
    assert len(starts) == 2
    assert all(start % 60 == 0 for start in starts)


def test_a_fact_from_the_future_counts_when_it_was_recorded_and_says_so() -> None:
    found = tables()
    found.feed([read(closed(NOW + 10 * 365 * 86_400))])
    [entry] = [e for e in found.entries("minute", lambda _: True) if e.subject == ALL]
    assert entry.start == int(NOW // 60) * 60
    assert entry.cell.skewed == 1


def test_a_fact_of_long_ago_opens_no_window_that_would_be_freed_at_once() -> None:
    found = tables()
    found.feed([read(closed(NOW - 86_400 * 3.5)), read(closed(0.0), 1)])
    assert not list(found.entries("minute", lambda _: True))
    assert not list(found.entries("hour", lambda _: True))
    assert cell(found, ALL).n == 1


def test_a_flood_of_tenants_shares_one_row_and_the_known_ones_keep_theirs() -> None:
    found = tables(names_max=3)
    found.feed([read(closed(tenant=f"t{at}"), at) for at in range(50)])
    found.feed([read(closed(tenant="t1"), 50)])
    assert names(found, "tenant") == {"t0", "t1", "t2", OTHER}
    assert cell(found, Subject("tenant", OTHER)).n == 47
    assert cell(found, Subject("tenant", "t1")).n == 2
    assert cell(found, ALL).n == 51
    assert found.book.refused == 47 * 1


def test_a_name_with_the_separator_in_it_stays_one_name() -> None:
    found = tables()
    found.feed([read(closed(tenant="a|b|0"))])
    assert names(found, "tenant") == {"a|b|0"}


def test_old_windows_are_freed_and_their_names_make_room() -> None:
    found = tables(names_max=1)
    found.feed([read(closed(tenant="old"))])
    later = NOW + 40 * 86_400
    assert found.purge(later) > 0
    found.feed([read(closed(later, tenant="new"), 1, recorded=later)])
    assert names(found, "tenant") == {"new"}


def test_an_amendment_is_no_second_case_and_costs_nothing_again() -> None:
    found = tables()
    found.feed([read(closed(status="failed", usage={"usd": "0.5"}))])
    found.feed([read(closed(amends="c:1", usage={"usd": "0.7"}, steps=(step(),)), 1)])
    everything = cell(found, ALL)
    assert (everything.n, everything.amended, everything.micro_usd) == (1, 1, 500_000)
    assert names(found, "agent") == set()


def test_decisions_and_ratings_are_counted_beside_cases() -> None:
    found = tables()
    for at, ending in enumerate(("approve", "reject", "correct", "expired", "withdrawn")):
        fact = DecisionFact(
            case_id="c",
            approval_id="c:a",
            workflow="ticket",
            ending=ending,  # type: ignore[arg-type]
            overridden=ending in ("reject", "correct"),
            at=instant(NOW),
        )
        found.feed([read(fact, at)])
    rating = FeedbackFact(
        case_id="c", feedback_id="f", workflow="ticket", rating=4, corrected=True, at=instant(NOW)
    )
    found.feed([read(rating, 5)])
    workflow = cell(found, Subject("workflow", "ticket"))
    assert workflow.n == 0
    assert workflow.override_rate == 2 / 3
    assert workflow.undecided == 1
    assert (workflow.ratings, workflow.rating_sum, workflow.corrected) == (1, 4, 1)


def test_days_are_counted_from_the_first_fact_on() -> None:
    found = tables()
    assert found.days(NOW) == 0
    hour = NOW // 3600 * 3600
    found.feed([read(closed(hour - 7200))])
    assert round(found.days(hour) * 24) == 2
