"""What is written to replay or drop a dead letter, and why it is refused. Pure.

A task goes back into its case by a command whose id is the letter's place, so that replaying it
twice, or by two people at once, has one effect. An event goes back to the events under its own
name: a duplicate of an event that was accepted meanwhile is the same case. A command goes back to
the inbox. A dead letter of a dead letter there is not: what died in a dead-letter topic stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caseworks.dead_mail.changes import Given
from caseworks.dead_mail.letters import DLQ, Dead, Kind, kind_of
from caseworks.dead_mail.standing import FORGOTTEN, UNKNOWN, Standing, is_closed
from caseworks.inbox import command_record
from events.broker import Record
from events.dead_letters import original_headers
from events.errors import PayloadError
from events.settings import Settings
from schemas.base import instant
from schemas.commands import Drop, Replay
from schemas.dead_letter import PREFIX
from schemas.letter_audit import LetterHandled
from schemas.usage import NOTHING, Usage

NO_CASE = Standing()


@dataclass(frozen=True, slots=True)
class Orders:
    """What somebody wants done, and in whose name."""

    by: str
    now: float
    why: str = ""
    replays_max: int | None = None
    """Letters that were replayed so often already are refused; `None`: no matter how often."""
    force: bool = False
    """Also letters that were handled, or whose case does not seem to wait for them."""
    run: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """What is there: topics with their partitions, and how the cases of the letters stand."""

    settings: Settings
    counts: Mapping[str, int]
    standings: Mapping[str, Standing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remedy:
    """What is written for one letter, in one transaction: a record (or none), and the audit."""

    record: Record | None
    entry: LetterHandled
    told: str
    """What it does, for people."""
    case_id: str = ""
    reused: Mapping[str, Usage] = field(default_factory=dict)
    """The finished steps that are not run again, and what each cost."""


def replay_of(dead: Dead, world: World, orders: Orders, given: Given | None = None) -> Remedy:
    """How to replay a letter. Raises `PayloadError` saying why that cannot be."""
    kind = check_replayable(dead, world, orders)
    if kind == "task":
        return _into_case(dead, world, orders, given)
    letter, message = dead.letter, dead.message
    value = message.value if given is None else given.value
    told = "the event is taken in anew, under its own name"
    if kind == "command":
        told = "the command goes back to the inbox as it was"
    headers = (*original_headers(message), (f"{PREFIX}replays", str(letter.replays + 1).encode()))
    record = Record(letter.topic, message.key, value, headers)
    return Remedy(record, _entry(dead, orders, "replay", letter.topic, given), told)


def drop_of(dead: Dead, world: World, orders: Orders) -> Remedy:
    """How to drop a letter: its case is told, if it has one that waits; the audit says the rest."""
    letter, topics = dead.letter, world.settings.topics
    kind = kind_of(dead.message.topic, topics)
    if kind != "task" or letter.case_id is None or letter.task_id is None:
        return Remedy(None, _entry(dead, orders, "drop"), "it is noted as dropped")
    command = Drop(
        case_id=letter.case_id,
        task_id=letter.task_id,
        command_id=dead.place,
        by=orders.by,
        why=orders.why,
    )
    parts, now = world.counts[topics.inbox], orders.now
    record = command_record(command, world.settings, parts, now, ce_id=f"{dead.place}:drop")
    told = "its case is told that nobody replays it"
    if world.standings.get(letter.case_id, NO_CASE).status == "parked":
        told = "its case waits for it, and fails"
    return Remedy(record, _entry(dead, orders, "drop", topics.inbox), told, letter.case_id)


def check_replayable(dead: Dead, world: World, orders: Orders) -> Kind:
    """What a letter is. Raises `PayloadError` for one that must not be replayed."""
    letter, topics = dead.letter, world.settings.topics
    kind = kind_of(dead.message.topic, topics)
    if dead.is_foreign:
        raise _refused("foreign", dead, "it is no letter of ours: it does not say where it died")
    if letter.topic.endswith(DLQ):
        raise _refused("dead_letter_topic", dead, "it died in a dead-letter topic: it stays there")
    if kind == "other" or topics.dlq(letter.topic) != dead.message.topic:
        told = f"it says that it came from {letter.topic}, whose dead letters do not lie here"
        raise _refused("foreign", dead, told)
    if letter.topic not in world.counts:
        raise _refused("topic_gone", dead, f"its topic {letter.topic} is gone: nobody reads it")
    if orders.replays_max is not None and letter.replays >= orders.replays_max:
        told = f"it was replayed {letter.replays} times and died again: mend it, or --force"
        raise _refused("replays", dead, told)
    return kind


def _into_case(dead: Dead, world: World, orders: Orders, given: Given | None) -> Remedy:
    letter, settings = dead.letter, world.settings
    if letter.case_id is None or letter.task_id is None:
        told = "it does not say whose task it is: publish its event anew, under another id"
        raise _refused("no_case", dead, told)
    standing = world.standings.get(letter.case_id, NO_CASE)
    problem = problem_of(dead, standing)
    if problem and not orders.force:
        raise _refused("case", dead, problem)
    command = Replay(
        case_id=letter.case_id,
        task_id=letter.task_id,
        command_id=dead.place,
        input=given.input if given else None,
        by=orders.by,
        why=orders.why,
    )
    inbox = settings.topics.inbox
    record = command_record(command, settings, world.counts[inbox], orders.now, ce_id=dead.place)
    entry = _entry(dead, orders, "replay", inbox, given)
    return Remedy(record, entry, told_of(dead, standing), letter.case_id, standing.done)


def problem_of(dead: Dead, standing: Standing) -> str:
    """Why the case of a task would not take its replay; empty: it would."""
    if standing.status in (UNKNOWN, FORGOTTEN):
        return f"its case {dead.letter.case_id} is {standing.status}: publish the event anew"
    if not standing.kept:
        return f"its case ended as {standing.status}, and is not kept for it any more"
    if dead.place in standing.replays:
        return "it was replayed before: its case takes it once"
    if standing.status == "undoing":
        return "its case is being undone: replay it when that has ended"
    if dead.letter.task_id not in standing.dead_letters:
        return f"its case ({standing.status}) does not wait for it: it went on, or it was dropped"
    return ""


def told_of(dead: Dead, standing: Standing) -> str:
    """What a replay of a task does, for people."""
    step = (dead.letter.task_id or "").partition(":")[2].partition("#")[0]
    reused = f"; {len(standing.done)} finished steps are not run again" if standing.done else ""
    if is_closed(standing):
        amends = f"{dead.letter.case_id}:{standing.published}"
        return (
            f"{step} is sent again: its case ended as {standing.status} and is opened again, "
            f"its next result amends {amends}{reused}"
        )
    return f"{step} is sent again in its case, which is {standing.status}{reused}"


def saved_by(remedies: Mapping[str, Mapping[str, Usage]]) -> Usage:
    """What was saved altogether; *remedies* by case: several letters of one case save it once."""
    return sum((usage for steps in remedies.values() for usage in steps.values()), NOTHING)


def _entry(
    dead: Dead, orders: Orders, action: Any, to: str = "", given: Given | None = None
) -> LetterHandled:
    command = dead.letter.case_id is not None and bool(to)
    return LetterHandled(
        action=action,
        place=dead.place,
        by=orders.by,
        why=orders.why,
        at=instant(orders.now),
        to=to,
        command_id=dead.place if command else "",
        case_id=dead.letter.case_id,
        task_id=dead.letter.task_id,
        changed=given.changed if given else "",
        run=orders.run,
    )


def _refused(reason: str, dead: Dead, why: str) -> PayloadError:
    return PayloadError(reason, f"{dead.place}: {why}")


def replay_record(dead: Dead, settings: Settings, partitions: int, now: float, by: str) -> Record:
    """What is published to replay a letter as it is, whatever is known of its case.

    *partitions*: of the inbox. Raises `PayloadError`.
    """
    counts = {dead.letter.topic: 1, settings.topics.inbox: partitions}
    remedy = replay_of(dead, World(settings, counts), Orders(by, now, force=True))
    assert remedy.record is not None
    return remedy.record
