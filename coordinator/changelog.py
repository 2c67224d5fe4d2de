"""What a turn changed, as records of the changelog (`coordinator.partition` reads them back)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.closed import case_id_of
from coordinator.partition import (
    DUE,
    NOTE_MARK,
    PART_MARK,
    POSITION_KEY,
    encode_case,
    keeps_whole,
)
from events.broker import Record
from schemas.lean_case import Position

if TYPE_CHECKING:
    from coordinator.case_turn import CaseTurn


def write_changelog(turn: CaseTurn) -> None:
    """One record per changed case, tombstones, and the position of each partition."""
    topic, headers = turn.world.writer.topics.cases, turn.world.log_headers
    for (partition, case_id), case in turn.cases.items():
        data = encode_case(case)
        turn.encoded[partition, case_id] = data
        turn.records.append(Record(topic, case_id.encode(), data, headers, partition))
    _drop_parts_of_ended(turn)
    _write_beside(turn)
    for partition, entries in turn.expired.items():
        for _, digest in entries:
            key = case_id_of(digest).encode()
            turn.records.append(Record(topic, key, None, headers, partition))
    for source, position in turn.positions.items():
        value = Position.trusted(inbox=position).to_json()
        turn.marks.append(Record(topic, POSITION_KEY, value, headers, source.partition))


def _drop_parts_of_ended(turn: CaseTurn) -> None:
    """A case that is not kept whole takes its parts along."""
    ended = {key for key, case in turn.cases.items() if case is None or not keeps_whole(case)}
    for partition, case_id in ended:
        for name in turn.world.states[partition].part_names(case_id):
            turn.parts[partition, case_id, name] = None
    for partition, case_id, name in turn.parts:
        if (partition, case_id) in ended:
            turn.parts[partition, case_id, name] = None


def _write_beside(turn: CaseTurn) -> None:
    """Parts, notes and entities that changed."""
    topic, headers = turn.world.writer.topics.cases, turn.world.log_headers
    for (partition, case_id, name), data in turn.parts.items():
        key = f"{case_id}{PART_MARK}{name}".encode()
        turn.records.append(Record(topic, key, data, headers, partition))
    for (partition, note), data in turn.notes.items():
        key = f"{NOTE_MARK}{note}".encode()
        turn.records.append(Record(topic, key, data, headers, partition))
    for (partition, entity), changed in turn.entities.items():
        if changed is None:
            turn.records.append(Record(topic, entity.encode(), None, headers, partition))
        else:
            value, due = changed
            dated = (*headers, (DUE, repr(due).encode()))
            turn.records.append(Record(topic, entity.encode(), value, dated, partition))
