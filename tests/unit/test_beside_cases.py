"""Parts, notes and entities: what the changelog keeps beside cases."""

from __future__ import annotations

from typing import Any

from coordinator.case_turn import CaseTurn
from coordinator.changelog import write_changelog
from coordinator.orchestrator import Orchestrator
from coordinator.partition import PartitionState
from events.broker import Message, Record, TopicPartition
from events.partitioner import partition_of
from events.topics import Topics
from schemas.commands import Cancel
from schemas.lean_case import Correlation
from tests.unit.machine import START, diamond, event, opened, outcome
from tests.unit.test_orchestrator import PARTITIONS, Desk

CASE_ID = opened(diamond()).case_id
HOME = partition_of(CASE_ID.encode(), PARTITIONS)
WAITS = Correlation(
    type="ticket.replied", subject="T-1", listeners={"c": (START, START + 50.25)}
).to_compact_json()
KEY = "@6d1f9c70-0000-4000-8000-000000000001"


class Notebook(Desk):
    """A desk whose next turn also changes what is beside the cases."""

    def beside(self, *, promote: bool = True, **changes: Any) -> CaseTurn:
        turn = CaseTurn(world=self.it.world, now=self.now)
        for name, changed in changes.items():
            getattr(turn, name).update(changed)
        turn.positions[TopicPartition("cw.inbox", HOME)] = self.inbox[HOME]
        write_changelog(turn)
        if promote:
            self.it.promote(turn)
            self.keep(turn)
        return turn

    def state(self, it: Orchestrator | None = None) -> PartitionState:
        return (it or self.it).states[HOME]

    def logged(self, key: str) -> list[bytes | None]:
        return [m.value for m in self.log[HOME] if m.key == key.encode()]


def with_all() -> Notebook:
    desk = Notebook()
    desk.tell(opened(desk.plan))
    desk.beside(
        parts={(HOME, CASE_ID, "check:0"): b"a", (HOME, CASE_ID, "check:1"): b"b"},
        notes={(HOME, "lot/1"): b"p", (HOME, "other"): b"o"},
        entities={(HOME, KEY): (WAITS, START + 50.25)},
    )
    return desk


def test_what_is_beside_the_cases_comes_back_from_the_changelog() -> None:
    state = with_all().restarted().states[HOME]

    assert sorted(state.part_names(CASE_ID)) == ["check:0", "check:1"]
    assert state.part(CASE_ID, "check:1") == b"b"
    assert state.part(CASE_ID, "none") is None
    assert state.note("lot/1") == b"p"
    assert state.notes("lot/") == {"lot/1": b"p"}
    assert state.entity(KEY) == WAITS
    assert state.open_count == 1


def test_the_keys_of_the_changelog_tell_them_apart() -> None:
    desk = with_all()

    assert desk.logged(f"{CASE_ID}/check:0") == [b"a"]
    assert desk.logged("\0lot/1") == [b"p"]
    assert desk.logged(KEY) == [WAITS]


def test_an_aborted_turn_changes_nothing_beside_the_cases() -> None:
    desk = Notebook()
    desk.beside(
        promote=False,
        parts={(HOME, CASE_ID, "check:0"): b"a"},
        notes={(HOME, "n"): b"x"},
        entities={(HOME, KEY): (b"v", START)},
    )

    assert desk.state().part_names(CASE_ID) == ()
    assert desk.state().note("n") is None
    assert desk.state().entity(KEY) is None
    assert len(desk.state().timers) == 0


def test_a_turn_sees_its_own_changes_first() -> None:
    desk = with_all()
    turn = CaseTurn(world=desk.it.world, now=desk.now)
    turn.parts |= {(HOME, CASE_ID, "check:0"): None, (HOME, CASE_ID, "check:2"): b"c"}
    turn.notes[HOME, "other"] = None
    turn.entities[HOME, KEY] = (b"still waits", START)

    assert sorted(turn.load_part_names(HOME, CASE_ID)) == ["check:1", "check:2"]
    assert turn.load_part(HOME, CASE_ID, "check:0") is None
    assert turn.load_part(HOME, CASE_ID, "check:1") == b"b"
    assert turn.load_note(HOME, "other") is None
    assert turn.load_note(HOME, "lot/1") == b"p"
    assert turn.load_entity(HOME, KEY) == b"still waits"


def test_a_case_that_closes_takes_its_parts_along() -> None:
    desk = with_all()
    desk.tell(Cancel(case_id=CASE_ID))

    assert desk.logged(f"{CASE_ID}/check:0") == [b"a", None]
    assert desk.state().part_names(CASE_ID) == ()
    assert desk.restarted().states[HOME].part_names(CASE_ID) == ()
    assert desk.state().note("lot/1") == b"p"


def test_a_part_written_in_the_turn_that_closes_its_case_is_not_left_behind() -> None:
    desk = Notebook()
    desk.tell(opened(desk.plan))
    turn = CaseTurn(world=desk.it.world, now=desk.now)
    turn.parts[HOME, CASE_ID, "late"] = b"x"
    turn.command(desk.message(Cancel(case_id=CASE_ID)))
    write_changelog(turn)

    written = [r for r in turn.records if r.key == f"{CASE_ID}/late".encode()]
    assert [record.value for record in written] == [None]


def test_a_case_kept_for_its_dead_letter_keeps_its_parts_until_that_expires() -> None:
    desk = with_all()
    case = desk.case(CASE_ID)
    assert case is not None
    desk.tell(outcome(case, "triage", "failed"))
    kept = desk.state().part_names(CASE_ID)
    desk.now = START + desk.limits.keep_s + 60
    desk.turn()

    assert sorted(kept) == ["check:0", "check:1"]
    assert desk.case(CASE_ID) is None
    assert desk.logged(f"{CASE_ID}/check:1") == [b"b", None]


def test_a_dropped_part_note_and_entity_stay_gone_after_a_restart() -> None:
    desk = with_all()
    desk.beside(
        parts={(HOME, CASE_ID, "check:0"): None},
        notes={(HOME, "other"): None},
        entities={(HOME, KEY): None},
    )

    for it in (desk.it, desk.restarted()):
        state = desk.state(it)
        assert state.part_names(CASE_ID) == ("check:1",)
        assert state.notes("lot/") == {"lot/1": b"p"}
        assert state.note("other") is None
        assert state.entity(KEY) is None
        assert len(state.timers) == 1


def test_an_entity_is_ticked_when_due_also_after_a_restart() -> None:
    desk = with_all()
    for it in (desk.it, desk.restarted()):
        desk.it = it
        desk.now = START + 50
        assert desk.turn(promote=False) is None
        desk.now = START + 50.4
        turn = desk.turn(promote=False)
        assert turn is not None
        assert turn.entities == {(HOME, KEY): None}


def test_an_entity_put_again_is_due_at_its_new_time_only() -> None:
    desk = with_all()
    desk.beside(entities={(HOME, KEY): (b"waits longer", START + 90)})
    desk.now = START + 60

    assert desk.turn(promote=False) is None


def test_of_several_records_in_one_batch_the_newest_counts_and_order_of_kinds_does_not() -> None:
    state = PartitionState(keep_s=60)
    log = [
        _logged(0, f"{CASE_ID}/a", b"1"),
        _logged(1, f"{CASE_ID}/a", None),
        _logged(2, CASE_ID, None),
        _logged(3, f"{CASE_ID}/b", b"2"),
    ]
    state.restore(log, 4)

    assert state.part_names(CASE_ID) == ("b",)
    assert state.log_offset == 4


def _logged(offset: int, key: str, value: bytes | None) -> Message:
    record = Record(Topics("cw").cases, key.encode(), value)
    return Message(record.topic, HOME, offset, 0, record.key, record.value, ())


def test_cases_of_other_events_are_left_alone() -> None:
    desk = with_all()
    other = opened(desk.plan, event("e2"))
    desk.tell(other)
    desk.tell(Cancel(case_id=other.case_id))

    assert sorted(desk.state().part_names(CASE_ID)) == ["check:0", "check:1"]
