"""Records of the changelog: their version, and what becomes of one that nobody can read."""

from __future__ import annotations

import json

import pytest

from coordinator.case import apply
from coordinator.case_record import decode_case, encode_case, read_record
from coordinator.partition import PartitionState
from events.broker import Message
from events.errors import ChangelogError
from schemas.lean_case import CASE_VERSION, Case
from tests.unit.machine import START, Machine, diamond, event, opened


def some_case() -> Case:
    plan = diamond()
    case, _ = apply(None, opened(plan), START, plan)
    assert case is not None
    return case


def record(value: bytes | None, key: bytes = b"k", offset: int = 17) -> Message:
    return Message("cw.cases", 3, offset, 0, key, value, ())


def test_a_case_says_its_version_and_comes_back() -> None:
    case = some_case()
    data = encode_case(case)

    assert data is not None
    assert data.startswith(b'{"v":%d,"case_id":' % CASE_VERSION)
    assert decode_case(data) == case


def test_a_case_written_piece_by_piece_is_the_one_that_it_is() -> None:
    machine = Machine(business=event(subject='ü"').evolve(data={"a": [1, None, 1.5, "\u2028"]}))
    machine.says("triage", output={"text": 'ü"'}, confidence=0.5)
    machine.says("kb", "retry")
    for _ in range(2):
        data = encode_case(machine.case)

        assert data is not None
        assert decode_case(data) == machine.case
        assert json.loads(data) == {"v": 1} | json.loads(machine.case.to_compact_json())
        machine.says("billing")


def test_a_record_that_does_not_say_its_version_is_of_the_first() -> None:
    assert decode_case(some_case().to_compact_json()).case_id == some_case().case_id


def test_a_record_of_a_later_version_names_its_place_and_both_versions() -> None:
    data = (encode_case(some_case()) or b"").replace(b'{"v":1,', b'{"v":9,')
    with pytest.raises(ChangelogError) as caught:
        read_record(record(data, b"abc"))

    text = str(caught.value)
    assert "cw.cases:3 offset 17, key 'abc'" in text
    assert f"version 9, and this Caseworks reads up to {CASE_VERSION}" in text
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b"7", b'{"v":"x"}', b'{"v":1,"case_id":3}', b"\xff\xfe", b'{"closed":"x"}'],
)
def test_a_record_that_is_no_case_names_its_place(value: bytes) -> None:
    with pytest.raises(ChangelogError, match=r"cw\.cases:3 offset 17, key 'k'"):
        read_record(record(value))


def test_a_closed_mark_of_a_later_version_is_refused_too() -> None:
    with pytest.raises(ChangelogError, match="version 2"):
        read_record(record(b'{"closed":1.0,"status":"completed","v":2}'))


def test_a_position_that_cannot_be_read_names_its_place() -> None:
    with pytest.raises(ChangelogError, match="it is no position"):
        PartitionState(60).restore([record(b"{}", b"\0pos")], 18)


def test_a_case_whose_event_cannot_be_read_is_found_out_when_it_is_restored() -> None:
    data = (encode_case(some_case()) or b"").replace(b'"source":', b'"sauce":')
    with pytest.raises(ChangelogError, match="source"):
        read_record(record(data))
