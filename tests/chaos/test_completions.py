"""The account of completions must be able to fail."""

from __future__ import annotations

from tests.chaos.completions import Completions, Kill, Told


def told(*numbers: int, worker: str = "w-0", at_ms: int = 1000) -> Completions:
    completions = Completions()
    for number in numbers:
        completions.tell(Told("k", number, worker, at_ms + number))
    return completions


def test_what_is_done_in_order_is_in_order() -> None:
    completions = told(0, 1, 2)
    assert not completions.disordered
    assert not completions.again


def test_a_first_completion_out_of_order_is_named_and_a_later_one_is_none() -> None:
    assert told(0, 2, 1).disordered == ["k: 2 where 1 was due", "k: 1 where 3 was due"]
    assert told(0, 1, 0, 2).disordered == []


def test_what_was_done_twice_belongs_to_the_kill_of_who_did_it_first() -> None:
    completions = told(0, 1)
    completions.tell(Told("k", 1, "w-1", 1300))
    kill = Kill("w-0", 1101)
    assert completions.doubled_by([kill], 200) == ({kill: 1}, 0)
    assert completions.doubled_by([Kill("w-1", 1101)], 200) == ({}, 1), "another one's kill"
    assert completions.doubled_by([Kill("w-0", 2000)], 200) == ({}, 1), "long committed"


def test_in_flight_is_the_bound_and_what_was_not_yet_committed() -> None:
    completions = told(*range(300))
    assert completions.in_flight_most(Kill("w-0", 1299), 64, 99) == 164
    assert completions.in_flight_most(Kill("w-1", 1299), 64, 99) == 64
