"""The invariants I1-I10 of `coordinator/README.md` as pure functions over the evidence of a run.

Each returns complaints in words; none means that it holds. What concerns single steps is in
`steps`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from caseworks.check import effects, letters, spared, steps, workflows
from caseworks.check.evidence import Evidence, Read, State
from coordinator.partition import PartitionState
from events.broker import TopicPartition
from events.errors import StateLostError
from events.memory.journal import Wrote
from events.partitioner import partition_of
from schemas.commands import Opened, Replay
from schemas.lean_case import CLOSED, Case, ClosedCase

Complaints = Iterator[str]
Rule = Callable[[Evidence], Complaints]


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold, and what shows it."""

    rule: str
    text: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.rule}: {self.text}"


def violations(evidence: Evidence) -> list[Violation]:
    """All that is wrong with a run, the plainest rules first."""
    return [Violation(name, text) for name, rule in RULES for text in rule(evidence)]


# --- I1


def one_result(evidence: Evidence) -> Complaints:
    """Every accepted event ends in exactly one result, or in an open case that waits visibly."""
    results: dict[str, list[Read]] = defaultdict(list)
    for read in evidence.results:
        results[read.said.event.id].append(read)
    refused = evidence.refused
    topic = evidence.settings.topics.events
    copies = Counter(w.message.header("ce_id") for _, w in evidence.by_topic.get(topic, ()))
    for event in {event.id: event for event in evidence.events}.values():
        plain = [r for r in results[event.id] if r.said.amends is None]
        answers = len(plain) + refused[event.id]
        if len(plain) > 1 or answers > copies[event.id]:
            said = ", ".join(r.said.status for r in plain)
            aside = f" and {refused[event.id]} dead letters" if refused[event.id] else ""
            yield f"event {event.id} has {len(plain)} results ({said}){aside}"
        if not answers and not _waits(evidence, event.case_id):
            yield f"event {event.id} has no result, and its case does not wait for anything"
    names = Counter(read.message.header("ce_id") for read in evidence.results)
    for name, count in names.items():
        if count > 1:
            yield f"{count} results have the id {name}"
    yield from _amendments(evidence, results)


def _amendments(evidence: Evidence, results: dict[str, list[Read]]) -> Complaints:
    replayed: dict[str, set[str]] = defaultdict(set)
    for read in evidence.commands:
        if isinstance(read.said, Replay):
            replayed[read.said.case_id].add(read.said.command_id)
    for event_id, found in results.items():
        if not found:
            continue
        amends = [read for read in found if read.said.amends is not None]
        allowed = len(replayed[found[0].said.case_id])
        if len(amends) > allowed:
            yield f"event {event_id} has {len(amends)} amended results after {allowed} replays"
        before: set[str | None] = set()
        for read in found:
            if read.said.amends is not None and read.said.amends not in before:
                yield f"a result of {event_id} amends {read.said.amends}, which was not published"
            before.add(read.message.header("ce_id"))


def _waits(evidence: Evidence, case_id: str) -> bool:
    """Whether an open case stands in the changelog; I4 says whether its waiting has an end."""
    history = evidence.histories.get(case_id)
    last = history[-1].said if history else None
    return isinstance(last, Case) and last.status not in CLOSED


# --- I2


def input_with_its_effects(evidence: Evidence) -> Complaints:
    """An input offset is committed only together with, or after, everything it caused."""
    topics = evidence.settings.topics
    loops = {topics.loop_group("intake"), topics.loop_group("orchestrator")}
    for _, moved in evidence.moves:
        if moved.group in loops and moved.transaction is None:
            yield f"{moved.group} committed positions outside of a transaction"
    for turn in evidence.turns:
        for partition in {
            w.message.partition for w in turn.wrote if w.message.topic == topics.cases
        } - turn.moved.keys():
            yield (
                f"a transaction changed cases of partition {partition} and carried no position "
                "of its inbox: nothing fences it (rule 2)"
            )
    yield from _recorded_positions(evidence)
    yield from _events_taken_in(evidence)
    yield from _taken_once(evidence)
    yield from _commands_taken_in(evidence)


def _recorded_positions(evidence: Evidence) -> Complaints:
    """The changelog's own record of the position agrees with the committed one."""
    said = {id(r.message): r.said for reads in evidence.positions.values() for r in reads}
    for turn in evidence.turns:
        recorded = {
            wrote.message.partition: said[id(wrote.message)]
            for wrote in turn.wrote
            if id(wrote.message) in said
        }
        for partition, (_, to) in turn.moved.items():
            if recorded.get(partition) != to:
                yield (
                    f"inbox {partition} was committed at {to}, and the changelog says "
                    f"{recorded.get(partition)}"
                )


def _events_taken_in(evidence: Evidence) -> Complaints:
    """Every event below intake's position was opened or refused."""
    topics = evidence.settings.topics
    group, refused = topics.loop_group("intake"), evidence.refused
    opened = {r.said.event.id for r in evidence.commands if isinstance(r.said, Opened)}
    by_type = {kind for plan in evidence.plans.values() for kind in plan.spec.on}
    for _, wrote in evidence.by_topic.get(topics.events, ()):
        message = wrote.message
        name = message.header("ce_id") or ""
        done = evidence.final.get((group, message.source), 0) > message.offset
        if not done or name in opened or refused[name] or message.header("ce_type") not in by_type:
            continue
        yield f"intake committed a position behind event {name} and neither opened nor refused it"


def _taken_once(evidence: Evidence) -> Complaints:
    """A transaction of intake writes no more records than it takes events."""
    topics = evidence.settings.topics
    group = topics.loop_group("intake")
    wrote: Counter[int] = Counter()
    for entry in evidence.entries:
        if isinstance(entry, Wrote) and entry.transaction is not None:
            wrote[id(entry.transaction)] += 1
    before: dict[TopicPartition, int] = {}
    for _, moved in evidence.moves:
        if moved.group != group or moved.transaction is None:
            continue
        taken = sum(to - before.get(tp, 0) for tp, to in moved.positions.items())
        before |= moved.positions
        if wrote[id(moved.transaction)] > taken:
            ends = ", ".join(f"{tp.partition}@{to}" for tp, to in moved.positions.items())
            yield f"intake went on to {ends} by {taken} and wrote {wrote[id(moved.transaction)]}"


def _commands_taken_in(evidence: Evidence) -> Complaints:
    """Every command below the inbox's position opened its case, or was passed on or set aside."""
    homes = evidence.settings.inbox_partitions
    at_home = {
        (read.said.case_id, read.message.header("ce_id"))
        for read in evidence.commands
        if read.said and partition_of(read.said.case_id.encode(), homes) == read.message.partition
    }
    for turn in evidence.turns:
        for read in turn.heard:
            command, message = read.said, read.message
            if command is None or read.spot in evidence.aside:
                continue
            home = partition_of(command.case_id.encode(), homes)
            if home != message.partition:
                if (command.case_id, message.header("ce_id")) not in at_home:
                    yield f"{command.ce_type} at {read.place} was not passed on to partition {home}"
            elif isinstance(command, Opened) and command.case_id not in evidence.histories:
                yield f"{command.case_id} was opened at {read.place} and is in no changelog"


# --- I5


def changelog_is_the_state(evidence: Evidence) -> Complaints:
    """Replaying the changelog gives the live state, and so does its compacted form."""
    records: dict[int, list[Wrote]] = defaultdict(list)
    for _, wrote in evidence.by_topic.get(evidence.settings.topics.cases, ()):
        records[wrote.message.partition].append(wrote)
    for partition, live in evidence.live.items():
        messages = [wrote.message for wrote in records[partition]]
        newest = {message.key: message for message in messages}
        compacted = sorted(newest.values(), key=lambda message: message.offset)
        for name, log in (("the changelog", messages), ("its compacted form", compacted)):
            replayed = PartitionState(evidence.keep_s)
            for start in range(0, len(log), 7):  # in slices, as a restore reads it
                replayed.restore(log[start : start + 7], 0)
            if replayed.position != live.position and messages:
                at = f"at {replayed.position}, the state at {live.position}"
                yield f"{name} of partition {partition} is {at}"
            for case_id in evidence.histories:
                if partition_of(case_id.encode(), evidence.settings.inbox_partitions) != partition:
                    continue
                mine, theirs = _picture(live, case_id), _picture(replayed, case_id)
                if mine != theirs:
                    yield f"case {case_id} is {mine} in memory, and {theirs} by {name}"


def _picture(state: State, case_id: str) -> str:
    try:
        case = state.load(case_id)
    except StateLostError as error:
        return f"lost: {error}"
    closed = case_id in state.closed
    if case is None:
        return "closed" if closed else "unknown"
    return f"{case.status}{' and closed' if closed else ''} {case.to_compact_json().decode()}"


# --- I8


def commits_keep_behind(evidence: Evidence) -> Complaints:
    """A commit never passes an unfinished offset, never goes back, and none comes after a loss."""
    before: dict[tuple[str, object], int] = {}
    for _, moved in evidence.moves:
        if moved.strays:
            names = ", ".join(f"{tp.topic}/{tp.partition}" for tp in moved.strays)
            yield f"{moved.member} committed positions of {names}, which it did not own"
        for tp, to in moved.positions.items():
            was = before.get((moved.group, tp), 0)
            if to < was:
                yield f"{moved.group} went back on {tp.topic}/{tp.partition}: {was} to {to}"
            before[moved.group, tp] = to
    yield from _answered_before_commit(evidence)


def _answered_before_commit(evidence: Evidence) -> Complaints:
    """A task's position is committed only once its outcome or its dead letter is in the log."""
    answered: dict[tuple[str, int, int], int] = {}
    for read in evidence.outcomes:
        if (d := read.said.delivery) is not None:
            answered.setdefault((d.topic, d.partition, d.offset), read.at)
    for read in evidence.letters:
        if (letter := read.said) is not None:
            answered.setdefault((letter.topic, letter.partition, letter.offset), read.at)
    topics = evidence.settings.topics
    by_group = {topics.workers_group(agent): agent for agent in evidence.agents}
    tasks: dict[tuple[str, int], list[Read]] = defaultdict(list)
    for read in evidence.tasks:
        tasks[read.message.source].append(read)
    passed: set[tuple[str, int, int]] = set()
    for at, moved in evidence.moves:
        if moved.group not in by_group:
            continue
        for tp, to in moved.positions.items():
            for read in tasks[tp]:
                place = (tp.topic, tp.partition, read.message.offset)
                if place[2] >= to or place in passed:
                    continue
                passed.add(place)
                if answered.get(place, at) >= at:
                    yield (
                        f"{moved.member} committed {tp.topic}/{tp.partition} at {to}, past the "
                        f"task at {place[2]}, which nobody had answered"
                    )


# --- I10


def bounded(evidence: Evidence) -> Complaints:
    """Everything is bounded: what a case holds, what a worker holds, how often a step is sent."""
    limit = evidence.settings.case_bytes_max + evidence.settings.event_bytes_max
    for case_id, history in evidence.histories.items():
        for read in history:
            size = len(read.message.value or b"")
            if size > limit:
                yield f"case {case_id} holds {size} bytes, at most {limit}"
    for agent, most in evidence.in_flight.items():
        # As many again may wait until their answers are acknowledged.
        allowed = 2 * min(evidence.agents[agent].in_flight_max, evidence.settings.in_flight_max)
        if most > allowed:
            yield f"a worker of {agent} held {most} tasks, at most {allowed}"
    yield from steps.attempts_are_bounded(evidence)
    yield from workflows.rounds_and_items_are_bounded(evidence)


def _forgotten_in_time(evidence: Evidence, held: Case | ClosedCase) -> bool:
    settings = evidence.settings
    keep_s = settings.dedupe_window_s if isinstance(held, ClosedCase) else evidence.keep_s
    closed = held.closed
    return closed is not None and closed + keep_s <= evidence.now + evidence.skew_s


def closed_stays_closed(evidence: Evidence) -> Complaints:
    """A closed case opens again by a replay only, and goes on where it was."""
    for case_id, history in evidence.histories.items():
        for before, after in pairwise(history):
            old, new = before.said, after.said
            if isinstance(old, ClosedCase) and isinstance(new, Case):
                yield f"case {case_id} was closed for good and is {new.status} again"
            if new is None and old is not None and not _forgotten_in_time(evidence, old):
                yield f"case {case_id} was forgotten before its time"
            if isinstance(old, Case) and isinstance(new, Case) and new.published < old.published:
                yield f"case {case_id} has fewer results than before: {new.published}"


RULES: tuple[tuple[str, Rule], ...] = (
    ("I1", one_result),
    ("I1", closed_stays_closed),
    ("I2", input_with_its_effects),
    ("I3", steps.complete_once),
    ("I3", workflows.maps_are_whole),
    ("I3", workflows.undone_once_in_reverse),
    ("I4", steps.waits_end),
    ("I4", steps.nothing_is_forgotten),
    ("I4", workflows.questions_end_once),
    ("I3", spared.answers_stay_with_their_tenant),
    ("I4", spared.nobody_waits_alone),
    ("I10", spared.links_are_asked_once),
    ("I5", changelog_is_the_state),
    ("I6", steps.within_budget),
    ("I7", steps.in_order),
    ("I8", commits_keep_behind),
    ("I9", letters.dead_letters_are_whole),
    ("I9", letters.letters_are_waited_for),
    ("I10", bounded),
    ("I13", effects.called_at_most_once),
)
