"""Each invariant complains of evidence that breaks it, and of no other.

The evidence is that of a quiet run, in which nothing is wrong, with one thing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from caseworks.check.evidence import Evidence
from caseworks.check.invariants import violations
from caseworks.simulation import Scenario, simulate
from coordinator.partition import POSITION_KEY, PartitionState
from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.memory import QUIET
from events.memory.journal import Entry, Moved, Wrote
from events.memory.log import Transaction
from schemas.lean_case import Case, ClosedCase, Position
from schemas.result import Result
from schemas.task import Task
from schemas.usage import Usage
from tests.sim.mixed_app import app, demo_events


@cache
def good() -> Evidence:
    return simulate(
        app, tuple(demo_events()), 1, scenario=Scenario(faults=QUIET), tracing=False
    ).evidence


def with_entries(entries: Sequence[Entry], **changes: Any) -> Evidence:
    return replace(good(), entries=tuple(entries), **changes)


def said_by(topic: str, kind: str = "") -> Wrote:
    """The last record of a topic whose `ce_type` ends so."""
    found = [
        entry
        for entry in good().entries
        if isinstance(entry, Wrote)
        and entry.message.topic == topic
        and (entry.message.header("ce_type") or "").endswith(kind)
    ]
    return found[-1]


def case_record(closed: bool) -> Wrote:
    found = [
        entry
        for reads in good().histories.values()
        for read in reads
        if isinstance(read.said, ClosedCase) == closed
        for entry in good().entries
        if isinstance(entry, Wrote) and entry.message is read.message
    ]
    return found[-1]


def changed(wrote: Wrote, **fields: Any) -> Wrote:
    return replace(wrote, message=wrote.message._replace(**fields))


def put(old: Entry, new: Entry) -> list[Entry]:
    return [new if entry is old else entry for entry in good().entries]


def rules(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in violations(evidence)}


TOPICS = good().settings.topics
RESULTS = TOPICS.results("order")


def renamed(message: Message, ce_id: str) -> Message:
    headers = tuple((n, ce_id.encode() if n == "ce_id" else v) for n, v in message.headers)
    return message._replace(headers=headers, offset=message.offset + 1)


# --- what is wrong, rule by rule


def a_second_result() -> Evidence:
    wrote = said_by(RESULTS)
    return with_entries([*good().entries, replace(wrote, message=renamed(wrote.message, "other"))])


def a_result_id_used_twice() -> Evidence:
    wrote = said_by(RESULTS)
    value = Result.from_json(wrote.message.value or b"").evolve(
        amends=wrote.message.header("ce_id")
    )
    return with_entries([*good().entries, changed(wrote, value=value.to_json())])


def a_lost_event() -> Evidence:
    wrote = said_by(RESULTS)
    case_id = Result.from_json(wrote.message.value or b"").case_id
    return with_entries(
        [
            entry
            for entry in good().entries
            if entry is not wrote
            and not (isinstance(entry, Wrote) and entry.message.key == case_id.encode())
        ]
    )


def a_case_that_was_closed_for_good_and_is_open() -> Evidence:
    closed = case_record(closed=True)
    history = good().histories[(closed.message.key or b"").decode()]
    offset = closed.message.offset + 100
    return with_entries(
        [*good().entries, changed(closed, value=history[0].message.value, offset=offset)]
    )


def a_tombstone_before_its_time() -> Evidence:
    closed = case_record(closed=True)
    return with_entries([*good().entries, changed(closed, value=None)])


def positions_outside_of_a_transaction() -> Evidence:
    [first, *_] = [e for _, e in good().moves if e.group == TOPICS.loop_group("intake")]
    return with_entries(put(first, replace(first, transaction=None)))


def a_transaction_without_positions() -> Evidence:
    [first, *_] = [e for _, e in good().moves if e.group == TOPICS.loop_group("orchestrator")]
    return with_entries([entry for entry in good().entries if entry is not first])


def a_changelog_that_says_another_position() -> Evidence:
    [wrote, *_] = [
        entry
        for entry in good().entries
        if isinstance(entry, Wrote) and entry.message.key == POSITION_KEY
    ]
    return with_entries(put(wrote, changed(wrote, value=Position(inbox=99).to_json())))


def an_attempt_that_was_sent_twice() -> Evidence:
    wrote = said_by(TOPICS.tasks("ship"))
    return with_entries([*good().entries, changed(wrote, offset=wrote.message.offset + 1)])


def a_step_that_is_done_and_then_not() -> Evidence:
    history = next(reads for reads in good().histories.values() if len(reads) > 4)
    done = next(r for r in history if isinstance(r.said, Case) and _done(r.said))
    late = history[-2]
    case: Case = late.said
    name = _done(done.said)
    steps = {**case.steps, name: case.steps[name].evolve(status="sent")}
    [wrote] = [e for e in good().entries if isinstance(e, Wrote) and e.message is late.message]
    value = case.evolve(steps=steps).to_compact_json()
    return with_entries(put(wrote, changed(wrote, value=value)))


def _done(case: Case) -> str:
    return next((name for name, state in case.steps.items() if state.status == "done"), "")


def a_timer_that_was_forgotten() -> Evidence:
    history = next(reads for reads in good().histories.values() if len(reads) > 3)
    last = history[-1].message
    case = next(r.said for r in reversed(history) if isinstance(r.said, Case))
    steps = {n: s.evolve(status="retrying", due=good().now - 60) for n, s in case.steps.items()}
    [wrote] = [e for e in good().entries if isinstance(e, Wrote) and e.message is last]
    value = case.evolve(steps=steps).to_compact_json()
    return with_entries(put(wrote, changed(wrote, value=value)), live={})


def a_state_that_is_not_the_changelog() -> Evidence:
    return replace(good(), live={0: PartitionState(1.0), 1: PartitionState(1.0)})


def more_spent_than_was_said() -> Evidence:
    wrote = said_by(RESULTS)
    result = Result.from_json(wrote.message.value or b"").evolve(usage=Usage(calls=7))
    return with_entries(put(wrote, changed(wrote, value=result.to_json())))


def an_inbox_that_went_back() -> Evidence:
    found = [
        entry
        for entry in good().entries
        if isinstance(entry, Wrote) and entry.message.key == POSITION_KEY
    ]
    wrote = found[-1]
    return with_entries(put(wrote, changed(wrote, value=Position(inbox=0).to_json())))


def a_task_not_keyed_as_asked() -> Evidence:
    wrote = said_by(TOPICS.tasks("jot"))
    return with_entries(put(wrote, changed(wrote, key=b"something else")))


def a_commit_of_what_is_not_owned() -> Evidence:
    at, moved = good().moves[-1]
    entries = list(good().entries)
    entries[at] = replace(moved, strays=tuple(moved.positions))
    return with_entries(entries)


def a_commit_before_the_outcome() -> Evidence:
    passing = (e for _, e in good().moves if e.group == TOPICS.workers_group("jot"))
    first = next(moved for moved in passing if any(moved.positions.values()))
    task = next(r for r in good().tasks if first.positions.get(r.message.source))
    entries = [entry for entry in good().entries if entry is not first]
    return with_entries([*entries[: task.at + 1], first, *entries[task.at + 1 :]])


def a_dead_letter_with_other_bytes() -> Evidence:
    wrote = said_by(TOPICS.tasks("ship"))
    task = Task.from_json(wrote.message.value or b"")
    letter = letter_for(wrote.message, "failed", case_id=None, task_id=task.task_id)
    record = dead_letter_record(wrote.message, TOPICS.dlq(wrote.message.topic), letter)
    return with_entries([*good().entries, _wrote(record._replace(value=b"{}"))])


def a_letter_that_nobody_will_replay() -> Evidence:
    wrote = said_by(TOPICS.tasks("ship"))
    task = Task.from_json(wrote.message.value or b"")
    letter = letter_for(wrote.message, "failed", case_id=task.case_id, task_id=task.task_id)
    record = dead_letter_record(wrote.message, TOPICS.dlq(wrote.message.topic), letter)
    return with_entries([*good().entries, _wrote(record)])


def a_fault_of_ours() -> Evidence:
    wrote = said_by(TOPICS.inbox, "outcome")
    letter = letter_for(wrote.message, "cannot_apply")
    return with_entries(
        [*good().entries, _wrote(dead_letter_record(wrote.message, f"{TOPICS.inbox}.dlq", letter))]
    )


def _wrote(record: Record) -> Wrote:
    message = Message(record.topic, 0, 0, 0, record.key, record.value, record.headers)
    return Wrote(message, Transaction("t", 0.0))


def a_task_that_nobody_does() -> Evidence:
    group = TOPICS.workers_group("ship")
    left = [e for e in good().entries if not (isinstance(e, Moved) and e.group == group)]
    return with_entries(left, now=good().now + 200.0)


def a_worker_that_holds_too_much() -> Evidence:
    return replace(good(), in_flight={"ship": 65})


def a_case_that_is_too_large() -> Evidence:
    history = next(reads for reads in good().histories.values() if isinstance(reads[0].said, Case))
    case = history[0].said
    limit = good().settings.case_bytes_max + good().settings.event_bytes_max
    value = case.evolve(reason="x" * limit).to_compact_json()
    [wrote] = [
        e for e in good().entries if isinstance(e, Wrote) and e.message is history[0].message
    ]
    return with_entries(put(wrote, changed(wrote, value=value)))


WRONG: dict[Callable[[], Evidence], str] = {
    a_second_result: "I1",
    a_result_id_used_twice: "I1",
    a_lost_event: "I1",
    a_case_that_was_closed_for_good_and_is_open: "I1",
    a_tombstone_before_its_time: "I1",
    positions_outside_of_a_transaction: "I2",
    a_transaction_without_positions: "I2",
    a_changelog_that_says_another_position: "I2",
    an_attempt_that_was_sent_twice: "I3",
    a_step_that_is_done_and_then_not: "I3",
    a_timer_that_was_forgotten: "I4",
    a_task_that_nobody_does: "I4",
    a_state_that_is_not_the_changelog: "I5",
    more_spent_than_was_said: "I6",
    an_inbox_that_went_back: "I7",
    a_task_not_keyed_as_asked: "I7",
    a_commit_of_what_is_not_owned: "I8",
    a_commit_before_the_outcome: "I8",
    a_dead_letter_with_other_bytes: "I9",
    a_letter_that_nobody_will_replay: "I9",
    a_fault_of_ours: "I9",
    a_worker_that_holds_too_much: "I10",
    a_case_that_is_too_large: "I10",
}


def test_of_a_quiet_run_nobody_complains() -> None:
    assert violations(good()) == []
    assert good().live.keys() == {0, 1}
    assert len(good().results) == len(good().events)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_each_rule_complains_of_what_breaks_it(wrong: Callable[[], Evidence]) -> None:
    assert WRONG[wrong] in rules(wrong())


def test_every_rule_is_broken_here() -> None:
    assert set(WRONG.values()) == {f"I{number}" for number in range(1, 11)}


def test_moved_positions_are_told_with_their_owner() -> None:
    workers = [e for _, e in good().moves if isinstance(e, Moved) and "worker" in e.group]

    assert workers
    assert all(moved.strays == () for moved in workers)
