"""Who goes first among tenants, and what plain first come, first served would do instead."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.fairness import FairLine, Tenant

Work = tuple[Tenant, int]


class FirstCome(FairLine[Work]):
    """What the line would be without its rule: the control arm."""

    def put(self, tenant: Tenant, work: Work, *, first: bool = False) -> None:
        del tenant
        super().put(None, work, first=first)

    def end(self, tenant: Tenant) -> None:
        del tenant
        super().end(None)


def started_before_b(line: FairLine[Work]) -> int:
    """How much of a flood of 10,000 starts before what another tenant adds behind it."""
    for number in range(10_000):
        line.put("a", ("a", number))
    line.put("b", ("b", 0))
    started = 0
    while (work := line.take()) != ("b", 0):
        assert work is not None
        line.end(work[0])
        started += 1
    return started


def test_a_flood_of_one_tenant_leaves_the_others_alone() -> None:
    assert started_before_b(FairLine()) <= 1


def test_first_come_first_served_would_not() -> None:
    assert started_before_b(FirstCome()) == 10_000


def test_long_work_of_one_tenant_takes_no_more_than_its_share_of_the_slots() -> None:
    line: FairLine[Work] = FairLine()
    for number in range(100):
        line.put("slow", ("slow", number))
    for number in range(100):
        line.put("quick", ("quick", number))
    running = [line.take() for _ in range(10)]
    for _ in range(50):  # what is quick ends, what is slow stays
        done = next(work for work in running if work and work[0] == "quick")
        running.remove(done)
        line.end("quick")
        running.append(line.take())

    assert [work and work[0] for work in running].count("slow") == 5


def test_a_tenant_alone_may_use_everything() -> None:
    line: FairLine[Work] = FairLine()
    for number in range(100):
        line.put("a", ("a", number))
    assert [line.take() for _ in range(100)] == [("a", number) for number in range(100)]


@pytest.mark.parametrize("tenants", [2, 5, 100])
def test_with_one_slot_they_go_in_turn(tenants: int) -> None:
    line: FairLine[Work] = FairLine()
    for tenant in range(tenants):
        for number in range(3):
            line.put(str(tenant), (str(tenant), number))
    order = []
    while (work := line.take()) is not None:
        order.append(work)
        line.end(work[0])

    assert order == [(str(tenant), number) for number in range(3) for tenant in range(tenants)]


TENANTS = st.sampled_from(["a", "b", "c", None])


@given(
    st.lists(st.tuples(st.sampled_from(["put", "first", "take", "end", "drop"]), TENANTS)),
    st.randoms(use_true_random=False),
)
def test_no_history_loses_work_or_passes_over_who_has_the_fewest(
    steps: list[tuple[str, Tenant]], rng: Random
) -> None:
    line: FairLine[Work] = FairLine()
    waiting: dict[Tenant, list[Work]] = {}
    running: list[Work] = []

    def of(tenant: Tenant) -> int:
        return sum(work[0] == tenant for work in running)

    for number, (step, tenant) in enumerate(steps):
        work = (tenant, number)
        match step:
            case "put":
                line.put(tenant, work)
                waiting.setdefault(tenant, []).append(work)
            case "first":
                line.put(tenant, work, first=True)
                waiting.setdefault(tenant, []).insert(0, work)
            case "take":
                taken = line.take()
                least = min((of(each) for each in waiting), default=None)
                assert (taken is None) == (least is None)
                if taken is not None:
                    assert of(taken[0]) == least
                    assert waiting[taken[0]].pop(0) == taken
                    running.append(taken)
            case "end" if running:
                done = running.pop(rng.randrange(len(running)))
                line.end(done[0])
            case "drop":
                dropped = line.drop(lambda work: work[1] % 2 == 0)
                gone = [w for works in waiting.values() for w in works if w[1] % 2 == 0]
                assert sorted(dropped, key=str) == sorted(gone, key=str)
                waiting = {t: [w for w in ws if w[1] % 2] for t, ws in waiting.items()}
        waiting = {tenant: works for tenant, works in waiting.items() if works}
        assert line.waiting == sum(map(len, waiting.values()))
