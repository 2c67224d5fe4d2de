"""The state of one inbox partition: open cases as compact bytes, closed ones as digests.

Its changelog tells records apart by their key: `<case id>` is a case, `<case id>/<name>` a part of
one, `@<id>` an entity of its own (a correlation), a null byte and a text a note of the partition.
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.case import next_due
from coordinator.closed import ClosedCases
from coordinator.timers import Timers
from events.broker import Message
from schemas.case import CLOSED, Case, ClosedCase, Position

POSITION_KEY = b"\x00pos"
NOTE_MARK = "\0"
PART_MARK = "/"
ENTITY_MARK = "@"
DUE = "cw-due"
"""Header of an entity's record: when it needs a tick, in seconds since the epoch."""
RECENT_MAX = 2000
"""Decoded cases held per partition beside their bytes."""
_CLOSED_MARK = b'{"closed":'
"""How a `ClosedCase` begins: told apart from an open one without parsing."""


class PartitionState:
    """What the orchestrator knows of one partition, restored from its changelog."""

    def __init__(self, keep_s: float) -> None:
        """*keep_s*: how long a closed case with a live dead letter is kept, in seconds."""
        self.keep_s = keep_s
        self.cases: dict[str, bytes] = {}
        self._recent: dict[str, Case] = {}
        """The cases changed last, decoded: most commands are for one of these."""
        self._parts: dict[str, dict[str, bytes]] = {}
        self._notes: dict[str, bytes] = {}
        self._entities: dict[str, bytes] = {}
        self.closed = ClosedCases()
        self.timers = Timers()
        self.log_offset = 0
        """The next changelog record to read when the partition is assigned again."""
        self.position: int | None = None
        """The inbox position in the newest position record."""

    def load(self, case_id: str) -> Case | None:
        """An open (or kept) case, decoded."""
        recent = self._recent.get(case_id)
        if recent is not None:
            return recent
        data = self.cases.get(case_id)
        return None if data is None else Case.from_json(data)

    def put(self, case: Case, data: bytes) -> None:
        """An open or kept case as of now."""
        self.cases[case.case_id] = data
        self._recent.pop(case.case_id, None)
        self._recent[case.case_id] = case
        if len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]
        self.timers.arm(case.case_id, next_due(case, self.keep_s))

    def close(self, case_id: str, closed: float) -> None:
        """A case that only needs remembering."""
        self.forget(case_id)
        self.closed.add(case_id, closed)

    def forget(self, case_id: str) -> None:
        """A tombstone; the parts of the case go with it."""
        self.cases.pop(case_id, None)
        self._recent.pop(case_id, None)
        self._parts.pop(case_id, None)
        self.timers.disarm(case_id)

    # --- what stands beside the cases; all values are opaque here

    def part(self, case_id: str, name: str) -> bytes | None:
        """A part of a case."""
        parts = self._parts.get(case_id)
        return None if parts is None else parts.get(name)

    def part_names(self, case_id: str) -> tuple[str, ...]:
        """The names of a case's parts, in no particular order."""
        return tuple(self._parts.get(case_id, ()))

    def put_part(self, case_id: str, name: str, data: bytes | None) -> None:
        """A part as of now; `None` drops it."""
        if data is not None:
            self._parts.setdefault(case_id, {})[name] = data
            return
        parts = self._parts.get(case_id, {})
        parts.pop(name, None)
        if not parts:
            self._parts.pop(case_id, None)

    def note(self, key: str) -> bytes | None:
        """A note of the partition; its key stands here without the null byte of the changelog."""
        return self._notes.get(key)

    def notes(self, prefix: str) -> dict[str, bytes]:
        """All notes whose key begins so."""
        return {key: data for key, data in self._notes.items() if key.startswith(prefix)}

    def put_note(self, key: str, data: bytes | None) -> None:
        """A note as of now; `None` drops it."""
        _put(self._notes, key, data)

    def entity(self, key: str) -> bytes | None:
        """An entity with a due time of its own; its key begins with `@`."""
        return self._entities.get(key)

    def put_entity(self, key: str, data: bytes | None, due: float | None) -> None:
        """An entity as of now, to be ticked when due; `None` drops it and its timer."""
        _put(self._entities, key, data)
        self.timers.disarm(key)
        if data is not None and due is not None:
            self.timers.arm(key, due)

    def restore(self, messages: Sequence[Message], upto: int) -> None:
        """Apply changelog records; of each key only the newest counts.

        Raises `pydantic.ValidationError` for a record that no version of ours wrote.
        """
        newest = {message.key: message for message in messages}
        position = newest.pop(POSITION_KEY, None)
        if position is not None and position.value is not None:
            self.position = Position.from_json(position.value).inbox
        beside = []
        for key, message in newest.items():
            if key is None:
                continue
            name = key.decode()
            if name[:1] in (NOTE_MARK, ENTITY_MARK) or PART_MARK in name:
                beside.append((name, message))
            else:
                self._restore_case(name, message.value)
        for name, message in beside:  # after the cases: a closing one takes its parts along
            self._restore_beside(name, message)
        self.log_offset = upto

    def _restore_beside(self, key: str, message: Message) -> None:
        if key.startswith(NOTE_MARK):
            self.put_note(key.removeprefix(NOTE_MARK), message.value)
        elif key.startswith(ENTITY_MARK):
            due = message.header(DUE)
            self.put_entity(key, message.value, None if due is None else float(due))
        else:
            case_id, _, name = key.partition(PART_MARK)
            self.put_part(case_id, name, message.value)

    def _restore_case(self, case_id: str, value: bytes | None) -> None:
        if value is None:
            self.forget(case_id)
            self.closed.discard(case_id)
        elif value.startswith(_CLOSED_MARK):
            self.close(case_id, ClosedCase.from_json(value).closed)
        else:
            case = Case.from_json(value)
            if case.published:
                self.closed.discard(case_id)  # it was closed, and a replay opened it again
            self.cases[case_id] = value
            self._recent.pop(case_id, None)
            self.timers.disarm(case_id)
            self.timers.arm(case_id, next_due(case, self.keep_s))

    @property
    def open_count(self) -> int:
        """Cases held in memory."""
        return len(self.cases)


def _put(into: dict[str, bytes], key: str, data: bytes | None) -> None:
    if data is None:
        into.pop(key, None)
    else:
        into[key] = data


def encode_case(case: Case | None) -> bytes | None:
    """A case as a changelog record: whole while it may go on, else a mark; `None`: a tombstone."""
    if case is None:
        return None
    if keeps_whole(case):
        return case.to_compact_json()
    return ClosedCase(closed=case.closed or 0.0, status=case.status).to_json()


def keeps_whole(case: Case) -> bool:
    """A closed case is kept whole only while a dead letter may bring it back."""
    return case.status not in CLOSED or bool(case.dead_letters)
