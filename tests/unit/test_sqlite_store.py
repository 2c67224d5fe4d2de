"""The store on disk: what it keeps, and when it is thrown away."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from coordinator.closed import entry_of
from coordinator.partition import PartitionState
from events.errors import StateLostError
from events.sqlite_store import FLUSH_S, SqliteStore, SqliteStores
from events.store import Mark

MARK = Mark(log_offset=7, position=3, at=1000.0)
CASE_ID = "6a71aeff-9354-5591-888f-11e276a16b1a"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def opened(folder: Path, identity: str = "cluster/topic", boot: str = "boot-1") -> SqliteStore:
    return SqliteStores(folder, identity, boot)(0)


def killed(store: SqliteStore) -> None:
    """End without a flush, as a kill does."""
    store._db.close()


def filled(folder: Path) -> Path:
    """A store that was killed after its first flush; its file."""
    store = opened(folder)
    for number in range(200):
        store.put(f"key-{number}", b"value" * 50, 10.0 + number)
    store.mark(MARK)
    killed(store)
    return folder / "cases-0.db"


def test_a_new_store_is_empty_and_found_nothing(folder: Path) -> None:
    store = opened(folder)

    assert (store.found, store.discarded) == (None, None)
    assert store.get("a") is None
    store.close()


def test_what_was_put_comes_back_after_a_kill_up_to_the_last_flush(folder: Path) -> None:
    store = opened(folder)
    store.put("a", b"1", 5.0)
    store.put("gone", b"x")
    store.mark(MARK)
    store.put("a", b"2", 6.0)
    store.put("gone", None)
    store.mark(Mark(9, 4, MARK.at + FLUSH_S))
    store.put("a", b"3", 7.0)
    store.mark(Mark(11, 5, MARK.at + FLUSH_S + 0.5))
    assert store.get("a") == b"3"
    killed(store)
    again = opened(folder)

    assert again.found == Mark(9, 4, MARK.at + FLUSH_S)
    assert list(again.entries()) == [("a", 6.0)]
    assert again.get("a") == b"2"
    assert again.get("gone") is None
    again.close()


def test_closing_writes_what_is_left_and_outlives_the_machine(folder: Path) -> None:
    store = opened(folder)
    store.mark(MARK)
    store.put("a", b"1")
    store.mark(Mark(8, 4, MARK.at))
    store.close()
    again = opened(folder, boot="boot-2")

    assert again.found == Mark(8, 4, MARK.at)
    assert list(again.entries()) == [("a", None)]
    assert again.get("a") == b"1"
    again.close()


def test_what_changes_or_goes_leaves_nothing_behind_in_any_life(folder: Path) -> None:
    store = opened(folder)
    at = MARK.at
    for number in range(50):
        store.put(f"key-{number}", b"1", 1.0)
    store.mark(Mark(1, 0, at))
    for life in range(4):
        for number in range(life, 50, 4):
            store.put(f"key-{number}", b"2", 2.0)
            store.put(f"new-{life}-{number}", b"3", 3.0)
        store.put(f"key-{life}", None)
        at += FLUSH_S
        store.mark(Mark(2 + life, 0, at))
        store.close()
        store = opened(folder)
        found = dict(store.entries())
        assert all(store.get(key) is not None for key in found)

    expected = {f"key-{number}": 2.0 for number in range(4, 50)}
    expected |= {f"new-{number % 4}-{number}": 3.0 for number in range(50)}
    assert found == expected
    assert sum(1 for _ in store.entries()) == len(expected)
    assert store.get("key-3") is None
    store.close()


def test_a_value_may_get_or_lose_its_time(folder: Path) -> None:
    store = opened(folder)
    dues = [None, 1.0, 2.0, None, None, 3.0]
    for turn, due in enumerate(dues):
        store.put("a", b"%d" % turn, due)
        store.mark(Mark(turn + 1, 0, MARK.at + turn * FLUSH_S))
        assert store.get("a") == b"%d" % turn
    store.put("a", None)
    store.mark(Mark(9, 0, MARK.at + 9 * FLUSH_S))

    assert store.get("a") is None
    assert list(store.entries()) == []
    store.close()


def test_names_are_found_on_disk_and_in_what_is_not_written_yet(folder: Path) -> None:
    store = opened(folder)
    for name in ("c/1", "c/2", "d/1", "c"):
        store.put(name, b"v")
    store.mark(MARK)
    store.put("c/2", None)
    store.put("c/3", b"v")

    assert sorted(store.names("c/")) == ["c/1", "c/3"]
    store.close()


def test_digests_of_closed_cases_come_back_until_their_hour_is_over(folder: Path) -> None:
    store = opened(folder)
    early, late = entry_of(CASE_ID, 3600.0), entry_of(CASE_ID, 7200.0)
    store.remember(early)
    store.mark(MARK)
    store.remember(late)
    store.forget_before(2)
    store.mark(Mark(8, 3, MARK.at + 2))
    killed(store)
    again = opened(folder)

    assert list(again.remembered()) == [late]
    again.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("PRAGMA user_version = 99", "layout"),
        ("UPDATE meta SET identity = 'other'", "foreign"),
        ("UPDATE meta SET boot = 'boot-0'", "rebooted"),
        ("UPDATE meta SET log_offset = 0", "unmarked"),
        ("DELETE FROM meta", "unmarked"),
        ("DROP TABLE meta", "corrupt"),
    ],
)
def test_a_store_in_doubt_is_thrown_away_with_the_reason(
    folder: Path, change: str, reason: str
) -> None:
    path = filled(folder)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(change)
    db.close()
    store = opened(folder)

    assert (store.found, store.discarded) == (None, reason)
    assert list(store.entries()) == []
    store.put("a", b"new")
    store.mark(MARK)
    assert store.get("a") == b"new"
    store.close()


def test_a_file_that_is_no_database_is_thrown_away(folder: Path) -> None:
    folder.mkdir()
    (folder / "cases-0.db").write_bytes(b"what is this? " * 1000)
    store = opened(folder)

    assert store.discarded == "corrupt"
    store.close()


def test_a_truncated_file_is_noticed(folder: Path) -> None:
    path = filled(folder)
    whole = path.read_bytes()
    seen = set()
    for kept in range(0, len(whole), 4096):
        for leftover in folder.glob("cases-0.db*"):
            leftover.unlink()
        path.write_bytes(whole[:kept])
        store = opened(folder)
        seen.add(trusted(store))
        store.close()

    assert seen == {False}


def test_a_flipped_byte_of_a_value_is_noticed(folder: Path) -> None:
    path = filled(folder)
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"valuevalue") + 3] ^= 1
    path.write_bytes(whole)
    store = opened(folder)

    with pytest.raises(StateLostError, match="the checksum of 'key-"):
        list(store.entries())
    store.close()


def test_a_store_that_another_process_holds_is_made_anew_beside_it(folder: Path) -> None:
    holder = opened(folder)
    holder.put("a", b"1")
    holder.mark(MARK)
    second = opened(folder)
    second.put("a", b"2")
    second.mark(MARK)
    holder.put("a", b"3")
    holder.mark(Mark(9, 9, MARK.at + 2))

    assert second.discarded == "locked"
    assert second.get("a") == b"2"
    holder.close()
    second.close()


def test_a_folder_that_cannot_be_written_is_said(folder: Path) -> None:
    folder.parent.joinpath("state").write_text("a file")

    with pytest.raises(StateLostError):
        opened(folder)


def test_an_open_case_that_its_store_does_not_have_is_noticed(folder: Path) -> None:
    store = opened(folder)
    state = PartitionState(60, store)
    state.arm(CASE_ID, 5.0)

    with pytest.raises(StateLostError, match="is open, and its store does not have it"):
        state.load(CASE_ID)
    store.close()


def trusted(store: SqliteStore) -> bool:
    """Whether everything that was written can be read."""
    if store.found is None:
        return False
    try:
        return len(list(store.entries())) == 200
    except StateLostError:
        return False
