"""I9: a dead letter holds all that its replay needs."""

from __future__ import annotations

from collections.abc import Iterator

from caseworks.check.evidence import Evidence, Read
from events.broker import Message
from schemas.commands import Replay
from schemas.lean_case import ClosedCase
from schemas.task import Task

Complaints = Iterator[str]
OWN_FAULTS = frozenset(("cannot_apply", "unknown_command", "unknown_workflow", "worker_error"))
"""Reasons of dead letters that nobody but we could cause."""


def dead_letters_are_whole(evidence: Evidence) -> Complaints:
    """A dead letter holds all that its replay needs: the very bytes, and where they stood."""
    originals = {
        (wrote.message.topic, wrote.message.partition, wrote.message.offset): wrote.message
        for found in evidence.by_topic.values()
        for _, wrote in found
    }
    tasks = {read.said.task_id for read in evidence.tasks if read.said}
    for read in evidence.letters:
        letter, message = read.said, read.message
        if letter is None:
            yield f"the dead letter {read.place} does not say where it comes from"
            continue
        if letter.reason in OWN_FAULTS:
            why = f"{letter.reason}: {letter.error}"
            yield f"a fault of ours is a dead letter at {read.place}: {why}"
        original = originals.get((letter.topic, letter.partition, letter.offset))
        if letter.offset >= 0 and not _same(original, message):
            yield f"the dead letter {read.place} does not hold the bytes of its record"
        if letter.task_id is None or letter.offset >= 0:
            continue
        if _as_task(message.value) is None or letter.task_id not in tasks:
            yield f"the dead letter {read.place} holds no task"


def letters_are_waited_for(evidence: Evidence) -> Complaints:
    """A case is kept until each of its dead letters was replayed."""
    replayed = {(r.said.case_id, r.said.task_id) for r in evidence.commands if _is_replay(r)}
    for read in evidence.letters:
        letter = read.said
        if letter is None or letter.task_id is None or letter.case_id not in evidence.histories:
            continue
        last = evidence.histories[letter.case_id][-1].said
        if isinstance(last, ClosedCase) and (letter.case_id, letter.task_id) not in replayed:
            yield f"case {letter.case_id} is closed for good, and its letter {read.place} waits"


def _is_replay(read: Read) -> bool:
    return isinstance(read.said, Replay)


def _same(original: Message | None, letter: Message) -> bool:
    """The same bytes; or the same task, where its outcome did not bring the bytes along."""
    if original is None or original.value == letter.value:
        return original is not None
    task = _as_task(letter.value)
    return task is not None and task == _as_task(original.value)


def _as_task(value: bytes | None) -> Task | None:
    try:
        return Task.from_json(value or b"")
    except ValueError:
        return None
