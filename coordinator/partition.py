"""The state of one inbox partition: open cases as compact bytes, closed ones as digests.

Its changelog tells records apart by their key: `<case id>` is a case, `<case id>/<name>` a part of
one, `@<id>` an entity of its own (a correlation), a null byte and a text a note of the partition.
The bytes lie in a `Store` under the same keys; timers, digests and what is decoded lie in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from pydantic import ValidationError

from coordinator.case import next_due
from coordinator.case_record import decode_case, encode_case, keeps_whole, read_record, unreadable
from coordinator.closed import ENTRY, ClosedCases, entry_of
from coordinator.store import ENTITY_MARK, NOTE_MARK, PART_MARK, DictStore, is_part
from coordinator.timers import Timers
from events.broker import Message
from events.errors import StateLostError
from events.store import Mark, Store
from schemas.lean_case import Case, ClosedCase, Position

__all__ = [
    "DUE",
    "ENTITY_MARK",
    "NOTE_MARK",
    "PART_MARK",
    "POSITION_KEY",
    "PartitionState",
    "encode_case",
    "keeps_whole",
]

POSITION_KEY = b"\x00pos"
DUE = "cw-due"
"""Header of an entity's record: when it needs a tick, in seconds since the epoch."""
RECENT_MAX = 2000
"""Decoded cases held per partition beside their bytes, unless the orchestrator says otherwise."""


class PartitionState:
    """What the orchestrator knows of one partition, restored from its changelog."""

    position: int | None
    """The inbox position in the newest position record."""

    def __init__(self, keep_s: float, store: Store | None = None) -> None:
        """*keep_s*: how long a closed case with a live dead letter is kept, in seconds.

        Begins with what the store found; `forget_all` begins anew.
        """
        self.keep_s = keep_s
        self.store: Store = store if store is not None else DictStore()
        self.recent_max = RECENT_MAX
        self._begin()
        if (found := self.store.found) is not None:
            self.log_offset, self.position, self.seen_at = (
                found.log_offset,
                found.position,
                found.at,
            )
            for key, due in self.store.entries():
                self._found(key, due)
            for entries in self.store.remembered():
                for at in range(0, len(entries), ENTRY):
                    self.closed.add_entry(entries[at : at + ENTRY])

    def _found(self, key: str, due: float | None) -> None:
        if due is not None:
            self.arm(key, due)
        elif is_part(key):
            self._parted[key.partition(PART_MARK)[0]] = None
        elif key.startswith(NOTE_MARK):
            self._notes[key.removeprefix(NOTE_MARK)] = self.store.get(key) or b""

    def _begin(self) -> None:
        self._recent: OrderedDict[str, tuple[Case, int]] = OrderedDict()
        """The cases used last, decoded, with their bytes' length: most commands are for these."""
        self._notes: dict[str, bytes] = {}
        """Few, and asked for with every command: held here as well."""
        self._parted: dict[str, None] = {}
        """Cases that have parts."""
        self.closed = ClosedCases()
        self.timers = Timers()
        """One per open (or kept) case."""
        self.alarms = Timers()
        """One per entity."""
        self.log_offset = 0
        """The next changelog record to read when the partition is assigned again."""
        self.position = None
        self.seen_at = 0.0
        """When the changelog was last known to end at `log_offset`."""

    def forget_all(self) -> None:
        """Throw everything away: the changelog is read from its beginning."""
        self.store.clear()
        self._begin()

    def load(self, case_id: str) -> Case | None:
        """An open (or kept) case, decoded."""
        recent = self._recent.get(case_id)
        if recent is not None:
            return recent[0]
        data = self.store.get(case_id)
        if data is None:
            if case_id in self.timers:
                why = f"case {case_id} is open, and its store does not have it"
                raise StateLostError(why, partition=self.store.partition)
            return None
        case = decode_case(data)
        self._hold(case, len(data))
        return case

    def size_of(self, case_id: str) -> int:
        """How many bytes an open case has; 0 for another."""
        recent = self._recent.get(case_id)
        if recent is not None:
            return recent[1]
        return len(self.store.get(case_id) or b"")

    def put(self, case: Case, data: bytes) -> None:
        """An open or kept case as of now."""
        due = next_due(case, self.keep_s)
        self.store.put(case.case_id, data, due)
        self._hold(case, len(data))
        self.timers.arm(case.case_id, due)

    def _hold(self, case: Case, size: int) -> None:
        recent = self._recent
        recent[case.case_id] = (case, size)
        recent.move_to_end(case.case_id)
        while len(recent) > self.recent_max:
            recent.popitem(last=False)

    def close(self, case_id: str, closed: float) -> None:
        """A case that only needs remembering."""
        self.forget(case_id)
        entry = entry_of(case_id, closed)
        self.closed.add_entry(entry)
        self.store.remember(entry)

    def forget(self, case_id: str) -> None:
        """A tombstone; the parts of the case go with it."""
        self.store.put(case_id, None)
        self._recent.pop(case_id, None)
        self.timers.disarm(case_id)
        if case_id in self._parted:
            for key in self.store.names(f"{case_id}{PART_MARK}"):
                self.store.put(key, None)
            del self._parted[case_id]

    def forget_closed(self, entries: list[tuple[int, bytes]]) -> None:
        """These left the dedupe window."""
        self.closed.forget(entries)
        self.store.forget_before(self.closed.oldest)

    # --- time

    def arm(self, key: str, due: float) -> None:
        """Tick a case or an entity then, or earlier if it is armed for earlier."""
        self._timers_of(key).arm(key, due)

    def fired(self, now: float, keys: list[str]) -> None:
        """These were ticked in a committed turn."""
        self.timers.fired(now, keys)
        self.alarms.fired(now, keys)

    def _timers_of(self, key: str) -> Timers:
        return self.alarms if key.startswith(ENTITY_MARK) else self.timers

    # --- what stands beside the cases; all values are opaque here

    def part(self, case_id: str, name: str) -> bytes | None:
        """A part of a case."""
        return self.store.get(f"{case_id}{PART_MARK}{name}")

    def part_names(self, case_id: str) -> tuple[str, ...]:
        """The names of a case's parts, in no particular order."""
        if case_id not in self._parted:
            return ()
        prefix = f"{case_id}{PART_MARK}"
        return tuple(key.removeprefix(prefix) for key in self.store.names(prefix))

    def put_part(self, case_id: str, name: str, data: bytes | None) -> None:
        """A part as of now; `None` drops it."""
        self.store.put(f"{case_id}{PART_MARK}{name}", data)
        if data is not None:
            self._parted[case_id] = None

    def note(self, key: str) -> bytes | None:
        """A note of the partition; its key stands here without the null byte of the changelog."""
        return self._notes.get(key)

    def notes(self, prefix: str) -> dict[str, bytes]:
        """All notes whose key begins so."""
        return {key: data for key, data in self._notes.items() if key.startswith(prefix)}

    def put_note(self, key: str, data: bytes | None) -> None:
        """A note as of now; `None` drops it."""
        self.store.put(f"{NOTE_MARK}{key}", data)
        if data is None:
            self._notes.pop(key, None)
        else:
            self._notes[key] = data

    def entity(self, key: str) -> bytes | None:
        """An entity with a due time of its own; its key begins with `@`."""
        return self.store.get(key)

    def put_entity(self, key: str, data: bytes | None, due: float | None) -> None:
        """An entity as of now, to be ticked when due; `None` drops it and its timer."""
        self.store.put(key, data, due)
        self.alarms.disarm(key)
        if data is not None and due is not None:
            self.alarms.arm(key, due)

    # --- restore

    def restore(self, messages: Sequence[Message], upto: int) -> None:
        """Apply changelog records; of each key only the newest counts.

        Raises `ChangelogError` for a record that cannot be read; the state is of no use then.
        """
        newest = {message.key: message for message in messages}
        position = newest.pop(POSITION_KEY, None)
        if position is not None:
            self._restore_position(position)
        beside = []
        for key, message in newest.items():
            if key is None:
                continue
            name = key.decode()
            if name[:1] in (NOTE_MARK, ENTITY_MARK) or PART_MARK in name:
                beside.append((name, message))
            else:
                self._restore_case(name, message)
        for name, message in beside:  # after the cases: a closing one takes its parts along
            self._restore_beside(name, message)
        self.commit(upto)

    def commit(self, log_offset: int | None) -> None:
        """What was changed so far is the state as of here; `None`: how far that is is not known."""
        if log_offset is not None:
            self.log_offset = log_offset
        self.store.mark(Mark(self.log_offset, self.position, self.seen_at))

    def _restore_position(self, message: Message) -> None:
        try:
            position = Position.from_json(message.value or b"")
        except ValidationError:
            raise unreadable(message, "it is no position") from None
        self.position = position.inbox

    def _restore_beside(self, key: str, message: Message) -> None:
        if key.startswith(NOTE_MARK):
            self.put_note(key.removeprefix(NOTE_MARK), message.value)
        elif key.startswith(ENTITY_MARK):
            due = message.header(DUE)
            self.put_entity(key, message.value, None if due is None else float(due))
        else:
            case_id, _, name = key.partition(PART_MARK)
            self.put_part(case_id, name, message.value)

    def _restore_case(self, case_id: str, message: Message) -> None:
        case = read_record(message)
        if case is None:
            self.forget(case_id)
            self.closed.discard(case_id)
        elif isinstance(case, ClosedCase):
            self.close(case_id, case.closed)
        else:
            if case.published:
                self.closed.discard(case_id)  # it was closed, and a replay opened it again
            due = next_due(case, self.keep_s)
            self.store.put(case_id, message.value, due)
            self._recent.pop(case_id, None)
            self.timers.disarm(case_id)
            self.timers.arm(case_id, due)

    @property
    def open_count(self) -> int:
        """Cases that are open, or closed and kept for their dead letter."""
        return len(self.timers)
