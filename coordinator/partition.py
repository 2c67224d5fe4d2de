"""The state of one inbox partition: open cases as compact bytes, closed ones as digests."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.case import next_due
from coordinator.closed import ClosedCases
from coordinator.timers import Timers
from events.broker import Message
from schemas.case import CLOSED, Case, ClosedCase, Position

POSITION_KEY = b"\x00pos"
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
        self.cases.pop(case_id, None)
        self._recent.pop(case_id, None)
        self.timers.disarm(case_id)
        self.closed.add(case_id, closed)

    def forget(self, case_id: str) -> None:
        """A tombstone."""
        self.cases.pop(case_id, None)
        self._recent.pop(case_id, None)
        self.timers.disarm(case_id)

    def restore(self, messages: Sequence[Message], upto: int) -> None:
        """Apply changelog records; of each key only the newest counts.

        Raises `pydantic.ValidationError` for a record that no version of ours wrote.
        """
        newest = {message.key: message.value for message in messages}
        position = newest.pop(POSITION_KEY, None)
        if position is not None:
            self.position = Position.from_json(position).inbox
        for key, value in newest.items():
            if key is not None:
                self._restore_case(key.decode(), value)
        self.log_offset = upto

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
